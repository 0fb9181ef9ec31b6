"""What an `OssFileSystem` is made with: our words and those of ossfs, as a connection."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from osstorchconnector.connection import Connection
from osstorchconnector.credentials import AnonymousCredentials, StaticCredentials
from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    import os

# Words of ossfs and fsspec that change nothing here: the engines choose how to read ahead and how many requests fly.
WITHOUT_EFFECT = frozenset({"default_cache_type", "default_cache_options", "psize", "loop", "asynchronous"})

# fsspec makes one file system for each thread: they share a client, and with it connections and worker threads, for as
# long as one of them lives. No lock, which a fork could leave locked: at worst two threads make a client each.
_shared: weakref.WeakValueDictionary[tuple[Any, ...], Connection] = weakref.WeakValueDictionary()


def connect(
    endpoint: str | None,
    *,
    key: str | None,
    secret: str | None,
    token: str | None,
    anon: bool,
    cred_path: str | os.PathLike[str] | None,
    cred_provider: Any,
    config_path: str | os.PathLike[str] | None,
    region: str | None,
    addressing: str | None,
) -> Connection:
    """Return the connection for these arguments; the same ones give the same connection.

    Raises:
        ConfigError: more than one identity is named, or the config file is wrong.
        CredentialsError: a key comes without its secret, or the provider is none.
    """
    _demand_one_identity(
        {
            "key and secret": bool(key or secret or token),
            "anon": anon,
            "cred_path": bool(cred_path),
            "cred_provider": cred_provider is not None,
        }
    )
    # A provider is known by what it is, not by what it looks like: two of them may have the same repr.
    identity = (key, secret, token, anon, str(cred_path or ""), id(cred_provider))
    place = (endpoint or None, str(config_path or ""), region or None, addressing)
    shared = _shared.get((identity, place))
    if shared is None:
        provider = _provider(key, secret, token, anon=anon, given=cred_provider)
        shared = Connection(endpoint or None, cred_path, config_path, provider, region, addressing)
        _shared[identity, place] = shared
    return shared


def forget() -> None:
    """Let the next file systems make clients of their own, in this environment."""
    _shared.clear()


def refuse_unknown(options: dict[str, Any], known: str) -> None:
    """Demand that nothing is left over.

    Raises:
        ConfigError: an option is known to nobody, or asks for what there is not.
    """
    if options.get("asynchronous"):
        raise ConfigError(
            "OssFileSystem is synchronous (its requests run in threads of its own); leave asynchronous out"
        )
    unknown = sorted(set(options) - WITHOUT_EFFECT)
    if unknown:
        raise ConfigError(f"OssFileSystem does not know the option {unknown[0]!r}; it takes {known}")


def _demand_one_identity(named: dict[str, bool]) -> None:
    given = [name for name, is_given in named.items() if is_given]
    if len(given) > 1:
        raise ConfigError(
            f"OssFileSystem got {' and '.join(given)}: name one identity, or none for the chain of sources"
        )


def _provider(key: str | None, secret: str | None, token: str | None, *, anon: bool, given: Any) -> Any:
    if anon:
        return AnonymousCredentials()
    if key or secret or token:
        return StaticCredentials(key or "", secret or "", token)
    return given
