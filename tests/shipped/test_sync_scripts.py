"""``sync.sh`` and ``sync.cmd``: the order of publishing for those who may run nothing else."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import repack.shipped
from repack.channel.scripts import sync_scripts
from repack.fs.litter import is_litter
from tests import channels
from tests.carrying import content, read_as_client

FOLDER = Path(repack.shipped.__file__).parent


@pytest.fixture
def source(tmp_path):
    return channels.build(tmp_path / "stick ü" / "halkbank")


@pytest.fixture(params=["rsync", "cp"])
def with_(request):
    if request.param == "rsync" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    return {"REPACK_NO_RSYNC": "1" if request.param == "cp" else ""}


def command(*arguments):
    return ["sh", FOLDER / "sync.sh", *arguments]


def sync(environment, *arguments):
    return subprocess.run(
        command(*arguments),
        env={"PATH": "/usr/sbin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_copy_and_update(source, tmp_path, with_):
    dest = tmp_path / "sh are" / "bank"
    dest.parent.mkdir()
    done = sync(with_, source, dest)
    assert done.returncode == 0, done.stderr
    assert content(dest) == content(source)
    channels.build(source, number=2)
    channels.flip(dest / "noarch/b-1-0.tar.bz2")
    (source / "._noarch").write_bytes(b"litter")
    assert sync(with_, f"{source}/", f"{dest}/", "0").returncode == 0
    (source / "._noarch").unlink()
    assert content(dest) == content(source)


def test_refusals(source, tmp_path, with_):
    assert sync(with_, source).returncode == 2
    assert sync(with_, tmp_path, tmp_path / "d").returncode == 2
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.odt").write_bytes(b"years")
    done = sync(with_, source, home)
    assert done.returncode == 2
    assert "other things" in done.stderr
    assert content(home) == {"thesis.odt": b"years"}


def test_killed_at_many_instants(source, tmp_path, with_):
    dest = tmp_path / "bank"
    assert sync(with_, source, dest).returncode == 0
    for number in range(2, 12):
        channels.build(source, number=number)
        with subprocess.Popen(
            command(source, dest, "0"),
            env={"PATH": "/usr/bin:/bin", **with_},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            time.sleep(0.03 * (number - 1))
            process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
        assert read_as_client(dest)
    assert sync(with_, source, dest, "0").returncode == 0
    assert content(dest) == content(source)


def test_scripts_know_the_same_litter():
    shell, windows = (FOLDER / name for name in ("sync.sh", "sync.cmd"))
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._x", "__pycache__", ".cache"):
        assert is_litter(name)
        word = name.removesuffix("x")
        assert word in shell.read_text()
        assert word in windows.read_text()


def test_windows_gets_its_line_ends_and_plain_ascii():
    data = sync_scripts("repack/")["repack/sync.cmd"]
    assert data.isascii()
    assert data.count(b"\r\n") == data.count(b"\n") > 50
    assert sync_scripts()["sync.sh"].count(b"\r") == 0


def test_every_robocopy_is_followed_by_its_exit_code():
    lines = (FOLDER / "sync.cmd").read_text().splitlines()
    calls = [number for number, line in enumerate(lines) if line.startswith("robocopy ")]
    assert len(calls) == 3
    for number in calls:
        assert lines[number + 1] == "if errorlevel 8 goto failed"
    labels = {line[1:] for line in lines if re.match(r":[a-z]+$", line)}
    jumps = set(re.findall(r"(?:goto|call) :?([a-z]+)\b", "\n".join(lines)))
    assert jumps - {"set"} <= labels


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck here")
    done = subprocess.run(
        ["shellcheck", FOLDER / "sync.sh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
