"""Document A: channels per customer, its command blocks letter by letter, by real condas.

The blocks are for Windows' CMD. A few lines below do what cmd does with them: variables, `SET /p`,
`>`. Folders are moved below a scratch folder and the vendor's host is a local server; nothing else
of a line is changed, unless the test says so.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repack.prefix.sandbox import network_cutter
from tests import tiny
from tests.clients import Conda, environment, installed, need
from tests.scripts.test_oldest import pythons
from tests.world import TOKEN, serving

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the packages are for Linux"),
]
PREPARE = r"""
SET distro="halkbank"
SET distrotoken="xxx"
SET distropackages="ratingpro"
SET mainrepo="C:\MAINPYTHOREPO"
conda create -y -n %distro%
activate %distro%
conda config --env --add channels http://conda.anaconda.org/prometeia
conda config --env --add channels https://conda.anaconda.org/t/%distrotoken%/prometeia
conda config --env --add channels https://conda.anaconda.org/t/%distrotoken%/prometeia/channel/%distro%
conda install -y %distropackages%
conda info --json > envinfo.json
python repackenv.py %mainrepo%
SET /p target=<tgfolder.txt
"""
INDEX = r"""
conda index %target%
conda index %target%\..\noarch
"""
ON_TARGET = r"""
SET ambiente="halbank-test"
SET distrofolder="X:\path\to\local\repo"
conda create -y -n %ambiente%
activate %ambiente%
conda config --env --set offline yes
conda config --env --add channels file:///$env:distrofolder
conda install pytho ratingpro
"""
ANEW = r"""
update-offline-repo halkbank xx-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx c:\tmp\megarpo ratingpro pytho
"""
SESSION = r"""
update-offline-repo halkbank xx-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx G:\PYTHO-offline-repo ratingpro
robocopy /MIR G:\PYTHO-offline-repo\halkbank c:\tmp\halkbankofflinerepo
conda create -y -n testhalkbank
activate testhalkbank
conda config --env --set offline yes
conda config --env --add channels file:///c:\tmp\halkbankofflinerepo
conda info
conda install -y --offline ratingpro --dry-run
conda install -y --offline ratingpro
"""
COMMON = tiny.PACKAGES[:4]
RATINGPRO = tiny.Package(
    "ratingpro",
    "2.0",
    ("python >=3.6", "tiny-lib >=1!1", "tiny-data"),
    noarch="python",
    subdir="noarch",
    build="py_0",
    files={"site-packages/ratingpro/hello.txt": "hello\n"},
)
PYTHO = tiny.Package("pytho", "4.1", ("python >=3.6",), files={"lib/pytho.txt": "pytho\n"})
UNUSED = tiny.Package("unused", "1.0", files={"lib/unused.txt": "in the cache only\n"})


class Desk:
    """A machine with a conda, the scripts, and folders that stand for drives."""

    def __init__(self, root: Path, conda: Conda, host: str, *, offline: bool = False) -> None:
        self.root, self.conda, self.host, self.offline = root, conda, host, offline
        self.home = root / "home"
        self.home.mkdir(parents=True)
        solver = "solver: classic\n" if conda.age == "current" else ""
        (self.home / ".condarc").write_text(
            f"default_channels: []\nenvs_dirs: ['{self.home}/envs']\n"
            f"pkgs_dirs: ['{self.home}/pkgs']\n{solver}"
        )
        for name in ("repackenv.py", "update_offline_repo.py", "update-offline-repo.sh"):
            shutil.copy(ROOT / "scripts" / name, root)
        program = root / "repack"
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m repack "$@"\n'
        )
        program.chmod(0o755)
        self.python = next(iter(pythons("3.8")), sys.executable)
        self.variables = {
            "REPACK": str(program),
            "REPACK_STORE": str(root / "store"),
            "PYTHON": self.python,
        }
        self.values: dict[str, str] = {}
        self.starts = {
            "conda": [conda.path],
            "python": [self.python, "-I", "-S"],
            "update-offline-repo": ["sh", str(root / "update-offline-repo.sh")],
        }

    def place(self, text: str) -> str:
        """A line with its drives below the scratch folder and its host on this machine."""
        text = re.sub(r"https?://conda\.anaconda\.org", lambda _: self.host, text)
        text = text.replace("xx-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", TOKEN)
        text = re.sub(r"(?:file:///)?\b([A-Za-z]):\\", self._drive, text)
        return text.replace("\\", "/")

    def _drive(self, match: re.Match) -> str:
        folder = f"{self.root}/drives/{match[1].upper()}/"
        return f"file://{folder}" if match.group().startswith("file:") else folder

    def run(self, block: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a block line by line; what the last one printed."""
        out = ""
        for line in filter(None, block.splitlines()):
            out = self._line(line, codes)
        return out

    def _line(self, line: str, codes: tuple[int, ...]) -> str:
        if found := re.fullmatch(r"SET /p (\w+)=<(\S+)", line):
            self.values[found[1]] = (self.root / found[2]).read_text().splitlines()[0]
            return ""
        if found := re.fullmatch(r"SET (\w+)=(.*)", line):
            self.values[found[1]] = self.place(found[2])
            return ""
        line = re.sub(r"%(\w+)%", lambda found: self.values[found[1]], line)
        # PowerShell's, and three slashes before a path that begins with one are two too many here.
        folder = self.values.get("distrofolder", "").strip('"')
        line = line.replace("file:///$env:distrofolder", f"file://{folder}")
        command, _, target = self.place(line).partition(" > ")
        program, *arguments = shlex.split(command)
        if program == "activate":
            prefix = self.home / "envs" / arguments[0]
            self.variables |= {"CONDA_PREFIX": str(prefix), "CONDA_SHLVL": "1"}
            self.variables |= {"CONDA_DEFAULT_ENV": arguments[0]}
            return ""
        if program == "robocopy":
            assert arguments.pop(0) == "/MIR"
            shutil.copytree(*arguments, dirs_exist_ok=True)
            return ""
        if program == "conda" and arguments[0] == "index":
            program = " ".join((program, arguments.pop(0)))
        cutter = network_cutter() if self.offline and program == "conda" else []
        done = subprocess.run(
            [*cutter, *self.starts[program], *arguments],
            env=environment(self.home, **self.variables),
            cwd=self.root,
            input="y\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        if target:
            (self.root / target).write_text(done.stdout)
        return done.stdout + done.stderr

    @property
    def prefix(self) -> Path:
        return Path(self.variables["CONDA_PREFIX"])


@pytest.fixture(params=["current", "old"])
def conda(request) -> Conda:
    return need(request.param)


@pytest.fixture
def desk(tmp_path, conda):
    """The administrator's machine, and the vendor's three channels."""
    form = "tar.bz2" if conda.age == "old" else "conda"
    for folder, packages in {
        "prometeia": COMMON,
        "prometeia/channel/halkbank": (RATINGPRO, PYTHO, UNUSED),
    }.items():
        readable = tuple(map(tiny.old, packages)) if conda.age == "old" else packages
        tiny.channel(tmp_path / "up" / folder, readable, form)
    with serving(tmp_path / "up") as (host, _):
        yield Desk(tmp_path / "desk", conda, host)


def names(prefix: Path) -> set[str]:
    return {dist.rsplit("-", 2)[0] for dist in installed(prefix)}


def archives(channel: Path) -> set[str]:
    return {p.name for pattern in ("*.conda", "*.tar.bz2") for p in channel.glob(f"*/{pattern}")}


NEEDED = {"python", "pip", "tiny-lib", "tiny-data", "ratingpro"}


def target_of(desk: Desk, conda: Conda) -> Desk:
    """Another machine, without network, that got the folder."""
    return Desk(desk.root.parent / "target", conda, "http://no.host.invalid", offline=True)


def test_the_active_environment_becomes_a_channel(desk, conda, tmp_path):
    desk.run(PREPARE.replace('"xxx"', f'"{TOKEN}"'))
    assert names(desk.prefix) == NEEDED
    target = Path(desk.values["target"])
    channel = desk.root / "drives" / "C" / "MAINPYTHOREPO" / "halkbank"
    assert target == channel / "linux-64"
    got = archives(channel)
    assert {name.rsplit("-", 2)[0] for name in got} == NEEDED | {"halkbank", "halkbank-manifest"}
    suffix = ".tar.bz2" if conda.age == "old" else ".conda"
    assert {name for name in got if not name.endswith(suffix)} == set()
    for file in (path for path in channel.rglob("*") if path.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file

    # The folder's own installer, on a machine without network.
    done = subprocess.run(
        [
            *network_cutter(),
            "sh",
            str(channel / "install.sh"),
            "--prefix",
            str(tmp_path / "by installer"),
            "--conda",
            conda.path,
        ],
        env=environment(tmp_path / "target" / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "by installer") >= NEEDED


def test_the_folder_on_a_target_by_the_document_s_own_lines(desk, conda):
    desk.run(PREPARE.replace('"xxx"', f'"{TOKEN}"').replace('"ratingpro"', "ratingpro pytho"))
    target = target_of(desk, conda)
    place = target.root / "drives" / "X" / "path" / "to" / "local" / "repo"
    shutil.copytree(desk.root / "drives/C/MAINPYTHOREPO/halkbank", place)
    target.run(ON_TARGET)
    assert names(target.prefix) == NEEDED | {"pytho"}


@pytest.mark.parametrize("lines", [INDEX, "conda index %target%\\..\n"], ids=["literal", "today"])
def test_conda_index_on_the_result(desk, conda, lines):
    """conda-build 3 took a platform's folder; today's conda-index takes it for a whole channel."""
    if conda.age == "old":
        pytest.skip("conda-index belongs to a current conda")
    program = os.environ.get("CONDA_INDEX_EXE") or shutil.which("conda-index")
    if program is None:
        pytest.skip("no conda-index: put it on PATH or set CONDA_INDEX_EXE")
    desk.run(PREPARE.replace('"xxx"', f'"{TOKEN}"'))
    channel = Path(desk.values["target"]).parent
    before = json.loads((channel / "noarch/repodata.json").read_bytes())["packages.conda"]
    desk.starts["conda index"] = [program]
    desk.run(lines)
    assert json.loads((channel / "noarch/repodata.json").read_bytes())["packages.conda"] == before
    target = target_of(desk, conda)
    shutil.copytree(channel, target.root / "drives/X/path/to/local/repo")
    target.run(ON_TARGET.replace("pytho ", ""))
    assert names(target.prefix) == NEEDED
    # The next run of the procedure makes it whole again, whatever the index put there.
    desk.run(PREPARE.strip().splitlines()[-2])
    assert not [path for path in channel.glob("*/noarch/*") if path.is_file()]
    assert not list(channel.glob("*/index.html"))


def settings(desk: Desk, conda: Conda) -> None:
    """What an administrator writes into the file that the first run made."""
    path = desk.root / "update-offline-repo.conf"
    assert "no channels are set" in desk.run(ANEW, codes=(2,))
    text = desk.place(path.read_text(encoding="utf-8"))
    text = text.replace("# channel", "channel").replace("VENDOR", "prometeia")
    if conda.age == "old":
        text = text.replace("\nplatform = linux-64\n", "\nplatform = linux-64 conda=4.4.11\n")
    path.write_text(text, encoding="utf-8")


def test_a_channel_from_a_list_of_packages_is_made_anew_each_time(desk, conda):
    settings(desk, conda)
    desk.run(ANEW)
    channel = desk.root / "drives" / "C" / "tmp" / "megarpo" / "halkbank"
    made = archives(channel)
    suffix = ".tar.bz2" if conda.age == "old" else ".conda"
    assert {n.rsplit("-", 2)[0] for n in made} == NEEDED | {
        "pytho",
        "halkbank",
        "halkbank-manifest",
    }
    assert {name for name in made if not name.endswith(suffix)} == set()
    desk.run(ANEW.replace(" pytho", ""))
    assert not [name for name in archives(channel) if name.startswith("pytho-4")]
    for file in (path for path in desk.root.rglob("*") if path.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file


def test_the_test_session(desk, conda):
    settings(desk, conda)
    lines = SESSION.strip().splitlines()
    desk.run("\n".join(lines[:2]))
    target = target_of(desk, conda)
    shutil.copytree(desk.root / "drives/C", target.root / "drives/C")
    target.run("\n".join(lines[2:7]))
    # Of a dry run old condas make an error's exit code.
    target.run(lines[7], codes=(0, 1))
    assert names(target.prefix) == set()
    target.run(lines[8])
    assert names(target.prefix) == NEEDED
    desk.run(lines[0].replace(" ratingpro", " ratingpro pytho"))
    desk.run(lines[1])
    assert [n for n in archives(desk.root / "drives/C/tmp/halkbankofflinerepo") if "pytho-4" in n]
