"""`ossconnector doctor`: what stands between this machine and OSS, line by line, each ok or with a remedy."""

from __future__ import annotations

from osstorchconnector.cli.doctor.command import command

__all__ = ["command"]
