"""The documented commands of the release scripts, to the letter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repack.cli.main import run

SCRIPTS = Path(__file__).parents[2] / "scripts"
ARCHIVE = "var/releases/offline-2024.10.0.tar.gz"
KEY = "SERVICE=U2VjcmV0S21leQ=="


@pytest.fixture
def work(tmp_path: Path) -> Path:
    for name, text in (("models/a.bin", "A"), ("models/sub/b.bin", "B"), ("strategies/s", "S")):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def call(work: Path, script: str, *arguments: str, **environment: str):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        check=False,
        cwd=work,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )


def package(work: Path, *more: str, output: str = ARCHIVE):
    return call(
        work,
        "package_offline_release.py",
        *("--version", "2024.10.0"),
        *("--output", output),
        *("--models-dir", "data/models"),
        *("--strategies-dir", "data/strategies"),
        *more,
    )


def install(work: Path, *more: str):
    return call(
        work,
        "offline_update.py",
        *("install-release", "--archive", ARCHIVE),
        *("--models-dir", "live/models", "--strategies-dir", "live/strategies"),
        *("--backup-dir", "var/backups"),
        *more,
    )


def test_the_whole_way(work):
    done = package(work, "--signing-key", KEY, "--manifest-output", "var/manifest.json")
    assert done.returncode == 0, done.stderr
    packaged = json.loads(done.stdout)
    assert packaged["archive"] == "var/releases/offline-2024.10.0.tar.gz"
    assert (packaged["signed"], packaged["artifacts"]) == (True, 3)
    assert json.loads((work / "var/manifest.json").read_text()) == packaged["manifest"]
    assert "only 10 bytes" in done.stderr

    archive = packaged["archive"]
    done = call(
        work, "offline_update.py", "verify-release", "--archive", archive, "--signing-key", KEY
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, packaged["manifest"])

    (work / "live/models").mkdir(parents=True)
    (work / "live/models/old").write_text("old")
    done = install(work, "--signing-key", KEY, "--require-signature", "--report", "var/report.json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((work / "var/report.json").read_text())
    assert report["version"] == "2024.10.0"
    assert report["installed"] == ["models/a.bin", "models/sub/b.bin", "strategies/s"]
    assert report["removed"] == ["models/old"]
    (backup,) = report["backups"]
    assert backup["name"] == "models"
    assert (Path(backup["path"]) / "old").read_text() == "old"
    assert (work / "live/models/sub/b.bin").read_text() == "B"
    for text in (done.stdout, done.stderr, (work / "var/report.json").read_text()):
        assert "U2VjcmV0" not in text


def test_prepare_release_is_the_same_command(work):
    package(work, "--signing-key", KEY)
    done = call(
        work,
        "offline_update.py",
        *("prepare-release", "--version", "2024.10.0", "--output", "var/releases/again.tar.gz"),
        *("--models-dir", "data/models", "--strategies-dir", "data/strategies"),
        *("--signing-key", KEY),
    )
    assert done.returncode == 0, done.stderr
    one, two = sorted((work / "var/releases").iterdir())
    assert one.read_bytes() == two.read_bytes()


def test_source_date_epoch(work):
    package(work, output="a.tar.gz")
    done = call(
        work,
        "package_offline_release.py",
        *("--version", "1", "--output", "b.tar.gz", "--models-dir", "data/models"),
        SOURCE_DATE_EPOCH="1000000000",
    )
    assert json.loads(done.stdout)["manifest"]["generated_at"] == "2001-09-09T01:46:40Z"


def test_unsigned(work):
    done = package(work)
    assert json.loads(done.stdout)["signed"] is False
    assert install(work, "--signing-key", KEY).returncode == 6
    done = install(work, "--signing-key", KEY, "--require-signature")
    assert (done.returncode, json.loads(done.stdout)["error"]) == (6, "signature")
    assert not (work / "live").exists()
    done = install(work)
    assert done.returncode == 0
    assert "warning: the release is not signed" in done.stderr


def test_wrong_key(work):
    package(work, "--signing-key", KEY)
    done = install(work, "--signing-key", "SERVICE=b3RoZXIgc2VjcmV0IGtleQ==")
    assert (done.returncode, json.loads(done.stdout)["error"]) == (6, "signature")
    assert not (work / "live").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("key", ["", "SERVICE=", "hex:", "hex:abc", "base64:%%", "env:NOT_SET"])
def test_keys_that_are_none(work, key):
    package(work, "--signing-key", KEY)
    done = install(work, "--signing-key", key)
    assert (done.returncode, json.loads(done.stdout)["error"]) == (6, "key-refused")
    assert not (work / "live").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown-command"],
        ["prepare-release"],
        ["verify-release"],
        ["verify-release", "--archive", "none.tar.gz"],
        ["verify-release", "--archive", "data/models/a.bin", "--require-signature"],
    ],
)
def test_usage(work, arguments):
    done = call(work, "offline_update.py", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_two_at_once(work):
    package(work)
    done = install(work)
    program = (
        "import fcntl, os, sys; fcntl.flock(os.open('live/.repack-lock', os.O_RDWR | os.O_CREAT, 0o600),"
        " fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline(), "it did not get ready"
        done = install(work)
        holder.stdin.close()
    assert (done.returncode, json.loads(done.stdout)["error"]) == (8, "busy")


def test_in_this_process(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    folders = ["--models-dir", "data/models", "--strategies-dir", "data/strategies"]
    key = ["--key", "hex:" + "ab" * 32]
    prepare = ["bundle", "prepare", "--version", "1", "--output", "a.tar.gz", *folders, *key]
    assert run(prepare) == 0
    assert "a.tar.gz: release 1, 3 files, signed" in capsys.readouterr().out
    assert run([*prepare, "--manifest-output", "m.json", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)["manifest"]
    assert json.loads((work / "m.json").read_text()) == manifest
    assert run(["bundle", "verify", "--source", "a.tar.gz", *key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == manifest
    live = ["--models-dir", "live/m", "--strategies-dir", "live/s", "--backup-dir", "live/b"]
    assert run(["bundle", "install", "--source", "a.tar.gz", *live, "--report", "r.json"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "release 1: 3 files installed\n"
    assert "no key was given" in shown.err
    assert json.loads((work / "r.json").read_text())["signature"] == "not checked"
    assert run(["bundle", "install", "--source", "a.tar.gz", *live, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["backups"]) == 2


def test_for_people(work):
    package(work)
    program = "from repack.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "bundle", "verify", "--source", ARCHIVE],
        check=True,
        cwd=work,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SCRIPTS.parent)},
    )
    assert "release 2024.10.0, 3 files, all whole; signature unsigned" in done.stdout
