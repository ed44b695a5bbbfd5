"""A channel built by ``repack label`` for two platforms, installed by real clients, network cut.

Also after the customer re-indexed it with his own tools. See tests/clients.py for what is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repack.old_conda.match_spec import old_spec
from repack.prefix.sandbox import network_cutter
from repack.urls import channel_url
from tests import tiny
from tests.clients import Conda, environment, installed, need
from tests.test_clients import run_rattler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="cuts the network off"),
]
LABELS = {"current": "halkbank", "old": "altbank"}


@pytest.fixture(scope="module")
def channels(tmp_path_factory) -> Path:
    """Both labels' channels, each copied to where a customer might put it."""
    work = tmp_path_factory.mktemp("built")
    # Words that conda 4.3 does not understand, where repack has to find others.
    modern = tiny.Package(
        "tiny-app",
        "2.0",
        ("python ~=3.6", "tiny-lib >=1!1, <1!3", "tiny-data =1"),
        "noarch",
        "python",
        "py_0",
        {"site-packages/tiny_app/hello.txt": "hello\n"},
    )
    fixed = {**modern.__dict__, "hotfix": {"depends": list(modern.depends)}, "depends": ("gone",)}
    packages = [p for p in tiny.PACKAGES if p.name != "tiny-app"]
    tiny.channel(work / "upstream", (*packages, tiny.Package(**fixed), *tiny.WINDOWS))
    (work / "labels").mkdir()
    for age, name in LABELS.items():
        form = "tar.bz2" if age == "old" else "keep"
        (work / "labels" / f"{name}.yaml").write_text(
            f"label: {name}\nchannels: [{work}/upstream]\npackages: [tiny-app]\n"
            f"package_format: {form}\nplatforms: {{linux-64: {{}}, win-64: {{}}}}\n"
        )
        command = [sys.executable, "-m", "repack", "label", name, "--store", str(work / "store")]
        subprocess.run(
            command, cwd=work, env=environment(work, PYTHONPATH=str(Path.cwd())), check=True
        )
    shutil.rmtree(work / "upstream")
    (work / "channels").rename(work / "my stick ü")
    return work / "my stick ü"


@pytest.fixture(params=["current", "old"])
def conda(request) -> Conda:
    return need(request.param)


@pytest.fixture
def channel(channels, conda, tmp_path) -> Path:
    """A copy of its own, for tests that change it."""
    return shutil.copytree(channels / LABELS[conda.age], tmp_path / LABELS[conda.age])


def planned(channel: Path, subdir: str = "linux-64") -> set[str]:
    plan = json.loads((channel / "repack/install.json").read_text())
    return set(plan["subdirs"][subdir]["packages"])


def run_installer(channel: Path, conda: Conda, home: Path, prefix: Path):
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [*network_cutter(), "sh", str(channel / "install.sh"), "--prefix", str(prefix)],
        env=environment(home, CONDA_EXE=conda.path),
        capture_output=True,
        text=True,
        check=False,
    )


def records(channel: Path) -> dict[str, dict]:
    """What the channel's repodata says, in one spelling."""
    found = {}
    for file in sorted(channel.glob("*/repodata.json")):
        repodata = json.loads(file.read_text())
        for part in ("packages", "packages.conda"):
            found.update({f"{file.parent.name}/{fn}": r for fn, r in repodata[part].items()})
    # rattler's index leaves nulls out and writes `a ==1 0` for `a 1 0`, `a 1.*` for `a =1`.
    return {
        path: {
            **{key: value for key, value in record.items() if value is not None},
            "depends": [old_spec(spec).replace(" ==", " ") for spec in record["depends"]],
        }
        for path, record in found.items()
    }


def check(prefix: Path, channel: Path) -> None:
    assert installed(prefix) == planned(channel)
    assert {"tiny-app-2.0-py_0", "pip-24.0-pyh0_0", "python-3.9.7-0"} <= installed(prefix)
    assert (prefix / "lib/python3.9/site-packages/tiny_app/hello.txt").read_text() == "hello\n"


