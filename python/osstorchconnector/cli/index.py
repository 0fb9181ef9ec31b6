"""`ossconnector index build|show|diff`: object indexes as files or objects of their own."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from osstorchconnector import object_index
from osstorchconnector.cli import reaching

if TYPE_CHECKING:
    import argparse

    from osstorchconnector.object_index import ObjectIndex

# As diff(1): there are differences.
_DIFFERENT = 1


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its three verbs."""
    parser = commands.add_parser("index", help="list a prefix into an index, show one, compare two")
    verbs = parser.add_subparsers(title="what to do", required=True, metavar="VERB")
    build = verbs.add_parser("build", help="list a prefix and save what is there")
    build.add_argument("prefix", metavar="oss://BUCKET/PREFIX", help="objects whose keys begin with this")
    build.add_argument("target", metavar="TARGET", help="a path or oss:// URI to save to")
    build.add_argument(
        "--include-empty", action="store_true", help="zero-byte objects too, directories apart"
    )
    build.add_argument("--quiet", action="store_true", help="no progress on a terminal")
    build.set_defaults(run=_build)
    show = verbs.add_parser("show", help="say what an index lists")
    show.add_argument("index", metavar="INDEX", help="a path or oss:// URI")
    show.add_argument("--rows", type=int, default=0, metavar="N", help="print the first N rows too")
    show.add_argument("--json", action="store_true", help="one JSON document")
    show.set_defaults(run=_show)
    diff = verbs.add_parser("diff", help="compare two indexes; exit status 1 if they differ")
    diff.add_argument("old", metavar="OLD", help="a path or oss:// URI")
    diff.add_argument("new", metavar="NEW", help="a path or oss:// URI")
    diff.set_defaults(run=_diff)
    for verb in (build, show, diff):
        reaching.add_to(verb)


def _build(options: argparse.Namespace) -> int:
    client = reaching.client(options)
    bar = sys.stderr.isatty() and not options.quiet
    index = client.build_index(options.prefix, include_empty=options.include_empty, progress=bar)
    saved_bytes = client.save_index(index, options.target)
    print(
        f"{len(index)} objects, {saved_bytes} bytes in {options.target}, fingerprint {index.fingerprint}"
        + (f", {index.left_out_empty} zero-byte objects left out" if index.left_out_empty else "")
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    index = reaching.client(options).load_index(options.index)
    document = _document(index, options.rows)
    if options.json:
        print(json.dumps(document, indent=1))
        return 0
    rows = document.pop("rows")
    for name, value in document.items():
        print(f"{name:16}{value}")
    for uri, size, etag, label in rows:
        print(uri, "-" if size is None else size, etag or "-", label, sep="\t")
    return 0


def _document(index: ObjectIndex, rows: int) -> dict[str, Any]:
    return {
        "objects": len(index),
        "bytes": index.size_bytes(),
        "fingerprint": index.fingerprint,
        "left_out_empty": index.left_out_empty,
        "rows": [(f"oss:/{path}", *rest) for path, *rest in object_index.first(index, rows)],
    }


def _diff(options: argparse.Namespace) -> int:
    client = reaching.client(options)
    old, new = client.load_index(options.old), client.load_index(options.new)
    if old.fingerprint == new.fingerprint:
        return 0
    signs = {"added": "+", "removed": "-", "changed": "!"}
    for change, uri in old.differences(new):
        print(signs[change], uri)
    return _DIFFERENT
