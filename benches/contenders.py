"""Ours, the original and the peers: each runs a workload in a fresh process, where it can."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import original
from measure import Target
from starter import Starter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rows import Row
    from server import Served

HERE = Path(__file__).parent
REGION = "cn-hangzhou"
PEERS = HERE.parent / ".cache" / "peers"


@dataclass(frozen=True)
class Place:
    """A server, as clients are told of it.

    `host_port` is of this machine; `ca_file` says that it speaks TLS.
    """

    host_port: str
    served: Served
    ca_file: Path | None = None

    @property
    def endpoint(self) -> str:
        """What clients are given."""
        return f"{'http' if self.ca_file is None else 'https'}://{self.host_port}"


class Contenders:
    """Run workloads; files that they need go to `directory`."""

    def __init__(self, directory: Path, keys: tuple[str, str], *, with_original: bool) -> None:
        self.directory = directory
        self.credentials = directory / "credentials.json"
        self.credentials.write_text(
            json.dumps(dict(zip(("AccessKeyId", "AccessKeySecret"), keys, strict=True)))
        )
        self._starters: dict[tuple[str, ...], Starter] | None = None
        self._prefix = original.command_prefix(directory) if with_original else "it was not asked for"
        if isinstance(self._prefix, str):
            print(f"bench: the original is not measured: {self._prefix}", flush=True)
        elif not original.has_user_faults():
            print(
                "bench: only the original's datasets are measured: its readers need userfaultfd", flush=True
            )
        if not (PEERS / "obstore").is_dir():
            print("bench: the peers are not measured; `make peers` fetches them", flush=True)

    @contextlib.contextmanager
    def forking(self) -> Iterator[None]:
        """Within this block no run imports torch anew: time is measured as before, memory is not."""
        self._starters = {}
        try:
            yield
        finally:
            for starter in self._starters.values():
                starter.close()
            self._starters = None

    def let(self, who: str, row: Row, place: Place) -> dict[str, Any] | None:
        """Run with `ours`, ours with the `seeds` config file, or the `original`; None where that cannot be."""
        if who == "original":
            return self.original(row, place)
        return self.ours(row, place, seeds=who == "seeds")

    def ours(self, row: Row, place: Place, *, seeds: bool = False) -> dict[str, Any]:
        """Run with our package, without a config file or with the one that the original's README prints."""
        return self.run(f"workloads.{row.workload}", self.target(row, place, seeds=seeds))

    def original(self, row: Row, place: Place) -> dict[str, Any] | None:
        """Run with the original, or return None where that cannot be."""
        if isinstance(self._prefix, str) or not row.has_original:
            return None
        if row.needs_user_faults and not original.has_user_faults():
            return None
        port = place.host_port.rpartition(":")[2]
        target = replace(self.target(row, place, seeds=True), endpoint=f"http://{original.HOST}:{port}")
        module = f"workloads.{row.workload}"
        return self._tried("the original", row, module, target, self._prefix, original.environment())

    def peer(self, peer: str, row: Row, place: Place) -> dict[str, Any] | None:
        """Run with another package, or return None where it is not installed, or cannot speak to this server."""
        if not (PEERS / "obstore").is_dir():
            return None
        path = os.pathsep.join(filter(None, (str(PEERS), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        module = f"peers.{peer}_{row.workload}"
        return self._tried(peer, row, module, self.target(row, place), [], environment)

    def _tried(
        self,
        who: str,
        row: Row,
        module: str,
        target: Target,
        prefix: list[str],
        environment: dict[str, str],
    ) -> dict[str, Any] | None:
        """Run what may crash: that is said, and is no reason to lose what was measured before."""
        try:
            return self.run(module, target, prefix, environment)
        except subprocess.CalledProcessError as failure:
            print(f"bench: {who} {row.name} is not measured: exit status {failure.returncode}", flush=True)
            return None

    def target(self, row: Row, place: Place, *, seeds: bool = False) -> Target:
        """Say what a process that measures `row` is told."""
        served = place.served
        return Target(
            endpoint=place.endpoint,
            region=REGION,
            cred_path=str(self.credentials),
            config_path=self._config(place, seeds=seeds),
            directory=str(self.directory),
            objects=served.objects,
            big_bytes=served.big_bytes,
            expected_bytes=served.small_bytes if row.reads == "objects" else served.big_bytes,
            is_at_least=row.place == "emulator",
            workers=row.workers,
        )

    def run(
        self,
        module: str,
        target: Target,
        prefix: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Measure one workload in a process of its own."""
        if self._starters is not None:
            key = (*(prefix or []), (environment or {}).get("PYTHONPATH", ""))
            if key not in self._starters:
                self._starters[key] = Starter(prefix or [], environment, self.directory / "result.json")
            return self._starters[key].run(module, target)
        command = [*(prefix or []), sys.executable, str(HERE / "measure.py"), module]
        done = subprocess.run(
            [*command, json.dumps(asdict(target))],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        # The original says on its standard output what it sets up.
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def _config(self, place: Place, *, seeds: bool) -> str:
        if not seeds and place.ca_file is None:
            return ""
        document = original.seeds_config(self.directory) if seeds else {}
        if place.ca_file is not None:
            document = {**document, "network": {"caFile": str(place.ca_file)}}
        path = self.directory / f"config{'-seed' if seeds else ''}{'-tls' if place.ca_file else ''}.json"
        path.write_text(json.dumps(document))
        return str(path)
