"""``bootstrap: repack``: an environment for a machine that has busybox and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from repack.cli.main import run
from repack.prefix.relocatable import pack_environment, packed_prefix
from tests import tiny
from tests.installer.bare import BUSYBOX, BWRAP, bare_root, run_bare
from tests.world import World, snapshot

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (BUSYBOX and BWRAP), reason="takes busybox and bubblewrap"
)
P = tiny.PLACEHOLDER
# A program's strings: one prefix, two in one string, one cut from the text behind by a NUL.
STRINGS = f"\x7fELF\0{P}/lib/a.so\0\0more\0{P}/x:{P}/share\0end\0-R{P}\0tail"
HELLO = f'#!/bin/sh\nread line <\'{P}/share/greeting\'\necho "$line" from "$0"\n'
BARE = tiny.Package(
    "bare",
    files={
        "bin/hello": HELLO,
        "bin/tool": f"#!{P}/bin/hello -x\nnot run\n",
        "lib/strings.bin": STRINGS,
        "lib/ä b & c.txt": f"{P}\n&{P}, without line end",
        "share/greeting": "Grüße\n",
    },
)
PREFIX = "/home/bänk/env"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A published label with such an environment."""
    made = World(tmp_path_factory.mktemp("wörld a"))
    made.serve(*tiny.PACKAGES, BARE)
    made.build(
        packages=["bare"],
        platforms={"linux-64": {}},
        bootstrap="repack",
        health_check=["hello", "it's me"],
    )
    return made


@pytest.fixture
def root(tmp_path):
    return bare_root(tmp_path / "root")


SCRIPT = "bootstrap/linux-64/unpack.sh"
ARCHIVE = "bootstrap/linux-64/bank-1-environment.tar.gz"


def write_installer(world, *words) -> int:
    return run(["installer", "bank", "--channels-dir", str(world.channels), *words])


def install(root, world, *words, **variables):
    shown = {"/mnt": world.channel}
    return run_bare(root, "sh", "/mnt/install.sh", *words, shown=shown, **variables)


def strings(prefix: str) -> bytes:
    """``STRINGS`` by conda's rule: each string shrinks, and NULs fill it up."""
    parts = (part.encode() for part in STRINGS.split("\0"))
    rewritten = (
        part.replace(P.encode(), prefix.encode()).ljust(len(part), b"\0") for part in parts
    )
    return b"\0".join(rewritten)


