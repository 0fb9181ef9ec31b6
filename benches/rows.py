"""What is compared with what: the rows of the table whose measure is a share of the raw limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PlaceName = Literal["nginx", "nginx, fewer", "nginx over TLS", "nginx, 1 KB", "emulator"]


@dataclass(frozen=True)
class Row:
    """One workload at one place.

    Attributes:
        limit: the contender that ratios of this row refer to.
        goal: least ratio to it that is aimed at.
        title: what it is called in pictures and tables.
        workload: the file below `workloads/`.
        place: the server.
        workers: of the DataLoader.
        reads: the small objects, or the large one.
        has_original: whether the vendor's package can do this here.
        peers: which others have a driver for it, `peers/PEER_WORKLOAD.py`.
        needs_user_faults: whether the original does it by its prefetching readers.
        times_original: least ratio to the original's speed that is aimed at.
        cpu_of_original: greatest part of the original's CPU time that is aimed at.
        peak_mb: most memory that is aimed at, above a process with torch imported.
    """

    name: str
    limit: str
    goal: float | None
    workload: str
    title: str = ""
    place: PlaceName = "nginx"
    workers: int = 0
    reads: Literal["objects", "large"] = "objects"
    has_original: bool = True
    peers: tuple[str, ...] = ()
    needs_user_faults: bool = False
    times_original: float | None = None
    cpu_of_original: float | None = None
    peak_mb: float | None = None


ALL_PEERS = ("obstore", "oss2", "s3torchconnector")
# These read fewer bytes: all of them would take half an hour, and their rate is the same.
SLOW_PEERS = ("oss2", "s3torchconnector")

ROWS = (
    Row(
        "iterable",
        "raw objects",
        0.75,
        "iterable",
        title="iterable dataset",
        peers=ALL_PEERS,
        times_original=3.5,
        cpu_of_original=0.25,
        peak_mb=40,
    ),
    Row(
        "map",
        "raw objects",
        0.65,
        "map_loader",
        title="map dataset, shuffled batches of 256",
        peers=("s3torchconnector",),
        times_original=4,
    ),
    Row(
        "iterable, 2 workers",
        "raw objects",
        0.65,
        "iterable_loader",
        title="iterable dataset, 2 workers",
        workers=2,
        peers=("s3torchconnector",),
    ),
    Row(
        "map, 2 workers",
        "raw objects",
        0.6,
        "map_loader",
        title="map dataset, 2 workers",
        workers=2,
        peers=("s3torchconnector",),
    ),
    Row("labelled", "raw objects", 0.65, "labelled", title="labels from a manifest, sizes unknown"),
    Row(
        "iterable, 1 KB",
        "raw 1 KB objects",
        0.5,
        "iterable",
        title="iterable dataset, objects of 1 KiB",
        place="nginx, 1 KB",
    ),
    Row(
        "iterable, https",
        "raw objects, https",
        0.85,
        "iterable",
        title="iterable dataset, https",
        place="nginx over TLS",
        has_original=False,
    ),
    Row(
        "checkpoint_pieces",
        "raw ranges",
        0.9,
        "checkpoint_pieces",
        title="checkpoint, readinto of 64 MiB",
        reads="large",
        needs_user_faults=True,
        times_original=3,
    ),
    Row(
        "checkpoint_whole",
        "raw ranges",
        0.9,
        "checkpoint_whole",
        title="checkpoint, one readinto of all",
        reads="large",
        needs_user_faults=True,
        times_original=3,
    ),
    Row(
        "checkpoint_read",
        "raw ranges, fresh memory",
        0.8,
        "checkpoint_read",
        title="checkpoint, read()",
        reads="large",
        peers=ALL_PEERS,
        needs_user_faults=True,
    ),
    Row(
        "checkpoint_write",
        "raw parts",
        0.8,
        "checkpoint_write",
        title="checkpoint, written 64 MiB at a time",
        reads="large",
        peak_mb=350,
    ),
    Row(
        "safetensors_load",
        "raw ranges, fresh memory",
        0.8,
        "safetensors_load",
        title="safetensors, load_file",
        reads="large",
        needs_user_faults=True,
    ),
    # The emulator keeps what is written and its true checksums; no raw client speaks to it.
    Row(
        "model_save",
        "original model_save",
        None,
        "model_save",
        title="torch.save of a model",
        place="emulator",
        reads="large",
    ),
    Row(
        "model_load",
        "original model_load",
        None,
        "model_load",
        title="torch.load of a model",
        place="emulator",
        reads="large",
        needs_user_faults=True,
    ),
)


BESIDE = ", beside "


def beside(row: Row) -> str:
    """Name the run of a row's limit that comes right before the row, or right behind it."""
    return f"{row.limit}{BESIDE}{row.name}" if row.limit.startswith("raw") else row.limit


def seeds(row: Row) -> str:
    """Name the run of a row with the config file that the original's README prints."""
    return f"{row.name}, seed's config"


def original(row: Row) -> str:
    """Name the run of a row by the original."""
    return f"original {row.name}"


def limits() -> dict[str, str]:
    """Say for each contender which one its ratio refers to."""
    found: dict[str, str] = {}
    for row in ROWS:
        names = (row.name, seeds(row), original(row))
        peers = tuple(f"{peer} {row.name}" for peer in row.peers)
        found |= {name: beside(row) for name in (*names, *peers) if name != row.limit}
    return found
