"""The files of one checkpoint, opened side by side and checked before any tensor is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from osstorchconnector.errors import FormatError, NotFoundError
from osstorchconnector.safetensors.file import TensorFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from osstorchconnector.store import Store

# Headers are small: their time is the time to the first byte.
_AT_ONCE = 16


def open_all(
    store: Store, directory: str, shard_names: Mapping[str, str], index_uri: str
) -> dict[str, TensorFile]:
    """Open every shard and read its header; return the one of each tensor.

    Args:
        directory: `/bucket/prefix/`, of the index and its shards.
        shard_names: the shard of each tensor, by the index.

    Raises:
        NotFoundError: one is missing; it is named, and so is the index. None is left open.
        FormatError: a header is not true, or has not the tensors that the index says.
    """
    wanted = list(dict.fromkeys(shard_names.values()))
    pool = ThreadPoolExecutor(min(_AT_ONCE, max(1, len(wanted))), "osstorchconnector-shards")
    opening = {shard: pool.submit(_open, store, directory + shard) for shard in wanted}
    try:
        files = {shard: each.result() for shard, each in opening.items()}
        homes = {name: files[shard] for name, shard in shard_names.items()}
        _check(homes, index_uri)
    except BaseException as failure:
        # Those that do open are closed. An interrupt does not wait for them: they end by their own deadlines.
        for each in opening.values():
            each.add_done_callback(_close)
        pool.shutdown(wait=isinstance(failure, Exception), cancel_futures=True)
        if isinstance(failure, NotFoundError):
            failure.advise(f"{index_uri} names it: upload that shard, or save the checkpoint again")
        raise
    pool.shutdown()
    return homes


def _open(store: Store, path: str) -> TensorFile:
    return TensorFile(store.open_reader(path))


def _close(opening: Future[TensorFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _check(homes: Mapping[str, TensorFile], index_uri: str) -> None:
    for name, file in homes.items():
        if name not in file.header.tensors:
            raise FormatError(
                f"safe_open {index_uri}: tensor {name!r} is not in {file.uri}, where the index has it; save both again",
                operation="safe_open",
                uri=index_uri,
            )
