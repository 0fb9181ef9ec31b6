"""`ossconnector cp`: files to objects, objects to files, objects to objects; many at a time, each whole or not at all."""

from __future__ import annotations

from osstorchconnector.cli.cp.command import command

__all__ = ["command"]
