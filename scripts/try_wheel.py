"""Try a wheel as a stranger would: a clean environment, no Rust on PATH, the README's example.

    python scripts/try_wheel.py DIRECTORY-OR-WHEEL [PYTHON]

With another Python than this one, which cannot share its torch, a program without torch takes the example's place.

torch and click are shared with the environment that runs this script (2 GB need not be fetched twice): the directory is
put last on the path of the clean environment, where its `.pth` files, and so an editable install, have no effect.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

ROOT = Path(__file__).parent.parent

_ASK_FOR_BARE_PATHS = """
import fsspec
assert fsspec.get_filesystem_class("oss").__module__.startswith("osstorchconnector."), "the entry point is lost"
"""

_WITHOUT_TORCH = """
from osstorchconnector import OssClient
from osstorchconnector.emulator import Emulator

with Emulator(buckets=["demo"]) as oss:
    client = OssClient(**oss.arguments())
    with client.put_object("demo", "k") as writer:
        writer.write(b"there")
    print(client.get_object("demo", "k").read())
"""


def main() -> None:
    """Install the wheel, the only one if a directory is given, and run the example with it."""
    given, interpreter = Path(sys.argv[1]).resolve(), (sys.argv[2:] or [sys.executable])[0]
    (wheel,) = given.glob("*.whl") if given.is_dir() else [given]
    has_torch = interpreter == sys.executable
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        subprocess.run([interpreter, "-m", "venv", home / "venv"], check=True)
        python = home / "venv" / "bin" / "python"
        environment = {"PATH": str(python.parent), "HOME": name}
        if shutil.which("cargo", path=environment["PATH"]):
            raise SystemExit("error: cargo is on the path of the clean environment")
        _run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], environment)
        _share_torch(python)
        where = _run(
            [python, "-c", "import osstorchconnector; print(osstorchconnector.__file__)"], environment
        )
        if not Path(where.strip()).is_relative_to(home):
            raise SystemExit(f"error: the clean environment imports {where.strip()}")
        example = home / "example.py"
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        example.write_text(readme.split("```python\n")[1].split("```")[0] if has_torch else _WITHOUT_TORCH)
        print(_run([python, example], environment), end="")
        _run([python.parent / "ossconnector", "--help"], environment)
        _run([python, "-c", _ASK_FOR_BARE_PATHS], environment)
    print(f"wheel: {wheel.name} ({wheel.stat().st_size / 1e6:.1f} MB) installs and runs without Rust")


def _share_torch(python: Path) -> None:
    (packages,) = (python.parent.parent / "lib").glob("python3*/site-packages")
    (packages / "shared_torch.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _run(command: list[str | os.PathLike[str]], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
