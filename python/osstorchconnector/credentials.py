"""Where an identity comes from: a file, a provider, or the chain; as a value that carries no secret.

A `CredentialsSource` is what datasets keep and pickle. Keys are fetched, cached and refreshed on the native side,
which calls a provider without holding any lock.
"""

from __future__ import annotations

import inspect
import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from osstorchconnector.errors import CredentialsError

_log = logging.getLogger(__name__)

# (access key id, access key secret, security token or None, expiry as epoch seconds or None)
Fetched = tuple[str, str, str | None, float | None]

_NAMES = ("access_key_id", "access_key_secret", "security_token")

_said: set[str] = set()


class AnonymousCredentials:
    """The explicit wish to send unsigned requests, for public buckets."""


class EnvironmentCredentials:
    """Only the environment: `OSS_ACCESS_KEY_ID`, `OSS_ACCESS_KEY_SECRET`, optional `OSS_SESSION_TOKEN`."""


class ProcessCredentials:
    """The output of a command, run by `sh -c` for every set of keys.

    Its standard output is one JSON object with `AccessKeyId`, `AccessKeySecret`, optional `SecurityToken` and
    `Expiration`, or the same in the words of the CLI's profiles. It has 15 seconds. Pickles carry the command.
    """

    __slots__ = ("command",)

    def __init__(self, command: str) -> None:
        if not isinstance(command, str) or not command.strip():
            raise CredentialsError("ProcessCredentials needs a command; it is empty")
        self.command = command

    def __repr__(self) -> str:
        """Show no argument: it may be a secret."""
        return "ProcessCredentials(...)"


class StaticCredentials:
    """Keys given in code.

    Args:
        allow_pickle_secrets: let pickles, and so workers under spawn and forkserver, carry the keys.
    """

    __slots__ = ("_keys", "allow_pickle_secrets")

    def __init__(
        self,
        access_key_id: str,
        access_key_secret: str,
        security_token: str | None = None,
        *,
        allow_pickle_secrets: bool = False,
    ) -> None:
        if not access_key_id or not access_key_secret:
            raise CredentialsError(
                "StaticCredentials needs an access_key_id and an access_key_secret; one is empty"
            )
        self._keys = (access_key_id, access_key_secret, security_token or None)
        self.allow_pickle_secrets = allow_pickle_secrets

    def get_credentials(self) -> dict[str, str | None]:
        """Return the keys by their usual names."""
        return dict(zip(_NAMES, self._keys, strict=True))

    def __repr__(self) -> str:
        """Show no key."""
        return "StaticCredentials(...)"

    def __getstate__(self) -> tuple[Any, ...]:
        """Refuse unless it was allowed."""
        if not self.allow_pickle_secrets:
            raise TypeError(
                "StaticCredentials would put secrets into a pickle; use a credentials file or the environment, or "
                "pass allow_pickle_secrets=True"
            )
        return self._keys, self.allow_pickle_secrets

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take over what `__getstate__` gave."""
        self._keys, self.allow_pickle_secrets = state


@dataclass(frozen=True)
class CredentialsSource:
    """The choice between file, provider and chain; see `choose`.

    Attributes:
        path: the JSON file, None when there is none.
        provider: an object with `get_credentials()` or `get_credential()`, or a callable that returns what that returns.
    """

    path: str | None = None
    provider: Any = None

    def native(self) -> tuple[Any, ...]:
        """Return what the native client takes."""
        provider = self.provider
        if self.path is not None:
            return "file", self.path
        if provider is None:
            return ("chain",)
        if isinstance(provider, AnonymousCredentials):
            return ("anonymous",)
        if isinstance(provider, EnvironmentCredentials):
            return ("environment",)
        if isinstance(provider, ProcessCredentials):
            return "process", provider.command
        return "provider", _Fetcher(provider), _name_of(provider)

    def __repr__(self) -> str:
        """Name the source; a provider's own repr might show keys."""
        what = self.path or (_name_of(self.provider) if self.provider is not None else "chain")
        return f"CredentialsSource({what})"

    def __getstate__(self) -> dict[str, Any]:
        """Check that the provider can be pickled, so that the error says what is wrong."""
        if self.provider is not None:
            _demand_picklable(self.provider)
        return {"path": self.path, "provider": self.provider}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave, past the frozen door."""
        self.__dict__.update(state)


def choose(cred_path: str | os.PathLike[str] | None, cred_provider: Any) -> CredentialsSource:
    """Choose the source from the two arguments every class takes; "" and None count as not given.

    With both, the file wins, as in the original, with one warning.

    Raises:
        CredentialsError: the provider has no `get_credentials()` and cannot be called.
    """
    path = os.fspath(cred_path) if cred_path else None
    if path is not None:
        if cred_provider is not None:
            _warn_once("cred_path and cred_provider are both given: the file is used; pass only one of them")
        return CredentialsSource(path=path)
    if cred_provider is not None and not _is_provider(cred_provider):
        raise CredentialsError(
            f"cred_provider {_name_of(cred_provider)} has no get_credentials() and cannot be called; pass an object "
            "that has it, or a function that returns credentials"
        )
    return CredentialsSource(provider=cred_provider)


def fetch(provider: Any) -> Fetched:
    """Ask a provider and read its answer, in any of the styles in use.

    Raises:
        CredentialsError: it raised (chained), or its answer is None, incomplete or of no known style.
    """
    name = _name_of(provider)
    try:
        return _read(_asker(provider)())
    except _AnswerError as ours:
        raise ours.kind(f"cred_provider {name} returned {ours}") from None
    # Asked on a thread of its own, which a SystemExit would end without a word.
    except BaseException as failure:
        # Its text may hold what it was about: a URL with a token, an answer with keys. The cause has it.
        raise CredentialsError(
            f"cred_provider {name} raised {type(failure).__name__}; fix the provider"
        ) from failure


class _AnswerError(Exception):
    """What we say ourselves about an answer: all else that reading it raises is the provider's, and is not repeated."""

    def __init__(self, text: str, kind: type[CredentialsError | TypeError] = CredentialsError) -> None:
        super().__init__(text)
        self.kind = kind


