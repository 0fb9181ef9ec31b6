"""docs/errors.md: every mistake is made, plainly, in a DataLoader worker and under spawn, and the page is what is seen.

`make docs` writes the page anew; without it the test compares.
"""

from __future__ import annotations

import os
import re
import socket
import traceback
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from bad_input import MISTAKES, Mistakes, Place

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
HEAD = """# What errors look like

Made by `make docs`, which makes each mistake and pastes what is seen; a test compares. Every error is one line: the
operation, the object, what happened and what to do, and where OSS answered, its code and the request id for the support
desk. In a DataLoader worker, forked or spawned, PyTorch wraps the worker's traceback around it; the class, its fields
and the last line stay the same. The classes are in `osstorchconnector.errors`; each one is an `OssError`, and with that
an `OSError` and a `RuntimeError`.
"""


@pytest.fixture
def place(site, tmp_path):
    site.fill({"train/cat.jpg": b"cat"})
    site.fill({"train/cat.jpg": b"cat"}, "skewed")
    skewed = {"match": {"bucket": "skewed"}, "action": {"status": 403, "code": "RequestTimeTooSkewed"}}
    site.oss.rules([skewed])
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
        (r"attempts=(?:[2-9]|\d\d+)", "attempts=2"),
    ]:
        text = re.sub(pattern, instead, text)
    return text


def seen_plainly(place):
    for mistake in MISTAKES:
        with pytest.raises(mistake.error) as raised:
            mistake.make(place)
        yield type(raised.value), "".join(traceback.format_exception_only(raised.value))


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
        yield type(raised.value), text[text.rindex("\nosstorchconnector.errors.") + 1 :]
    with pytest.raises(StopIteration):
        next(running)


def page_of(seen, place):
    parts = [HEAD]
    for mistake, (_, text) in zip(MISTAKES, seen, strict=True):
        line = stable(text, place).removeprefix("osstorchconnector.errors.")
        parts.append(f"\n## {mistake.title}\n\n`{mistake.done}`\n\n```text\n{line}\n```\n")
    return "".join(parts)


@pytest.mark.timeout(180)
def test_the_errors_page_shows_what_is_seen_everywhere(place):
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
    page = page_of(plain, place)
    if os.environ.get("OSSTORCHCONNECTOR_WRITE_DOCS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "docs/errors.md is out of date; run `make docs`"
