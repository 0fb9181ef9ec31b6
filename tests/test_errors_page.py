"""docs/errors.md: every mistake is made, plainly, in a DataLoader worker and under spawn, and the page is what is seen.

`make docs` writes the page anew; without it the test compares.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from bad_input import MISTAKES, Mistakes, Place, contradicted_endpoint, unknown_config_key
from osstorchconnector import connection
from osstorchconnector.errors import OssError
from torch_versions import need_checkpoints

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
ELSEWHERE = (
    "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all "
    "future requests to this endpoint."
)
HEAD = """# What errors look like

Made by `make docs`, which makes each mistake and pastes what is seen; a test compares. Every error is one line: the
operation, the object, what happened and what to do, and where OSS answered, its code and the request id for the support
desk. In a DataLoader worker, forked or spawned, PyTorch wraps the worker's traceback around it; the class, its fields
and the last line stay the same. The classes are in `osstorchconnector.errors`; each one is an `OssError`, and with that
an `OSError` and a `RuntimeError`. Where Python's own streams and dicts have a class, it is that one: `TypeError`,
`BufferError`, `KeyError`. `dcp.save` and `dcp.load` raise torch's `CheckpointException` on all ranks; it ends with the
line shown.
"""
REMARKS = """
## A config key that is not known

`"prefetchConcurency": 48`; no error, so that a file can serve several versions: one line of the log, at WARNING.

```text
{typo}
```

## A region that the endpoint contradicts

`endpoint="https://oss-cn-beijing.aliyuncs.com", region="cn-hangzhou"`; no error, as some zones sign with a name that
their host does not have: one line of the log, at WARNING.

```text
{region}
```
"""


@pytest.fixture
def place(site, tmp_path):
    site.fill({"train/cat.jpg": b"cat"})
    refusals = {
        "skewed": {"code": "RequestTimeTooSkewed"},
        "tokens": {"code": "SecurityTokenExpired", "message": "The security token you provided has expired."},
        "elsewhere": {"code": "AccessDenied", "message": ELSEWHERE},
    }
    for bucket in refusals:
        site.fill({"train/cat.jpg": b"cat"}, bucket)
    rules = [
        {"match": {"bucket": name}, "action": {"status": 403, **said}} for name, said in refusals.items()
    ]
    site.oss.rules(rules)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}"
    files = tmp_path / "files"
    files.mkdir()
    return Place(site.arguments, str(files), refused)


def stable(text, place):
    """Replace what differs from run to run; nothing may stand below the line."""
    (text,) = text.strip().splitlines()
    text = text.replace(place.directory, "/path/to")
    for pattern, instead in [
        (r"127\.0\.0\.1:\d+", "127.0.0.1:9000"),
        (r"request_id=[0-9A-F]+", "request_id=5F3A..."),
        (r"elapsed=[\d.]+s", "elapsed=0.1s"),
        (r"__\d{8}T\d+-[0-9a-f]+_", "__20261122T101500000000-5f3a..._"),
        (r"attempts=(?:[2-9]|\d\d+)", "attempts=2"),
    ]:
        text = re.sub(pattern, instead, text)
    return text


def kind_of(raised):
    """Return the class; PyTorch has no other for a KeyError, but keeps the line breaks."""
    return KeyError if isinstance(raised, KeyError) else type(raised)


def seen_plainly(place):
    for mistake in MISTAKES:
        with pytest.raises(mistake.error) as raised:
            mistake.make(place)
        yield kind_of(raised.value), "".join(traceback.format_exception_only(raised.value))


def seen_in_worker(place, start_method):
    loader = DataLoader(
        Mistakes(place), num_workers=1, multiprocessing_context=start_method, prefetch_factor=1
    )
    running = iter(loader)
    for mistake in MISTAKES:
        with pytest.raises(mistake.error) as raised:
            next(running)
        # What PyTorch shows ends with the worker's own traceback; from its last line on, it is ours.
        text = str(raised.value)
        begin = (
            "osstorchconnector.errors."
            if issubclass(mistake.error, OssError)
            else f"{mistake.error.__name__}: "
        )
        yield kind_of(raised.value), text[text.rindex(f"\n{begin}") + 1 :]
    with pytest.raises(StopIteration):
        next(running)


def remark_on(mistake, place, caplog):
    """Return the one line that is logged about a mistake that is no error."""
    connection._warn_once.cache_clear()
    caplog.clear()
    mistake(place)
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    return f"{record.name}: {record.getMessage()}".replace(place.directory, "/path/to")


def page_of(seen, place):
    parts = [HEAD]
    for mistake, (_, text) in zip(MISTAKES, seen, strict=True):
        line = stable(text, place).removeprefix("osstorchconnector.errors.")
        parts.append(f"\n## {mistake.title}\n\n`{mistake.done}`\n\n```text\n{line}\n```\n")
    return "".join(parts)


@pytest.mark.timeout(180)
def test_the_errors_page_shows_what_is_seen_everywhere(place, caplog):
    need_checkpoints()
    plain = list(seen_plainly(place))
    for mistake, (kind, text) in zip(MISTAKES, plain, strict=True):
        line = text.splitlines()[0]
        assert kind is mistake.error
        assert mistake.names in line
        assert mistake.remedy in line
        assert "canary" not in text
    for start_method in ("fork", "spawn"):
        in_worker = list(seen_in_worker(place, start_method))
        assert [kind for kind, _ in in_worker] == [kind for kind, _ in plain]
        assert page_of(in_worker, place) == page_of(plain, place)
    typo = remark_on(unknown_config_key, place, caplog)
    assert "datasetConfig.prefetchConcurency" in typo
    assert "the nearest known one is datasetConfig.prefetchConcurrency" in typo
    region = remark_on(contradicted_endpoint, place, caplog)
    assert "region cn-hangzhou contradicts the endpoint oss-cn-beijing.aliyuncs.com" in region
    assert "leave region out or correct the endpoint" in region
    page = page_of(plain, place) + REMARKS.format(typo=typo, region=region)
    if os.environ.get("OSSTORCHCONNECTOR_WRITE_DOCS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "docs/errors.md is out of date; run `make docs`"


UNCAUGHT = """
import json, sys
from torch.utils.data import DataLoader
from osstorchconnector import OssIterableDataset

if __name__ == "__main__":
    dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **json.loads(sys.argv[1]))
    start = sys.argv[2]
    source = dataset if start == "plain" else DataLoader(dataset, num_workers=1, multiprocessing_context=start)
    for sample in source:
        print(sample)
"""


@pytest.mark.parametrize("start", ["plain", "fork", "spawn"])
def test_the_last_line_of_a_traceback_is_ours_and_carries_the_remedy(start, place, site):
    # A failure that was tried again: its causes must not stand below it.
    arguments = {**site.configured(network={"firstContactSeconds": 0.3}), "endpoint": place.refused}
    script = Path(place.directory) / "train.py"
    script.write_text(UNCAUGHT)
    run = subprocess.run(
        [sys.executable, str(script), json.dumps(arguments), start],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    last = run.stderr.rstrip().splitlines()[-1]
    assert last.startswith(
        "osstorchconnector.errors.ConnectionFailedError: ListObjectsV2 oss://bucket/train/: "
    )
    assert "check endpoint and region" in last
    assert last.endswith("]")
    assert site.oss.access_key_secret not in run.stderr
