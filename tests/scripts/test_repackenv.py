"""repackenv.py as an administrator starts it: by the bare Python of the environment, 3.8 or newer."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.clients import environment
from tests.environments import Environment
from tests.scripts.test_oldest import pythons
from tests.world import TOKEN, serving

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "repackenv.py"
REPACK = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m repack "$@"\n'

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for repack")


def bare_python() -> list[str]:
    """A Python 3.8 if there is one, without any package that is installed in it."""
    return [next(iter(pythons("3.8")), sys.executable), "-I", "-S"]


class Desk:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("home", "bin"):
            (root / name).mkdir()
        program = root / "bin" / "repack"
        program.write_text(REPACK)
        program.chmod(0o755)
        self.environment = Environment(root)
        prefix = root / "envs" / "Halkbank"
        prefix.parent.mkdir()
        self.environment.prefix.rename(prefix)
        self.prefix = prefix
        self.script = SCRIPT

    def install(self, *packages: tiny.Package, upstream: str = "https://h.example/c") -> None:
        """Let the environment hold these packages and no others."""
        meta_folder = self.prefix / "conda-meta"
        for file in meta_folder.glob("*.json"):
            file.unlink()
        for package in packages:
            archive = tiny.archive(package, self.environment.cache, "conda")
            data = archive.read_bytes()
            hashes = {h: hashlib.new(h, data).hexdigest() for h in ("md5", "sha256")}
            meta = {**package.index(), **hashes, "size": len(data), **package.hotfix}
            meta |= {"fn": archive.name, "url": f"{upstream}/{package.subdir}/{archive.name}"}
            (meta_folder / f"{package.dist}.json").write_text(json.dumps(meta))

    def info(self, channel: str = "https://h.example/c", **changes) -> None:
        changes = {
            "active_prefix": str(self.prefix),
            "channels": [f"{channel}/linux-64"],
            **changes,
        }
        self.environment.info(**changes)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(self.root / "bin"), "/usr/bin", "/bin"])
        variables = {"PATH": path, "REPACK_STORE": str(self.root / "store"), **variables}
        return subprocess.run(
            [*bare_python(), str(self.script), *arguments],
            env=environment(self.root / "home", **variables),
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def channel(self) -> Path:
        return self.root / "r oot" / "halkbank"

    def archives(self) -> set[str]:
        files = self.channel.glob("*/*.conda")
        return {p.name for p in files if not p.name.startswith("halkbank")}

    def version(self) -> str:
        return json.loads((self.channel / "repack/manifest.json").read_text())["version"]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def names(*packages: tiny.Package) -> set[str]:
    return {f"{package.dist}.conda" for package in packages}


@pytest.mark.slow
def test_it_makes_the_channel_and_keeps_it_up_to_date(desk):
    desk.install(*tiny.PACKAGES)
    desk.info()
    done = desk.run("r oot")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{desk.channel}\n"
    assert (desk.root / "tgfolder.txt").read_text() == f"{desk.channel}/linux-64\n"
    assert "Halkbank" in done.stderr  # the name was folded
    assert desk.archives() == names(*tiny.PACKAGES)
    for package in tiny.PACKAGES:
        assert (desk.channel / package.subdir / f"{package.dist}.conda").is_file()

    desk.install(*tiny.PACKAGES[:3])
    done = desk.run("r oot", "-nc", "-o", "other.txt")
    assert done.returncode == 0, done.stderr
    assert (desk.root / "other.txt").read_text() == f"{desk.channel}/linux-64\n"
    assert desk.archives() == names(*tiny.PACKAGES)
    assert desk.version() == "2"

    done = desk.run("r oot")
    assert done.returncode == 0, done.stderr
    assert desk.archives() == names(*tiny.PACKAGES[:3])

    done = desk.run("r oot", "--force")
    assert done.returncode == 0, done.stderr
    assert desk.version() == "1"
    assert [p.name for p in (desk.root / "r oot/.history/halkbank").iterdir() if p.is_dir()] == [
        "1"
    ]
    assert not list((desk.root / "r oot").glob(".repack-*"))


@pytest.mark.slow
def test_a_failing_run_leaves_what_was_there_and_no_stale_folder(desk):
    desk.install(*tiny.PACKAGES)
    desk.info()
    assert desk.run("r oot").returncode == 0
    before = {p: p.read_bytes() for p in desk.channel.rglob("*") if p.is_file()}
    for file in desk.environment.cache.iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    for options in (["-f"], ["-nc"], ["-f", "-nc"], []):
        done = desk.run("r oot", *options, REPACK_STORE=str(desk.root / "other store"))
        assert done.returncode == 5, done.stderr
        assert "Traceback" not in done.stderr
        assert {p: p.read_bytes() for p in desk.channel.rglob("*") if p.is_file()} == before
        assert not (desk.root / "tgfolder.txt").exists()
        assert not list((desk.root / "r oot").glob(".repack-*"))


@pytest.mark.slow
def test_what_went_from_the_caches_comes_with_the_environment_s_token(desk):
    tiny.channel(desk.root / "up" / "private", tiny.PACKAGES)
    with serving(desk.root / "up") as (url, _):
        desk.install(*tiny.PACKAGES, upstream=f"{url}/private")
        desk.info(f"{url}/t/<TOKEN>/private")
        for file in desk.environment.cache.glob("*.conda"):
            file.unlink()
        done = desk.run("r oot")
        assert done.returncode == 5
        for package in tiny.PACKAGES:
            assert package.dist in done.stderr
        (desk.prefix / ".condarc").write_text(f"channels: ['{url}/t/{TOKEN}/private']\n")
        done = desk.run("r oot")
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stderr + done.stdout
    assert desk.archives() == names(*tiny.PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["REPACK", ".venv/bin", "venv/bin"])
def test_repack_is_found(desk, where):
    desk.install(*tiny.PACKAGES)
    desk.info()
    program, variables = desk.root / "bin" / "repack", {}
    if where == "REPACK":
        program = program.rename(desk.root / "my repack")
        variables = {"REPACK": str(program)}
    else:
        desk.script = shutil.copy(SCRIPT, desk.root)
        (desk.root / where).mkdir(parents=True)
        program.rename(desk.root / where / "repack")
    assert desk.run("r oot", **variables).returncode == 0


def test_without_repack_one_line_says_what_to_install(desk):
    (desk.root / "bin" / "repack").unlink()
    desk.script = shutil.copy(SCRIPT, desk.root)
    desk.info()
    done = desk.run("r oot")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install repack" in done.stderr
    done = desk.run("r oot", REPACK="/nowhere/repack")
    assert (done.returncode, "/nowhere/repack" in done.stderr) == (2, True)


@pytest.mark.parametrize("text", [None, "no json", "[]", "{}", '{"active_prefix": null}', "x {} y"])
def test_what_is_no_envinfo_is_said(desk, text):
    (desk.root / "tgfolder.txt").write_text("/stale\n")
    if text is not None:
        (desk.root / "envinfo.json").write_text(text)
    done = desk.run("r oot")
    assert done.returncode == 2
    assert "envinfo.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (desk.root / "tgfolder.txt").exists()


@pytest.mark.slow
def test_a_forced_run_cut_short_is_made_good(desk):
    """kill -9 while the old channel is aside: the next run puts it back first."""
    desk.install(*tiny.PACKAGES)
    desk.info()
    assert desk.run("r oot").returncode == 0
    desk.channel.rename(desk.channel.with_name(".repack-halkbank.old"))
    assert desk.run("r oot").returncode == 0
    assert desk.version() == "1"
    assert not list((desk.root / "r oot").glob(".repack-*"))


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("/opt/__x__", "x"),
        ("/ö", "env"),
        ("/opt/envs/My Env", "my-env"),
        ("/e/" + "a" * 90, "a" * 64),
    ],
)
def test_the_channel_is_called_like_the_environment(desk, prefix, name):
    """Whatever the name, repack gets one that it takes; then it misses the environment."""
    desk.info(active_prefix=prefix)
    (desk.root / "bin" / "repack").write_text('#!/bin/sh\necho "$2" > name\nexit 4\n')
    assert desk.run("r oot").returncode == 4
    assert (desk.root / "name").read_text() == f"{name}\n"


def test_an_outfile_that_cannot_be_written_is_said_before_anything_is_built(desk):
    desk.info()
    (desk.root / "bin" / "repack").write_text("#!/bin/sh\necho > was-called\n")
    done = desk.run("r oot", "-o", "no/such/folder.txt")
    assert done.returncode == 2
    assert "no/such/folder.txt" in done.stderr
    assert not (desk.root / "was-called").exists()
