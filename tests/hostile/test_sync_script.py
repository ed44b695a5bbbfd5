"""`sync.sh` and folders that somebody else prepared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests import channels
from tests.carrying import content
from tests.hostile.test_places import KINDS, home_of, plant, sites_in, state
from tests.hostile.test_unreadable import MODES, bound_by_modes
from tests.shipped.test_sync_scripts import FOLDER, sync

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return channels.build(tmp_path_factory.mktemp("stick ü") / "halkbank")


@pytest.fixture(params=["rsync", "cp"])
def way(request):
    if request.param == "rsync" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    return {"REPACK_NO_RSYNC": "1" if request.param == "cp" else ""}


@pytest.fixture
def dest(source, tmp_path):
    return shutil.copytree(source, tmp_path / "share")


def test_no_link_in_the_destination_is_followed(source, dest, tmp_path, way):
    for number, site in enumerate((*sites_in(source), "noarch/.repack-x", "extra")):
        kind = KINDS[number % 2]
        copy, base = tmp_path / f"copy {number}", tmp_path / f"victim {number}"
        shutil.copytree(dest, copy)
        plant(copy / site, kind, home_of(base / "home", copy / site))
        before = state(base)
        done = sync(way, source, copy, "0")
        assert state(base) == before, site
        assert done.returncode == 2, (site, done.stderr)
        assert "links, pipes" in done.stderr
        (copy / site).unlink()
        if site.partition("/")[0] != "repack":  # without its manifest it is nobody's channel
            assert sync(way, source, copy, "0").returncode == 0, site
            assert content(copy) == content(source)


DROPPED = (
    "noarch/@eaDir/a-1-0.conda@SynoResource",
    "install.cmd:Zone.Identifier",
    "noarch/.nfs000000000a2b3c4d00000001",
    ".Trash-1000/files/old.conda",
    ".Spotlight-V100/VolumeConfiguration.plist",
    ".fseventsd/fseventsd-uuid",
)


def test_what_systems_drop_is_neither_copied_nor_removed(source, dest, tmp_path, way):
    stick = shutil.copytree(source, tmp_path / "stick")
    for path in DROPPED:
        (stick / path).parent.mkdir(parents=True, exist_ok=True)
        (stick / path).write_bytes(b"of the stick")
    for path in DROPPED[:3]:
        (dest / path).parent.mkdir(parents=True, exist_ok=True)
        (dest / path).write_bytes(b"of the share")
    done = sync(way, stick, dest, "0")
    assert done.returncode == 0, done.stderr
    assert [path for path in DROPPED if (dest / path).exists()] == list(DROPPED[:3])
    assert {(dest / path).read_bytes() for path in DROPPED[:3]} == {b"of the share"}


def test_a_line_break_leads_to_nobody_elses_files(source, dest, way):
    # Listed a line each, the second line is ../precious.txt.
    odd = dest / "a\n.."
    odd.mkdir()
    (odd / "precious.txt").write_text("x")
    (dest.parent / "precious.txt").write_text("mine")
    done = sync(way, source, dest, "0")
    assert done.returncode == 2
    assert "line break" in done.stderr
    assert (dest.parent / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    [
        "$(touch pwned)",
        "`touch pwned`",
        ";touch pwned",
        "-rf",
        "--delete",
        "a'b\"c",
        "* ?",
        "#x",
        "&x",
    ],
)
def test_a_file_name_is_never_code(source, dest, tmp_path, way, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (dest / "noarch" / name).write_text("x")
    (dest / name).write_text("x")
    (dest / "install.sh").touch()
    own = shutil.copytree(source, tmp_path / "own")
    (own / "noarch" / name).write_text("new")
    done = sync(way, own, dest, "0")
    assert done.returncode in {0, 6}, done.stderr
    assert not list(tmp_path.rglob("pwned"))
    assert {path.name for path in tmp_path.iterdir()} == {"own", "share"}
    if done.returncode == 0:
        assert content(dest) == content(own)


@pytest.mark.parametrize("name", ["-a b", "host:place", "-e"])
def test_a_place_is_never_an_option(source, tmp_path, way, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(source, tmp_path / name)
    done = sync(way, name, f"{name}.copy", "0")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / f"{name}.copy") == content(source)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities of Linux")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", ["source", "dest"])
def test_a_folder_that_cannot_be_read_is_not_empty(source, dest, tmp_path, way, mode, side):
    own = shutil.copytree(source, tmp_path / "own")
    closed = (own if side == "source" else dest) / "noarch"
    before = content(dest)
    closed.chmod(mode)
    with bound_by_modes():
        done = subprocess.run(
            # Root's rights come back with a new program; those of a plain user do not.
            ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps",
             "-dac_override,-dac_read_search", "sh", FOLDER / "sync.sh", own, dest, "0"],
            env={"PATH": os.environ["PATH"], **way}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    closed.chmod(0o755)
    assert done.returncode != 0
    assert "denied" in done.stderr
    assert mode == 0o400 or "cannot be read to the end" in done.stderr
    assert content(dest) == before