class _Fetcher:
    """A provider as the callable that the native client asks."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def __call__(self) -> Fetched:
        return fetch(self._provider)

    def __repr__(self) -> str:
        return f"_Fetcher({_name_of(self._provider)})"


def _is_provider(provider: Any) -> bool:
    known = isinstance(provider, AnonymousCredentials | EnvironmentCredentials | ProcessCredentials)
    return known or callable(_asker(provider))


def _asker(provider: Any) -> Any:
    """Return what is called: `get_credentials` of the OSS SDKs, `get_credential` of alibabacloud-credentials.

    A client of the latter has the other name too, for something that makes providers of a configuration.
    """
    for name in ("get_credentials", "get_credential"):
        asker = getattr(provider, name, None)
        if callable(asker) and _asks_for_nothing(asker):
            return asker
    return provider


def _asks_for_nothing(function: Any) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:
        # It was not written in Python, and says nothing of its arguments.
        return True
    return True


def _name_of(provider: Any) -> str:
    return getattr(provider, "__qualname__", None) or type(provider).__qualname__


def _read(answer: Any) -> Fetched:
    """Read an answer, which runs the provider's own code wherever a part is a property or a getter."""
    if answer is None:
        raise _AnswerError("None; return credentials, or use AnonymousCredentials()")
    if isinstance(answer, tuple | list | str | bytes):
        raise _AnswerError(
            f"a {type(answer).__name__}; return an object or a dict with access_key_id, access_key_secret and "
            "security_token",
            TypeError,
        )
    key_id, secret, token = (_part(answer, name) for name in _NAMES)
    for name, value in zip(_NAMES, (key_id, secret), strict=False):
        if not value:
            raise _AnswerError(f"no {name}; use AnonymousCredentials() for unsigned requests")
    return str(key_id), str(secret), token or None, _expiry(answer)


def _part(answer: Any, name: str) -> str | None:
    """Read one part: dict entry, attribute, or getter."""
    value = _value_of(answer, name)
    if value is not None and not isinstance(value, str):
        raise _AnswerError(f"{name} that is not text")
    return value


def _value_of(answer: Any, name: str) -> Any:
    if isinstance(answer, Mapping):
        return answer.get(name)
    if hasattr(answer, name):
        return getattr(answer, name)
    getter = getattr(answer, f"get_{name}", None)
    return getter() if callable(getter) else None


def _expiry(answer: Any) -> float | None:
    """Read when the credentials end, as epoch seconds: a datetime, a number or ISO 8601 text."""
    for name in ("expiration", "expiration_time"):
        value = _value_of(answer, name)
        if value is None or value == "":
            continue
        if isinstance(value, datetime):
            return _epoch(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            try:
                # Python 3.10 does not read the letter Z.
                return _epoch(datetime.fromisoformat(value.replace("Z", "+00:00")))
            except ValueError:
                pass
        raise _AnswerError(f"{name} that is no datetime, epoch seconds or ISO 8601 text")
    return None


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _demand_picklable(provider: Any) -> None:
    try:
        pickle.dumps(provider)
    except Exception as failure:
        raise TypeError(
            f"cred_provider {_name_of(provider)} cannot be pickled, which workers under spawn and forkserver need: "
            f"{failure}; define it at the top of a module, or use cred_path"
        ) from failure


def _warn_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        _log.warning(text)
