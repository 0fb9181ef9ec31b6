"""The file system behind `oss://`: what it is made with, and opening files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import AlreadyExistsError, ConfigError, NotFoundError
from osstorchconnector.fsspec import arguments, paths
from osstorchconnector.fsspec.changes import Changes
from osstorchconnector.fsspec.files import PackedFile, ReadFile, WriteFile
from osstorchconnector.fsspec.library import compressors, get_compression
from osstorchconnector.uri import object_path, shown_endpoint

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from osstorchconnector.connection import Connection, OssStore
    from osstorchconnector.streams import ObjectReader

_KNOWN = (
    "endpoint, region, key, secret, token, anon, cred_path, cred_provider, config_path, addressing, "
    "default_block_size, allow_pickle_secrets, use_listings_cache, listings_expiry_time and max_paths"
)
# What fsspec and ossfs say about reading ahead; the engine decides it.
_OPEN_WITHOUT_EFFECT = frozenset(
    {"cache_type", "cache_options", "fill_cache", "size", "data", "connect_timeout"}
)
# What `readuntil` looks through at a time: fsspec's own default.
_BLOCK_BYTES = 4 << 20
# Bytes of the old object that are taken over at a time when a file is opened for appending.
_APPEND_BYTES = 16 << 20


class _Made(type(Changes)):  # type: ignore[misc]  # fsspec is not typed
    """fsspec keeps instances by the text of their arguments; two providers may have the same text."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        provider = kwargs.get("cred_provider")
        if provider is None:
            return super().__call__(*args, **kwargs)
        made = super().__call__(*args, **{**kwargs, "skip_instance_cache": True})
        made._fs_token_ = f"{made._fs_token_}{id(provider):x}"
        return made


