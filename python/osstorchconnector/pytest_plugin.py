"""Fixtures for tests of your own pipelines: `oss_emulator` is a local OSS, empty for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osstorchconnector.emulator import Emulator


@pytest.fixture(scope="session")
def _oss_emulator_process() -> Iterator[Emulator]:
    from osstorchconnector.emulator import Emulator

    with Emulator() as oss:
        yield oss


@pytest.fixture
def oss_emulator(_oss_emulator_process: Emulator) -> Emulator:
    """Give an emulator without objects, rules and journal; one process serves the whole session."""
    _oss_emulator_process.reset()
    return _oss_emulator_process
