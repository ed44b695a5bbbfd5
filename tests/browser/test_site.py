"""The documentation site in a real browser, opened from a folder with the network off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
BROWSER = os.environ.get("CHROMIUM_EXE") or shutil.which("chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("needs a Chromium: put chromium on PATH or set CHROMIUM_EXE")
    site = tmp_path_factory.mktemp("site") / "docs of ü"
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        yield page
        browser.close()


@pytest.mark.parametrize(("word", "target"), [("usb", "sync.html"), ("certutil", "sync.html")])
def test_the_search_finds_it(page, word, target):
    page.click("input[name=query]")
    page.keyboard.press("Control+A")
    page.keyboard.type(word)
    page.wait_for_selector(f"a.md-search-result__link[href*='{target}']", timeout=20_000)