class OssFileSystem(Changes, metaclass=_Made):
    """Objects on OSS as files. Synchronous, safe after fork; endpoint and keys come from the environment if not given.

    Args:
        endpoint: `http[s]://host[:port]`; None takes the environment's.
        key, secret, token: keys given in code, in ossfs's words. A pickle refuses to carry them.
        default_block_size: bytes `readuntil` looks through at a time; how much is read ahead is the engine's choice.
        region: signing region; None is inferred.
        anon: send unsigned requests, for public buckets.
        cred_path: JSON credentials file.
        cred_provider: an object with `get_credentials()`, or a callable.
        config_path: JSON config file; None is the default one if it exists.
        addressing: `auto`, `virtual`, `path` or `cname`.
        allow_pickle_secrets: let pickles carry `secret` and `token`.
        use_listings_cache: keep listings, and answer from them; off, because other processes write too.
        listings_expiry_time: seconds that a listing is kept; switches the keeping on.
        max_paths: listings that are kept at most.
        options: words of ossfs without effect here, such as `default_cache_type`; any other is refused.

    Raises:
        ConfigError: an option is unknown, or two identities are named.
        CredentialsError: a key comes without its secret.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        default_block_size: int | None = None,
        *,
        region: str | None = None,
        anon: bool = False,
        cred_path: str | os.PathLike[str] | None = None,
        cred_provider: Any = None,
        config_path: str | os.PathLike[str] | None = None,
        addressing: str | None = None,
        allow_pickle_secrets: bool = False,
        use_listings_cache: bool | None = None,
        listings_expiry_time: float | None = None,
        max_paths: int | None = None,
        **options: Any,
    ) -> None:
        arguments.refuse_unknown(options, _KNOWN)
        keeps = listings_expiry_time is not None if use_listings_cache is None else use_listings_cache
        super().__init__(
            use_listings_cache=keeps, listings_expiry_time=listings_expiry_time, max_paths=max_paths
        )
        self.blocksize: int = default_block_size or _BLOCK_BYTES
        self._carries_secrets = bool(secret or token) and not allow_pickle_secrets
        self._connection: Connection = arguments.connect(
            endpoint,
            key=key,
            secret=secret,
            token=token,
            anon=anon,
            cred_path=cred_path,
            cred_provider=cred_provider,
            config_path=config_path,
            region=region,
            addressing=addressing,
        )

    @property
    def store(self) -> OssStore:
        """Where the objects are."""
        return self._connection.oss_store()

    @property
    def fsid(self) -> str:
        """What tells this file system from others: the endpoint."""
        return f"oss_{self.store.endpoint}"

    @classmethod
    def clear_instance_cache(cls) -> None:
        """Forget the file systems made so far, and their clients; new ones look at the environment again."""
        super().clear_instance_cache()
        arguments.forget()

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | str | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file, as bytes or as text, compressed or not.

        Args:
            mode: as of Python's `open`, but no mode both reads and writes.
            block_size: bytes `readuntil` looks through at a time.
            compression: one that fsspec knows, or "infer" to tell it by the suffix.
            kwargs: of text its encoding, errors and newline; of what is written as of `OssCheckpoint.writer`.

        Raises:
            NotFoundError: it is to be read, and is missing.
            ValueError: the compression is unknown.
        """
        packing = get_compression(paths.stripped(path), compression)
        if "b" not in mode or "r" in mode or packing is None:
            return super().open(path, mode, block_size, cache_options, packing, **kwargs)
        file = super().open(path, mode, block_size, cache_options, **kwargs)
        try:
            return PackedFile(file, compressors[packing](file, mode="w"))
        except BaseException:
            file.abort()
            raise

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        *,
        size_hint_bytes: int | None = None,
        if_absent: bool = False,
        content_type: str | None = None,
        storage_class: str | None = None,
        metadata: Mapping[str, str] | None = None,
        **options: Any,
    ) -> ReadFile | WriteFile:
        """Open a file; a missing one, or with mode "xb" an existing one, is an error here and not later.

        Args:
            mode: "rb", "wb", "xb" (must be new) or "ab" (takes the old bytes over and writes the object anew).
            block_size: bytes `readuntil` looks through at a time.
            autocommit: False leaves publishing to the transaction.
            size_hint_bytes, if_absent, content_type, storage_class, metadata: as of `OssCheckpoint.writer`.
            options: what fsspec knows about reading ahead, without effect here.
        """
        unknown = sorted(set(options) - _OPEN_WITHOUT_EFFECT)
        if unknown:
            raise ConfigError(f"open oss://{path}: there is no option {unknown[0]!r}")
        location = object_path(paths.location(path), "path")
        blocksize = block_size if isinstance(block_size, int) and block_size > 0 else self.blocksize
        if mode == "rb":
            return self._open_to_read(path, location, blocksize)
        if mode not in ("wb", "xb", "ab"):
            raise ConfigError(
                f"open oss://{path}: mode {mode!r} is not possible, an object is written as a whole; "
                "use 'rb', 'wb', 'xb' or 'ab'"
            )
        if mode == "xb":
            self._refuse_existing(path)
        sink = self.store.open_sink(
            location,
            size_hint_bytes=size_hint_bytes,
            if_absent=if_absent or mode == "xb",
            content_type=content_type,
            storage_class=storage_class,
            metadata=metadata,
        )
        file = WriteFile(self, path, mode, sink, autocommit=autocommit, blocksize=blocksize)
        if mode == "ab":
            self._take_over(location, file)
        return file

    def sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        """Make a URL with which anybody can get the file for `expiration` seconds; it is as secret as a key.

        Raises:
            ConfigError: not 1 second to 7 days, or the identity is anonymous.
        """
        return self.store.presigned(
            object_path(paths.location(paths.stripped(path)), "path"), max(0, int(expiration))
        )

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Describe the file system for JSON; `secret` and `token` only if `allow_pickle_secrets` was given."""
        told: dict[str, Any] = super().to_dict(include_password=include_password)
        hidden = () if include_password and not self._carries_secrets else ("secret", "token")
        return {name: value for name, value in told.items() if name not in hidden}

    def __reduce__(self) -> Any:
        """Pickle the arguments, unless they hold a secret.

        Raises:
            TypeError: they do, and `allow_pickle_secrets` was not given.
        """
        if self._carries_secrets:
            raise TypeError(
                "OssFileSystem was given secret or token, which would go into a pickle; use the environment or "
                "cred_path, or pass allow_pickle_secrets=True"
            )
        return super().__reduce__()

    def __repr__(self) -> str:
        """Name the endpoint as given, and no key."""
        return f"OssFileSystem(endpoint={shown_endpoint(self._connection.endpoint)!r})"

    def _open_to_read(self, path: str, location: str, blocksize: int) -> ReadFile:
        kept = self._kept_info(path)
        details = kept if kept and kept["type"] == "file" else self.file_info(path)
        source = self.store.open_source(location, details["size"], details["ETag"] or None)
        return ReadFile(self, path, source, details, blocksize)

    def _refuse_existing(self, path: str) -> None:
        if self.isfile(path):
            raise AlreadyExistsError(
                f"open oss://{path}: it exists, and mode 'xb' wants it new",
                operation="open",
                uri=f"oss://{path}",
            )

    def _take_over(self, location: str, file: WriteFile) -> None:
        """Begin a file with the bytes of the object that it is to replace, if there is one."""
        with self.store.open_reader(location) as old, memoryview(bytearray(_APPEND_BYTES)) as buffer:
            try:
                filled = _filled_first(old, buffer)
                while filled:
                    file.write(buffer[:filled])
                    filled = old.readinto(buffer)
            except BaseException:
                file.abort()
                raise


def _filled_first(old: ObjectReader, buffer: memoryview) -> int:
    """Read the beginning; 0 if there is no object. One that is gone later was there, and a part of it is no new file."""
    try:
        return old.readinto(buffer)
    except NotFoundError:
        return 0
