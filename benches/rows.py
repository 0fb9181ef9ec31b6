"""What is compared with what: the rows of the table whose measure is a share of the raw limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PlaceName = Literal["nginx", "nginx over TLS", "nginx, 1 KB", "emulator"]


@dataclass(frozen=True)
class Row:
    """One workload at one place.

    Attributes:
        limit: the contender that ratios of this row refer to.
        goal: least ratio to it that is aimed at.
        workload: the file below `workloads/`.
        place: the server.
        workers: of the DataLoader.
        reads: the small objects, or the large one.
        has_original: whether the vendor's package can do this here.
        peers: which others have a driver for it, `peers/PEER_WORKLOAD.py`.
        needs_user_faults: whether the original does it by its prefetching readers.
    """

    name: str
    limit: str
    goal: float | None
    workload: str
    place: PlaceName = "nginx"
    workers: int = 0
    reads: Literal["objects", "large"] = "objects"
    has_original: bool = True
    peers: tuple[str, ...] = ()
    needs_user_faults: bool = False


def _large(workload: str, limit: str, goal: float | None, *, peers: tuple[str, ...] = ()) -> Row:
    return Row(workload, limit, goal, workload, reads="large", peers=peers, needs_user_faults=True)


ALL_PEERS = ("obstore", "oss2", "s3torchconnector")

ROWS = (
    Row("iterable", "raw objects", 0.75, "iterable", peers=ALL_PEERS),
    Row("map", "raw objects", 0.65, "map_loader", peers=("s3torchconnector",)),
    Row(
        "iterable, 2 workers", "raw objects", 0.65, "iterable_loader", workers=2, peers=("s3torchconnector",)
    ),
    Row("map, 2 workers", "raw objects", 0.6, "map_loader", workers=2, peers=("s3torchconnector",)),
    Row("labelled", "raw objects", 0.65, "labelled"),
    Row("iterable, 1 KB", "raw 1 KB objects", 0.5, "iterable", place="nginx, 1 KB"),
    Row(
        "iterable, https", "raw objects, https", 0.85, "iterable", place="nginx over TLS", has_original=False
    ),
    _large("checkpoint_pieces", "raw ranges", 0.9),
    _large("checkpoint_whole", "raw ranges", 0.9),
    _large("checkpoint_read", "raw ranges, fresh memory", 0.8, peers=ALL_PEERS),
    Row("checkpoint_write", "raw parts", None, "checkpoint_write", reads="large"),
    _large("safetensors_load", "raw ranges, fresh memory", None),
    # The emulator keeps what is written and its true checksums; no raw client speaks to it.
    Row("model_save", "original model_save", None, "model_save", place="emulator", reads="large"),
    Row(
        "model_load",
        "original model_load",
        None,
        "model_load",
        place="emulator",
        reads="large",
        needs_user_faults=True,
    ),
)


BESIDE = ", beside "


def beside(row: Row) -> str:
    """Name the run of a row's limit that comes right before the row, or right behind it."""
    return f"{row.limit}{BESIDE}{row.name}" if row.limit.startswith("raw") else row.limit


def limits() -> dict[str, str]:
    """Say for each contender which one its ratio refers to."""
    found: dict[str, str] = {}
    for row in ROWS:
        names = (row.name, f"{row.name}, seed's config", f"original {row.name}")
        peers = tuple(f"{peer} {row.name}" for peer in row.peers)
        found |= {name: beside(row) for name in (*names, *peers) if name != row.limit}
    return found
