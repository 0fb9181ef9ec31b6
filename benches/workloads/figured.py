"""What the workloads have in common that report more than the bytes they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measure import Target


class FiguredWorkload:
    """Knows where it runs; `figures`, which `run` sets, go into the result beside what it took."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.figures: dict[str, object] = {}
