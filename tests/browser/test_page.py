"""The report in a real browser: Debian's Chromium, driven by Playwright, with the network off.

Skipped where there is no Chromium (``CHROMIUM_EXE``, or ``chromium`` on PATH) or no Playwright; the
check of accessibility also where axe-core cannot be had (``AXE_CORE``, or npm).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections import deque
from pathlib import Path

import pytest

from tests import tiny
from tests.reports import SCRIPT, bundle, crowd, hostile
from tests.world import World, records

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
BROWSER = os.environ.get("CHROMIUM_EXE") or shutil.which("chromium")
COUNT = 150


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    """The third release of a label with 150 packages and two hostile ones, on a stick."""
    root = tmp_path_factory.mktemp("report")
    world = World(root, {"platforms": {"linux-64": {}}})
    before = Path.cwd()
    os.chdir(root)
    try:
        many = crowd(COUNT)
        world.serve(*hostile(), *many)
        models = bundle(root / "models")
        world.build("--prove", "solved", packages=["tiny-app", "part-001"], bundles=models)
        world.build("--prove", "solved", packages=["tiny-app", "part-000"], signing={})
        newer = tiny.Package(
            "part-149", "9.9", (), "linux-64", None, "0", {"share/x": "new"}, {"license": "ISC"}
        )
        world.serve(*hostile(), *many[:-1], newer)
        world.build("--prove", "solved", "--update")
    finally:
        os.chdir(before)
    stick = root / "my stick ü #1"
    shutil.copytree(world.channel, stick / "bank")
    return stick / "bank"


@pytest.fixture(scope="module")
def browser(channel):
    """Started after the channel is built: Playwright keeps an event loop running, and so do solves."""
    assert channel.is_dir()
    if BROWSER is None:
        pytest.skip("needs a Chromium: put chromium on PATH or set CHROMIUM_EXE")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=["light", "dark"])
def page(browser, channel, request):
    """The page, opened by double click; no request and no message may come of it."""
    context = browser.new_context(color_scheme=request.param, offline=True)
    opened = context.new_page()
    asked, said = [], []
    opened.on("request", lambda one: asked.append(one.url))
    opened.on("console", lambda one: said.append(one.text))
    opened.on("pageerror", lambda one: said.append(str(one)))
    opened.goto((channel / "index.html").as_uri())
    yield opened
    assert [url for url in asked if not url.startswith("file:")] == []
    assert len(asked) == 1
    assert said == []
    context.close()


def visible(page) -> list[str]:
    rows = page.locator("#packages tbody tr:visible th")
    return [text.split(" ")[0] for text in rows.all_inner_texts()]


def test_it_is_ready_at_once(browser, channel):
    """The best of five, because other tests may be busy beside this one."""
    context = browser.new_context(offline=True)
    times = []
    for _ in range(5):
        opened = context.new_page()
        opened.goto((channel / "index.html").as_uri())
        timing = "performance.getEntriesByType('navigation')[0].domComplete"
        times.append(opened.evaluate(timing))
        assert opened.title() == "bank, release 3"
        opened.close()
    context.close()
    assert min(times) <= 300


def test_search_filter_and_sort(page):
    everything = len(visible(page))
    assert everything > COUNT
    page.fill("#search", "9.9 PART-149")
    assert visible(page) == ["part-149"]
    assert f"1 of {everything}" in page.inner_text("#count")
    page.click("#reset")
    page.select_option("#only", "changed")
    assert visible(page) == ["part-149"]
    page.select_option("#only", "hotfixed")
    assert "tiny-app" in visible(page)
    page.click("#reset")
    size = page.locator("#packages thead th", has_text="Size")
    for order, reverse in (("ascending", False), ("descending", True)):
        size.locator("button").click()
        assert size.get_attribute("aria-sort") == order
        cells = page.locator("#packages tbody td.n").evaluate_all(
            "all => all.map(c => +c.dataset.v)"
        )
        assert cells == sorted(cells, reverse=reverse)


def test_a_tile_leads_to_its_row_even_when_it_is_filtered_away(page):
    page.fill("#search", "nothing is called so")
    assert visible(page) == []
    page.locator(".map a", has_text="part-140").first.click()
    target = page.locator("tr:target")
    assert target.locator("th").inner_text().startswith("part-140")
    assert target.is_visible()


def test_it_works_by_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").startswith("Skip to")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#contents"
    button = page.locator("#packages thead th button").first
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#packages thead th").first.get_attribute("aria-sort") == "ascending"


def test_chains_of_dependencies_against_a_search_of_our_own(page, channel):
    known = {}
    for subdir in ("noarch", "linux-64"):
        for record in records(channel, subdir).values():
            known[record["name"]] = [spec.split()[0] for spec in record["depends"]]
    depth = {"tiny-app": 1, "part-000": 1}
    queue = deque(depth)
    while queue:
        name = queue.popleft()
        for needed in known[name]:
            if needed in known and needed not in depth:
                depth[needed] = depth[name] + 1
                queue.append(needed)
    rows = page.locator("#packages tbody tr").evaluate_all(
        "all => all.map(r => [r.querySelector('bdi').textContent, r.lastElementChild.textContent])"
    )
    checked = 0
    for name, why in rows:
        if name in depth and depth[name] > 1:
            way = why.split(" → ")
            assert len(way) == depth[name]
            assert all(b in known[a] for a, b in itertools.pairwise(way))
            checked += 1
    assert checked > COUNT - 10


def test_hostile_texts_are_texts(page):
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert SCRIPT in page.locator("#packages").inner_text()


def test_print_has_all_of_it(page):
    page.emulate_media(media="print")
    data = page.pdf(prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert pages >= 4
    assert re.search(rb"/MediaBox \[0 0 59[45][.\d]* 84[12][.\d]*\]", data), "not A4"
    assert not page.locator("#tools").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_fits_a_narrow_window(page):
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def axe() -> Path:
    """axe-core, from ``AXE_CORE`` or once from npm."""
    given = os.environ.get("AXE_CORE")
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    folder = user_cache_path("repack", appauthor=False) / "axe-core"
    script = folder / "node_modules/axe-core/axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("needs axe-core: install npm or set AXE_CORE to its axe.min.js")
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-fund", "--no-audit", "--prefix", str(folder), "axe-core@4"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0 or not script.is_file():
            pytest.skip("needs axe-core: npm could not fetch it")
    return script


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "../index.html"])
def test_axe_finds_no_serious_fault(browser, channel, scheme, name):
    overview = channel.parent / "index.html"
    if not overview.exists():
        shutil.copy(next(channel.parents[1].glob("chan*/index.html")), overview)
    # The page's own policy forbids what axe does; only here it is put aside.
    context = browser.new_context(color_scheme=scheme, offline=True, bypass_csp=True)
    opened = context.new_page()
    opened.goto((channel / name).resolve().as_uri())
    opened.evaluate(axe().read_text(encoding="utf-8"))
    found = opened.evaluate("axe.run()")
    grave = [
        (fault["id"], fault["impact"], [node["html"][:200] for node in fault["nodes"]][:3])
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
    assert grave == [], json.dumps(grave, indent=1)
    context.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_command_is_cut_at_any_width(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    cut = "boxes => boxes.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.textContent)"
    assert page.locator("pre").count() > 0
    assert page.locator("pre").evaluate_all(cut) == []


def test_tiles_say_their_platform(page):
    texts = page.locator("svg.map text").all_text_contents()
    assert {"linux-64", "noarch"} & set(texts), texts[:20]
