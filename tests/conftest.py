"""What tests share: an emulator with credentials and config files, as a user would have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from osstorchconnector.emulator import Emulator


@dataclass
class Site:
    """An emulator, and the files with which a user reaches it."""

    oss: Emulator
    directory: Path
    arguments: dict[str, Any]

    def configured(self, **document: Any) -> dict[str, Any]:
        """Return the arguments with another config file."""
        path = self.oss.write_config(self.directory, document)
        return {**self.arguments, "config_path": path}

    def fill(self, objects: dict[str, bytes], bucket: str = "bucket") -> list[str]:
        """Put objects in; return their URIs in byte order."""
        for key, data in objects.items():
            self.oss.put_object(bucket, key, data)
        return [f"oss://{bucket}/{key}" for key in sorted(objects, key=str.encode)]


@pytest.fixture
def site(oss_emulator: Emulator, tmp_path: Path) -> Site:
    """Give an empty emulator, a credentials file and a region."""
    directory = tmp_path / "site"
    directory.mkdir()
    arguments = {
        "endpoint": oss_emulator.endpoint,
        "region": oss_emulator.region,
        "cred_path": oss_emulator.write_credentials(directory),
        "config_path": oss_emulator.write_config(directory),
    }
    return Site(oss_emulator, directory, arguments)
