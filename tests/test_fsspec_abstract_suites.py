"""fsspec's own suites for file systems, on the emulator."""

from __future__ import annotations

import fsspec.tests.abstract as suites
import pytest

from osstorchconnector.fsspec import OssFileSystem


class OssFixtures(suites.AbstractFixtures):
    @pytest.fixture
    def fs(self, bare):  # it sets the environment
        return OssFileSystem(skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self):
        return "bucket/test"

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class TestCopy(OssFixtures, suites.AbstractCopyTests):
    pass


class TestGet(OssFixtures, suites.AbstractGetTests):
    pass


class TestPut(OssFixtures, suites.AbstractPutTests):
    pass


class TestOpen(OssFixtures, suites.AbstractOpenTests):
    pass


class TestPipe(OssFixtures, suites.AbstractPipeTests):
    pass