def test_a_machine_with_nothing_installs(world, root):
    done = install(root, world, "--prefix", PREFIX)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == PREFIX
    assert "no conda here; taking the environment" in done.stderr
    assert f"Grüße from {PREFIX}/bin/hello" in done.stderr  # the health check
    env = root / PREFIX[1:]
    assert (env / "bin/tool").read_text() == f"#!{PREFIX}/bin/hello -x\nnot run\n"
    assert (env / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (env / "lib/ä b & c.txt").read_text() == f"{PREFIX}\n&{PREFIX}, without line end"
    assert (env / "lib/strings.bin").read_bytes() == strings(PREFIX)
    meta = json.loads((env / "conda-meta/bare-1.0-0.json").read_text())
    assert meta["channel"] == f"file://{PREFIX}/.repack/channel"
    assert not [name for name in (root / "home/bänk").iterdir() if name.name != "env"]


def test_the_channel_is_sound_and_is_not_built_again(world):
    built = world.build()
    assert (built["changed"], built["release"]) == (False, 1)
    assert run(["verify", str(world.channel)]) == 0
    checker = [sys.executable, "-I", str(world.channel / "repack/verify.py"), str(world.channel)]
    assert subprocess.run(checker, check=False, capture_output=True).returncode == 0
    manifest = json.loads((world.channel / "repack/manifest.json").read_bytes())
    assert ARCHIVE in [row["path"] for row in manifest["artifacts"]]


def test_the_archive_tells_nothing_of_this_machine(world):
    with tarfile.open(world.channel / ARCHIVE) as tar:
        members = tar.getmembers()
        data = b"".join(tar.extractfile(m).read() for m in members if m.isreg())
    assert str(world.store).encode() not in data  # nor of its folders of extracted packages
    assert {(m.uid, m.gid, m.uname) for m in members} == {(0, 0, "")}
    assert not {m.name for m in members} & {"CACHEDIR.TAG"}


def test_the_same_environment_gives_the_same_bytes(tmp_path):
    archives = []
    for name in ("a", "b"):
        prefix, target = tmp_path / name / "env", tmp_path / name / "packed"
        (prefix / "conda-meta").mkdir(parents=True)
        meta = {
            "name": "x",
            "subdir": "linux-64",
            "fn": "x-1-0.conda",
            "link": {"source": str(prefix)},
        }
        (prefix / "conda-meta/x-1-0.json").write_text(json.dumps(meta))
        (prefix / "x").write_text(packed_prefix())
        os.utime(prefix / "x", (1_700_000_000.5, 1_700_000_000.5))
        pack_environment(prefix, packed_prefix(), "bank", target, lambda _size: None)
        archives.append(target.read_bytes())
    assert archives[0] == archives[1]


@pytest.mark.parametrize(
    ("prefix", "code", "text"),
    [
        ("/home/" + "x" * 95, 2, "may have 100 bytes at most"),
        ("/home/a$b", 2, "such characters"),
        ("/home/a'b", 2, "such characters"),
        ("/home/a\nb", 2, "such characters"),
        ("", 2, "--prefix is empty"),
        ("/bin", 2, "something in /bin already"),
        ("/mnt/env", 1, "cannot write to /mnt"),
    ],
)
def test_a_prefix_that_cannot_be(world, root, prefix, code, text):
    done = install(root, world, "--prefix", prefix)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert not list((root / "home").iterdir())


@pytest.mark.parametrize(
    "prefix", ["/e", "/home/" + "x" * 94, "/home/with a space, more ü", "/home/a//b/../c/"]
)
def test_a_prefix_that_can_be(world, root, prefix):
    done = install(root, world, "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    env = root / done.stdout.rstrip("\n")[1:]
    written = done.stdout.rstrip("\n")
    assert (env / "lib/strings.bin").read_bytes() == strings(written)
    assert (env / "lib/ä b & c.txt").read_text().startswith(f"{written}\n&{written},")
    first = (env / "bin/tool").read_text().splitlines()[0]
    assert first == ("#!/usr/bin/env hello -x" if " " in written else f"#!{written}/bin/hello -x")


def test_home_is_the_default_and_words_are_read(world, root):
    assert install(root, world).stdout == "/root/.conda/envs/bank\n"
    assert "unknown word --frobnicate" in install(root, world, "--frobnicate").stderr
    assert install(root, world, "--prefix").returncode == 2
    said = run_bare(root, "sh", f"/mnt/{SCRIPT}", "--help", shown={"/mnt": world.channel})
    assert (said.returncode, "--no-health-check" in said.stdout) == (0, True)


def test_damage_is_found_before_anything_is_unpacked(world, root, tmp_path):
    copy = shutil.copytree(world.channel, tmp_path / "copy")
    data = bytearray((copy / ARCHIVE).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / ARCHIVE).write_bytes(data)
    done = run_bare(root, "sh", "/mnt/install.sh", "--prefix", PREFIX, shown={"/mnt": copy})
    assert (done.returncode, done.stdout) == (6, "")
    assert "not what was released" in done.stderr
    (copy / ARCHIVE).unlink()
    done = run_bare(root, "sh", "/mnt/install.sh", "--prefix", PREFIX, shown={"/mnt": copy})
    assert done.returncode == 6
    assert not list((root / "home/bänk").iterdir())


def test_update_and_uninstall(world, root):
    env = root / PREFIX[1:]
    assert install(root, world, "--prefix", PREFIX).returncode == 0
    again = install(root, world, "--prefix", PREFIX)
    assert (again.returncode, "add --update" in again.stderr) == (2, True)
    (env / "old").touch()
    assert install(root, world, "--prefix", PREFIX, "--update").returncode == 0
    assert not (env / "old").exists()
    script = ("sh", f"/mnt/{SCRIPT}", "--uninstall", "--prefix")
    (root / "home/mine").mkdir()
    for other in ("/home/mine", "/home/none"):
        refused = run_bare(root, *script, other, shown={"/mnt": world.channel})
        assert refused.returncode == 2
    assert run_bare(root, *script, PREFIX, shown={"/mnt": world.channel}).returncode == 0
    assert not list((root / "home/bänk").iterdir())


def test_an_environment_of_others_is_left_alone(world, root):
    mine = root / "home/mine"
    (mine / "conda-meta").mkdir(parents=True)
    before = snapshot(mine)
    done = install(root, world, "--prefix", "/home/mine", "--update")
    assert (done.returncode, snapshot(mine)) == (2, before)


def test_a_failed_health_check_leaves_what_was_there(world, root, tmp_path):
    sick = World(tmp_path / "sick")
    sick.serve(*tiny.PACKAGES, BARE)
    # It holds where it was proved and not on this machine.
    check = ["sh", "-c", "test -e /etc/passwd"]
    sick.build(
        packages=["bare"], platforms={"linux-64": {}}, bootstrap="repack", health_check=check
    )
    done = install(root, sick, "--prefix", PREFIX)
    assert (done.returncode, done.stdout) == (7, "")
    assert not list((root / "home/bänk").iterdir())
    assert install(root, sick, "--prefix", PREFIX, "--no-health-check").returncode == 0
    (root / PREFIX[1:] / "old").touch()
    assert install(root, sick, "--prefix", PREFIX, "--update").returncode == 7
    assert (root / PREFIX[1:] / "old").exists()
    assert [path.name for path in (root / "home/bänk").iterdir()] == ["env"]


def test_what_a_killed_run_left_is_cleared(world, root):
    parent = root / "home/bänk"
    for name in (".repack-new-env", ".repack-old-env"):
        (parent / name / "x").mkdir(parents=True)
    (parent / ".repack-new-env/.repack-pid").write_text("99999\n")
    assert (
        install(root, world, "--prefix", PREFIX, "--update").returncode == 2
    )  # the old one is back
    assert (parent / "env/x").is_dir()
    shutil.rmtree(parent / "env")
    assert install(root, world, "--prefix", PREFIX).returncode == 0
    assert [path.name for path in parent.iterdir()] == ["env"]


def test_a_full_disk_is_said_and_leaves_nothing(world, root):
    words = "sh /mnt/install.sh --prefix /home/env; code=$?; ls -a /home; exit $code"
    done = run_bare(root, "sh", "-c", words, shown={"/mnt": world.channel}, full="/home")
    assert (done.returncode, done.stdout.split()) == (1, [".", ".."])
    assert "is the disk full?" in done.stderr


def test_one_at_a_time(world, root):
    parent = root / "home/bänk/.repack-new-env"
    parent.mkdir(parents=True)
    words = "echo $$ >/home/bänk/.repack-new-env/.repack-pid; sh /mnt/install.sh --prefix " + PREFIX
    done = run_bare(root, "sh", "-c", words + "; exit $?", shown={"/mnt": world.channel})
    assert (done.returncode, "installs into" in done.stderr) == (8, True)
    assert parent.is_dir()


def test_one_file_installs_alone(world, root, tmp_path):
    file = root / "tmp/bänk inst.sh"
    assert write_installer(world, "-o", str(file)) == 0
    assert file.stat().st_mode & 0o111
    done = run_bare(root, "sh", "/tmp/bänk inst.sh", "--prefix", PREFIX)
    assert (done.returncode, done.stdout) == (0, PREFIX + "\n"), done.stderr
    assert (root / PREFIX[1:] / "lib/strings.bin").read_bytes() == strings(PREFIX)
    assert (
        run_bare(root, "/tmp/bänk inst.sh", "--prefix", "/home/2", "--key", "hex:00").returncode
        == 2
    )
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    assert run_bare(root, "sh", "/tmp/bänk inst.sh", "--prefix", "/home/3").returncode == 6


def test_the_installer_command_says_what_is_missing(world, tmp_path, capsys):
    assert (
        write_installer(world, "-o", str(tmp_path / "none" / "x.sh")) == 0
    )  # made, with its folder
    assert write_installer(world, "-o", str(tmp_path / "x.sh"), "--platform", "win-64") == 2
    assert "bootstrap" in capsys.readouterr().err
    plain = World(tmp_path / "plain")
    plain.build(packages=["tiny-data"])
    folders = ["--channels-dir", str(plain.channels)]
    assert run(["installer", "bank", "-o", str(tmp_path / "y.sh"), *folders]) == 2
    assert "bootstrap: repack" in capsys.readouterr().err
    assert not (tmp_path / "y.sh").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bootstrap": "repack", "platforms": {"win-64": {}}}, "is for Linux"),
        ({"bootstrap": "miniforge"}, "none, repack"),
    ],
)
def test_a_label_that_asks_for_what_there_is_not(tmp_path, changes, text):
    assert text in World(tmp_path / "w").fail(3, **changes)
