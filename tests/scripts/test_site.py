"""The documentation site: builds without a warning, asks nobody for anything, leaves nothing out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.config import load_config

from scripts import nav

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_search_works_from_a_folder(site):
    """A browser reads no JSON from there, and starts no worker: both come as scripts."""
    index = (site / "search/search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    document = json.loads(index.removeprefix("var __index = "))
    titles = {row["location"]: row["title"] for row in document["docs"]}
    assert not [title for title in titles.values() if re.search("@[A-Z]+@", title)]
    found = {row["location"] for row in document["docs"] if "usb" in row["title"].lower()}
    assert "sync.html" in found
    for page in site.rglob("*.html"):
        assert "assets/iframe-worker.js" in page.read_text(encoding="utf-8"), page


def test_pages_spell_their_titles(site):
    """In the browser's tab and in the navigation; templates have words to be filled in."""
    for page in site.rglob("*.html"):
        (title,) = re.findall(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
        assert not re.search("@[A-Z]+@", title), page
        name = title.rpartition(" - repack")[0] or title
        assert name[0].isupper() or name == "repack", title


class Loads(HTMLParser):
    """What a browser fetches to show a page: everything but the links one can click."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "src" or (name == "href" and tag != "a"):
                self.found.append(value)


def test_no_page_loads_anything_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert not [url for url in loads.found if re.match(r"(\w+:)?//", url)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\W*(https?:)?//|@import", style.read_text("utf-8")), style


def test_links_between_pages_keep_to_files(site):
    """So that the site can be read from a folder, too."""
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="tutorial.html"' in home
    assert (site / "label.schema.json").is_file()


def test_every_fence_became_a_block(site):
    """A fence whose first line the renderer does not understand ends up as text."""
    for page in site.rglob("*.html"):
        assert "```" not in page.read_text(encoding="utf-8"), page


def test_every_page_is_in_the_navigation_once():
    config = load_config(str(ROOT / "mkdocs.yml"))
    there = sorted(
        file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")
    )
    for given in (config.nav, ["index.md"], None):
        config.nav = given
        for _ in range(2):  # the second time nothing is left to add
            nav.on_config(config)
            assert sorted(nav.pages(config.nav)) == there