def test_install_sh_checks_and_installs(channels, conda, tmp_path):
    channel, prefix = channels / LABELS[conda.age], tmp_path / "an env"
    done = run_installer(channel, conda, tmp_path / "home", prefix)
    assert done.returncode == 0, done.stderr
    assert "not checked" not in done.stderr
    check(prefix, channel)


def test_conda_create_by_hand(channels, conda, tmp_path):
    channel, prefix = channels / LABELS[conda.age], tmp_path / "env"
    url = channel_url(str(channel), windows=False)
    conda.install(url, prefix, channel.name, home=tmp_path / "home")
    check(prefix, channel)


def test_the_foreign_platform_solves(channels, conda, tmp_path):
    channel = channels / LABELS[conda.age]
    url = channel_url(str(channel), windows=False)
    condarc = f'channels: ["{url}"]\ndefault_channels: []\noffline: true\n'
    condarc += f'pkgs_dirs: ["{tmp_path}/pkgs"]\n'
    if conda.age == "current":
        condarc += "solver: classic\n"
    command = ["create", "--dry-run", "--json", "--override-channels", "-c", url, "-p"]
    done = conda.run(
        *(*command, str(tmp_path / "w"), channel.name),
        home=tmp_path / "home",
        condarc=condarc,
        CONDA_SUBDIR="win-64",
    )
    assert done.returncode == 0, done.stdout
    actions = json.loads(done.stdout[done.stdout.index("{") :])["actions"]
    actions = actions[0] if isinstance(actions, list) else actions
    links = actions["LINK"]
    # 4.3 gives names like channel::name-version-build where later ones give records.
    dists = {d["dist_name"] if isinstance(d, dict) else d.split("::")[-1] for d in links}
    assert dists == planned(channel, "win-64")


def test_a_damaged_package_is_not_installed(channel, conda, tmp_path):
    archive = next((channel / "noarch").glob("tiny-data-*"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    done = run_installer(channel, conda, tmp_path / "home", tmp_path / "env")
    assert done.returncode == 6
    assert archive.name in done.stderr
    assert not (tmp_path / "env").exists()


def test_py_rattler_installs(channels, tmp_path):
    if not network_cutter():
        pytest.skip("this system cannot take a process's network away")
    channel, prefix = channels / LABELS["current"], tmp_path / "env"
    done = run_rattler(channel, prefix, tmp_path, channel.name, "pip")
    assert done.returncode == 0, done.stderr
    check(prefix, channel)


def by_conda_index(channel: Path, home: Path) -> None:
    program = os.environ.get("CONDA_INDEX_EXE") or shutil.which("conda-index")
    if program is None:
        pytest.skip("no conda-index: put it on PATH or set CONDA_INDEX_EXE")
    command = [program, str(channel), "--bz2"]
    subprocess.run(command, env=environment(home), check=True, capture_output=True)


def by_rattler_index(channel: Path, home: Path) -> None:
    program = (
        "import asyncio, os, sys; from pathlib import Path; from rattler.index import index_fs;"
        "asyncio.run(index_fs(Path(sys.argv[1]))); sys.stdout.flush(); os._exit(0)"
    )
    command = [sys.executable, "-c", program, str(channel)]
    subprocess.run(command, env=environment(home), check=True)


@pytest.mark.parametrize("reindex", [by_conda_index, by_rattler_index])
def test_a_re_indexed_channel_still_installs(channel, conda, tmp_path, reindex):
    before = records(channel)
    home = tmp_path / "home"
    home.mkdir()
    reindex(channel, home)
    assert records(channel) == before
    prefix = tmp_path / "env"
    url = channel_url(str(channel), windows=False)
    conda.install(url, prefix, channel.name, home=home)
    check(prefix, channel)
