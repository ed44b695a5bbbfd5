"""The upstream that other tests stand on: it must be real, and its hot-fixes must matter."""

import json
import shutil
import subprocess
import sys

import pytest

from scripts import upstream
from tests.scripts.test_wheels import content

pytestmark = pytest.mark.slow
REINDEX = (
    "import sys, pathlib; from scripts import upstream; upstream.index(pathlib.Path(sys.argv[1]))"
)
INSTALL = [sys.executable, "-m", "scripts.install"]


def test_the_same_request_packs_nothing_again(small_upstream):
    assert upstream.build(small_upstream, upstream.SMALL) is False


def test_hotfixes_are_in_the_repodata_only(small_upstream):
    repodata = json.loads((small_upstream / "noarch" / "repodata.json").read_bytes())
    ((name, record),) = (
        item for item in repodata["packages.conda"].items() if item[1]["name"] == "requests"
    )
    inside = json.loads(content(small_upstream / "noarch" / name)["info/index.json"][0])
    assert "urllib3 <1.0" in inside["depends"]
    assert "urllib3 <1.0" not in record["depends"]
    assert any(spec.startswith("urllib3 >=") for spec in record["depends"])


def test_it_holds_both_formats_and_both_systems(small_upstream):
    noarch = {path.name for path in (small_upstream / "noarch").iterdir()}
    assert any(name.endswith(".tar.bz2") for name in noarch)
    builds = {name.rsplit("-", 1)[1] for name in noarch if name.startswith("tqdm-")}
    assert builds == {"unix_py_0.conda", "win_py_0.conda"}


def test_it_installs_offline_and_its_python_works(small_upstream, tmp_path):
    prefix = tmp_path / "prefix mit Umläuten"
    specs = ["requests", "tqdm", "six", "markupsafe", "pip"]
    subprocess.run([*INSTALL, small_upstream, prefix, *specs], check=True)
    code = "import ssl, sqlite3, ctypes, requests, markupsafe._speedups, sys; print(sys.prefix)"
    python = prefix / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(prefix)
    tool = subprocess.run([prefix / "bin" / "tqdm", "--version"], check=True, capture_output=True)
    assert tool.stdout.strip()


def test_without_its_hotfixes_it_cannot_be_installed_from(small_upstream, tmp_path):
    copy = shutil.copytree(small_upstream, tmp_path / "copy")
    subprocess.run([sys.executable, "-c", REINDEX, copy], check=True)
    done = subprocess.run(
        [*INSTALL, copy, tmp_path / "prefix", "requests"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "urllib3 <1.0" in done.stderr
