"""The navigation of the static site: the pages in the order of the table of docs/README.md, then the decisions.

`mkdocs.yml` names this file as a hook. A page that the table does not name stays out of the navigation, which the strict
build refuses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_ROW = re.compile(r"^\| \[([^\]]+)\]\(([\w.-]+\.md)\) \|", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Give mkdocs the navigation; it calls this by its name."""
    config.nav = navigation(Path(config.docs_dir))
    return config


def navigation(docs: Path) -> list[dict[str, Any]]:
    """Return the navigation of the pages in `docs`."""
    rows = _ROW.findall((docs / "README.md").read_text(encoding="utf-8"))
    pages: list[dict[str, Any]] = [{title[0].upper() + title[1:]: page} for title, page in rows]
    decisions = sorted(f"decisions/{page.name}" for page in (docs / "decisions").glob("*.md"))
    return [{"Overview": "README.md"}, *pages, {"Decisions": decisions}]
