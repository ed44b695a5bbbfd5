"""Takes pages into the site's navigation that ``mkdocs.yml`` does not name (yet)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    """Add what mkdocs.yml does not name, under "More" (mkdocs calls this)."""
    docs = Path(config.docs_dir)
    named = set(pages(config.nav))
    there = sorted(file.relative_to(docs).as_posix() for file in docs.rglob("*.md"))
    if left := [page for page in there if page not in named]:
        config.nav = [*(config.nav or []), {"More": left}]


def pages(nav: object) -> Iterator[str]:
    """All files that a navigation names."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for inner in nav.values():
            yield from pages(inner)
    elif isinstance(nav, list):
        for inner in nav:
            yield from pages(inner)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Leave out of a template's title what is filled in later (mkdocs calls this)."""
    return re.sub(r"^(# [^\n:@]*):[^\n]*@[A-Z]+@[^\n]*$", r"\1", markdown, flags=re.MULTILINE)
