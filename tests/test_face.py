"""The package's face: which names, how fast, and what it does not do."""

from __future__ import annotations

import subprocess
import sys

import pytest

import osstorchconnector
from torch_versions import need_checkpoints

CONTRACT = {
    "DataObject",
    "OssCheckpoint",
    "OssClient",
    "OssDCPFileSystem",
    "OssIterableDataset",
    "OssMapDataset",
    "OssSafetensor",
    "OssStorageReader",
    "OssStorageWriter",
    "generate_tar_archive",
    "imagenet_manifest_parser",
    "new_data_object",
}
TO_COME = {
    "generate_tar_archive",
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_all_holds_exactly_the_contracts_names_but_those_to_come():
    assert sorted(osstorchconnector.__all__) == sorted(CONTRACT - TO_COME)


def test_a_star_import_works_and_brings_what_is_there():
    need_checkpoints()
    names: dict[str, object] = {}
    exec("from osstorchconnector import *", names)
    assert set(names) - {"__builtins__"} == CONTRACT - TO_COME


@pytest.mark.parametrize("name", sorted(CONTRACT - TO_COME))
def test_each_name_resolves_to_itself(name):
    if name in ("OssDCPFileSystem", "OssStorageReader", "OssStorageWriter"):
        need_checkpoints()
    assert getattr(osstorchconnector, name).__name__ == name
    assert name in dir(osstorchconnector)


@pytest.mark.parametrize("name", sorted(TO_COME))
def test_a_name_still_to_come_fails_on_access_with_one_line(name):
    with pytest.raises(ImportError) as refused:
        getattr(osstorchconnector, name)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ImportError, match="not in this release"):
        exec(f"from osstorchconnector import {name}")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Oss"):
        _ = osstorchconnector.OssUnknown


def test_importing_the_package_imports_nothing_heavy_and_starts_nothing():
    heavy = run(
        "import sys, threading, osstorchconnector\n"
        "print([name for name in ('torch', 'safetensors', 'fsspec', 'numpy', 'osstorchconnector._native',"
        " 'json', 'logging') if name in sys.modules], threading.active_count())"
    )
    assert heavy.strip() == "[] 1"


def test_importing_the_package_takes_less_than_100_ms():
    code = (
        # The processor's time: a busy machine is not the package's fault.
        "import time; start = time.process_time(); import osstorchconnector; "
        "print(time.process_time() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_the_stats_function_is_not_shadowed_by_a_module():
    run(
        "import osstorchconnector, osstorchconnector.dataset\n"
        "osstorchconnector.OssMapDataset\n"
        "assert isinstance(osstorchconnector.stats(), dict)"
    )


def test_without_torch_a_dataset_names_what_to_install():
    said = run(
        "import sys; sys.modules['torch'] = None\n"
        "import osstorchconnector\n"
        "try: osstorchconnector.OssMapDataset\n"
        "except ImportError as missing: print(missing)\n"
        "osstorchconnector.OssCheckpoint"
    )
    assert "pip install 'osstorchconnector[torch]'" in said


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_without_its_libraries_safetensors_names_what_to_install(library):
    said = run(
        f"import sys; sys.modules['{library}'] = None\n"
        "import osstorchconnector\n"
        "try: osstorchconnector.OssSafetensor\n"
        "except ImportError as missing: print(missing)\n"
    )
    assert f"needs {library}: pip install 'osstorchconnector[safetensors]'" in said


def test_a_torch_that_is_too_old_for_distributed_checkpoints_is_named():
    program = (
        "import torch\ntorch.__version__ = '2.3.1+cpu'\nfrom osstorchconnector import OssDCPFileSystem\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert (
        "osstorchconnector.dcp needs torch 2.4 or newer, this is 2.3.1+cpu: " in ran.stderr.splitlines()[-1]
    )
