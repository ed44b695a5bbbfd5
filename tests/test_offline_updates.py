"""Offline updates of models and strategies with the standard library alone: the documented commands,
tampering that must be found, backups that must come back, and the same verdicts as `repack bundle`."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from repack.bundle.archive import Trust
from repack.bundle.archive_reader import read_archive
from repack.bundle.prepare import PrepareRequest, prepare
from repack.errors import KeyRefusedError, RepackError
from repack.keys.shared_key import parse_key
from scripts import release_archive
from scripts.release_archive import Failure
from tests.releases import FILES, KEY, archive, manifest, members, plain, signature, tarball

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("offline_update.py", "package_offline_release.py", "release_archive.py")
PACKAGE = """
python scripts/package_offline_release.py \
  --version 2024.10.0 \
  --output var/releases/offline-2024.10.0.tar.gz \
  --models-dir data/models \
  --strategies-dir data/strategies \
  --signing-key SERVICE=U2VjcmV0S21leQ==
"""
VERIFY = """
python scripts/offline_update.py verify-release \
  --archive var/releases/offline-2024.10.0.tar.gz \
  --signing-key SERVICE=U2VjcmV0S21leQ==
"""
INSTALL = """
python scripts/offline_update.py install-release \
  --archive /mnt/usb/offline-2024.10.0.tar.gz \
  --models-dir data/models \
  --strategies-dir data/strategies \
  --backup-dir var/offline_updates/backups \
  --signing-key SERVICE=U2VjcmV0S21leQ== \
  --require-signature
"""


def bare_pythons() -> list[str]:
    """This Python, and every other from 3.9 on that is on this machine, without site-packages."""
    names = [f"python3.{minor}" for minor in range(9, 15)]
    folders = [*Path.home().glob(".pyenv/versions/*/bin"), Path("/usr/bin")]
    there = {n: str(f / n) for f in folders for n in names if (f / n).exists()}
    return list({sys.executable: 0, **dict.fromkeys(there.values())})


class Station:
    """A machine with the scripts, the data, and a stick."""

    def __init__(self, root: Path, python: str = sys.executable) -> None:
        self.root = root
        self.python = python
        (root / "scripts").mkdir(parents=True)
        for name in PARTS:
            shutil.copy(ROOT / "scripts" / name, root / "scripts")
        self.fill("data", a="A", b="B")

    def fill(self, folder: str, **texts: str) -> None:
        for section in ("models", "strategies"):
            for name, text in texts.items():
                path = self.root / folder / section / f"{name}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def run(self, command: str, code: int = 0) -> dict:
        words = [w.replace("/mnt/usb", str(self.root / "usb")) for w in shlex.split(command)]
        assert words[0] == "python"
        # -I -S: no site-packages, no PYTHONPATH: nothing but the standard library.
        done = subprocess.run(
            [self.python, "-I", "-S", *words[1:]],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "U2VjcmV0" not in done.stdout + done.stderr
        return json.loads(done.stdout)

    @property
    def stick(self) -> Path:
        (self.root / "usb").mkdir(exist_ok=True)
        return self.root / "usb/offline-2024.10.0.tar.gz"

    def state(self, folder: str = "data") -> dict[str, str]:
        root = self.root / folder
        return {
            path.relative_to(root).as_posix(): path.read_text()
            for path in sorted(root.rglob("*.bin"))
        }


@pytest.fixture
def station(tmp_path):
    return Station(tmp_path / "eine Station")


@pytest.mark.parametrize("python", bare_pythons(), ids=lambda path: Path(path).name)
def test_the_documented_commands_on_a_bare_python(tmp_path, python):
    station = Station(tmp_path / "eine Station", python)
    packaged = station.run(PACKAGE)
    assert (packaged["signed"], packaged["artifacts"]) == (True, 4)
    kept = station.root / "var/audit/offline_updates/2024.10.0.manifest.json"
    assert json.loads(kept.read_text()) == packaged["manifest"]
    for row in packaged["manifest"]["artifacts"]:
        data = (station.root / "data" / row["path"]).read_bytes()
        assert row["sha384"] == hashlib.sha384(data).hexdigest()
    assert station.run(VERIFY) == packaged["manifest"]
    shutil.copy(station.root / packaged["archive"], station.stick)
    before = station.state()
    station.fill("data", a="changed", c="of its own")
    changed = station.state()
    report = station.run(INSTALL)
    assert station.state() == before
    assert report["signature"] == "verified"
    assert report["removed"] == ["models/c.bin", "strategies/c.bin"]
    (audit,) = (station.root / "var/audit/offline_updates").glob("2024.10.0-*.report.json")
    assert json.loads(audit.read_text()) == report
    backups = {row["name"]: Path(row["path"]) for row in report["backups"]}
    assert set(backups) == {"models", "strategies"}
    for section, folder in backups.items():
        assert folder.parent == station.root / "var/offline_updates/backups"
        for path in folder.iterdir():
            assert changed[f"{section}/{path.name}"] == path.read_text()
    # The backups come back as a release of their own.
    station.run(
        "python scripts/package_offline_release.py --version back --output back.tar.gz"
        f" --models-dir '{backups['models']}' --strategies-dir '{backups['strategies']}'"
    )
    station.run("python scripts/offline_update.py install-release --archive back.tar.gz")
    assert station.state() == changed


def test_the_folders_have_defaults(station):
    station.run("python scripts/package_offline_release.py --version 1 --output a.tar.gz")
    station.fill("data", a="new")
    station.run("python scripts/offline_update.py install-release --archive a.tar.gz")
    assert station.state()["models/a.bin"] == "A"
    assert len(list((station.root / "var/offline_updates/backups").iterdir())) == 2


def test_prepare_release_is_the_same_command(station):
    station.run(PACKAGE)
    again = PACKAGE.replace("package_offline_release.py", "offline_update.py prepare-release")
    station.run(again.replace("offline-2024", "again-2024"))
    one, two = sorted((station.root / "var/releases").iterdir())
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"x",
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        lambda data: gzip.compress(gzip.decompress(data).replace(b"A", b"X", 1), mtime=0),
        lambda data: gzip.compress(gzip.decompress(data)[:-2048] + b"x" * 512, mtime=0),
    ],
)
def test_tampering_is_found_and_nothing_changes(station, damage):
    station.run(PACKAGE)
    data = (station.root / "var/releases/offline-2024.10.0.tar.gz").read_bytes()
    station.stick.write_bytes(damage(data))
    before = station.state()
    station.run(INSTALL, 6)
    assert station.state() == before
    assert not (station.root / "var/offline_updates/backups").exists()


def test_another_key_and_none(station):
    station.run(PACKAGE)
    shutil.copy(station.root / "var/releases/offline-2024.10.0.tar.gz", station.stick)
    other = INSTALL.replace("U2VjcmV0S21leQ==", "b3RoZXIgc2VjcmV0IGtleQ==")
    assert station.run(other, 6)["error"] == "signature"
    station.run(PACKAGE.replace("--signing-key SERVICE=U2VjcmV0S21leQ==", ""))
    shutil.copy(station.root / "var/releases/offline-2024.10.0.tar.gz", station.stick)
    assert station.run(INSTALL, 6)["error"] == "signature"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("verify-release --archive missing.tar.gz", 2),
        ("verify-release", 2),
        ("", 2),
        ("nonsense", 2),
        ("verify-release --archive scripts/offline_update.py --require-signature", 2),
        ("verify-release --archive scripts/offline_update.py", 6),
        ("install-release --archive missing.tar.gz --signing-key SERVICE=", 6),
    ],
)
def test_bad_input_is_one_document_and_a_code(station, words, code):
    assert station.run(f"python scripts/offline_update.py {words}", code)["message"]


def test_what_stands_in_the_way(station):
    station.run("python scripts/package_offline_release.py --version 1 --output a.tar.gz")
    install = "python scripts/offline_update.py install-release --archive a.tar.gz"
    assert station.run(f"{install} --backup-dir data/models/backups", 2)["error"] == "usage"
    (station.root / "file").write_text("x")
    assert station.run(f"{install} --models-dir file", 2)["error"] == "place"


# --- one rule, written twice: both give the same verdict ---------------------------------------


def vectors(folder: Path) -> dict[str, Path]:
    """Sound archives and bad ones, by name."""
    document = manifest()
    signed = members(document, signed=signature(document))
    rows = {
        "sound": members(),
        "signed": signed,
        "signed by another": members(
            document, signed=signature(document, type(KEY)("oem", b"x" * 32))
        ),
        "signature malformed": members(document, signed=b'{"signature": []}'),
        "algorithm": members(document, signed=signature(document, algorithm="none")),
        "two signatures": [signed[0], signed[1], *signed[1:]],
        "late signature": [signed[0], *signed[2:], signed[1]],
        "no manifest": members()[1:],
        "manifest twice": [members()[0], *members()],
        "a file twice": [*members(), members()[-1]],
        "a file missing": members()[:-1],
        "an extra file": [*members(), plain("models/extra", b"x")],
        "a symlink": [*members(), plain("models/l", b"", type=tarfile.SYMTYPE, linkname="/etc")],
        "a hardlink": [*members(), plain("models/l", b"", type=tarfile.LNKTYPE, linkname="a")],
        "a device": [*members(), plain("models/d", b"", type=tarfile.CHRTYPE)],
        "a folder": [members()[0], plain("models", b"", type=tarfile.DIRTYPE), *members()[1:]],
        "a strange folder": [*members(), plain("etc", b"", type=tarfile.DIRTYPE)],
        "later fields": members(manifest(note="hello")),
        "a key twice": members(b'{"version": "1", "version": "2"}'),
        "not json": members(b"{"),
        "nan": members(json.dumps(manifest(x=float("nan"))).encode()),
        "deep": members(b"[" * 100 + b"]" * 100),
        "utf16": members(json.dumps(manifest()).encode("utf-16")),
        "no version": members({k: v for k, v in manifest().items() if k != "version"}),
        "odd version": members(manifest(version="../x")),
        "odd time": members(manifest(generated_at="yesterday")),
        "no artifacts": members(manifest(artifacts=[])),
    }
    for field, value in itertools.chain(
        (("size", value) for value in (-1, True, "1", None, 1.5, 999)),
        (("sha384", value) for value in (None, "x", "0" * 96, 5)),
        (
            ("path", value)
            for value in ("../x", "/x", "models", "models/../x", "models//x", "C:/x", "etc/x", None)
        ),
        (("path", f"models/{name}") for name in ("con", "a.", "a?", "A.BIN", "x" * 300, "\ud800")),
    ):
        changed = manifest()
        changed["artifacts"][0][field] = value
        rows[f"{field} {value!r}"[:60]] = members(changed)
    paths = {}
    for number, (name, content) in enumerate(rows.items()):
        paths[name] = archive(folder / f"{number}.tar.gz", content)
    data = tarball(members())
    raw = {
        "not gzip": b"x" * 1000,
        "empty": b"",
        "cut": gzip.compress(data)[:-5],
        "trailing": gzip.compress(data) + b"x",
        "two gzip members": gzip.compress(data[:512]) + gzip.compress(data[512:]),
        "hidden": gzip.compress(data + b"x"),
        "cut tar": gzip.compress(data[:700]),
        "bad checksum": gzip.compress(b"x" + data[1:]),
    }
    for name, content in raw.items():
        paths[name] = folder / f"{name}.tar.gz"
        paths[name].write_bytes(content)
    return paths


def test_both_readers_give_the_same_verdict(tmp_path):
    key = release_archive.Key(KEY.key_id, KEY.secret, ())
    seen = set()
    for name, path in vectors(tmp_path).items():
        for trusted in (None, KEY):
            try:
                library = read_archive(path, Trust(trusted)).checked
            except RepackError as error:
                library = error.kind
            try:
                alone = release_archive.read_archive(path, key if trusted else None).signature
            except Failure as failure:
                alone = failure.kind
            assert alone == library, (name, trusted)
            seen.add(library)
    assert seen == {"unsigned", "not checked", "verified", "integrity", "signature"}


def test_both_writers_make_the_same_bytes(tmp_path):
    import datetime as dt

    for name, data in FILES.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(data)
    folders = {s: tmp_path / "src" / s for s in ("models", "strategies")}
    now = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    prepare(PrepareRequest("1.0.0", folders, now, KEY), tmp_path / "a/library.tar.gz")
    key = release_archive.Key(KEY.key_id, KEY.secret, ())
    stamp = release_archive.stamp_of(now.timestamp())
    release_archive.prepare("1.0.0", folders, tmp_path / "b/alone.tar.gz", key, stamp)
    assert (tmp_path / "b/alone.tar.gz").read_bytes() == (
        tmp_path / "a/library.tar.gz"
    ).read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "=", "==", "hex:", "base64:", "env:", "file:", "text:", "SERVICE=", "id=hex:",
        "hex:abc", "hex:zz", "hex:abcd", "base64:abc", "base64:QUJD", "QUJD", "!!!!", "abc", "Zh==",
        "-x=QUJD", "id=env:", "SERVICE=U2VjcmV0S21leQ==", "SERVICE=plain words", "SERVICE=secret",
        "SERVICE=text:QUJD", "text:QUJD", "id=base64:QUJD", "id=hex:abcd", "env:HELD", "id=env:HELD",
        "env:KEYED", "env:PLAIN", "env:UNSET", "file:@raw", "file:@text", "file:@keyed",
        "file:@padded", "id=file:@raw",
    ],
)  # fmt: skip
def test_both_read_keys_alike(tmp_path, monkeypatch, text):
    monkeypatch.setenv("HELD", "QUJD")
    monkeypatch.setenv("KEYED", "inner=hex:abcd")
    monkeypatch.setenv("PLAIN", "just words")
    monkeypatch.delenv("UNSET", raising=False)
    contents = {
        "raw": bytes(range(32)),
        "text": b"secret words",
        "keyed": b"ID=base64:QUJD\n",
        "padded": b"base64:QUI=\n",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    words = text.replace("@", f"{tmp_path}/")
    try:
        key = parse_key(words).resolve(os.environ, lambda path: Path(path).read_bytes())
        library = (key.key_id, key.secret, bool(key.warning))
    except KeyRefusedError:
        library = None
    try:
        other = release_archive.read_key(words)
        alone = (other.key_id, other.secret, bool(other.warnings))
    except Failure as failure:
        alone = None if failure.kind == "key-refused" else failure
    assert alone == library


def test_a_plain_text_key_warns(station):
    done = subprocess.run(
        [
            *(sys.executable, "scripts/package_offline_release.py", "--version", "1"),
            *("--output", "a.tar.gz", "--signing-key", "SERVICE=only plain words"),
        ],
        cwd=station.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "plain text" in done.stderr
    assert "only plain words" not in done.stdout + done.stderr


# --- killed -----------------------------------------------------------------------------------


def test_killed_at_any_instant(tmp_path):
    """Old or new, both folders alike once the next run has been; nothing is left behind."""
    station = Station(tmp_path / "s")
    files = {f"n{number}": "new" * 1000 for number in range(30)}
    station.fill("next", **files)
    station.run(
        "python scripts/package_offline_release.py --version 2 --output 2.tar.gz"
        " --models-dir next/models --strategies-dir next/strategies"
    )
    station.run("python scripts/package_offline_release.py --version 1 --output 1.tar.gz")
    old, new = station.state(), station.state("next")
    random.seed(5)
    took, ended = 0.4, set()
    for turn in range(12):
        station.run("python scripts/offline_update.py install-release --archive 1.tar.gz")
        assert station.state() == old
        command = [sys.executable, "scripts/offline_update.py", "install-release"]
        began = time.monotonic()
        with subprocess.Popen(
            [*command, "--archive", "2.tar.gz"],
            cwd=station.root,
            stdout=subprocess.DEVNULL,
        ) as process:
            time.sleep(took * turn / 10)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            else:
                assert process.returncode == 0
                took = time.monotonic() - began
        for section in ("models", "strategies"):
            now = {k: v for k, v in station.state().items() if k.startswith(section)}
            assert now in (
                {k: v for k, v in old.items() if k.startswith(section)},
                {k: v for k, v in new.items() if k.startswith(section)},
            )
        ended.add(station.state() == new)
        station.run("python scripts/offline_update.py install-release --archive 2.tar.gz")
        assert station.state() == new
        hidden = [p for p in station.root.rglob(".repack-*") if "audit" not in p.parts]
        assert hidden == []
    assert ended  # the state of each turn was one of the two


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_half_a_journal_goes_at_the_next_start(station):
    """Killed before the journal has its name; what another command writes there stays."""
    station.run("python scripts/package_offline_release.py --version 1 --output 1.tar.gz")
    backups = station.root / "var/offline_updates/backups"
    backups.mkdir(parents=True)
    (backups / ".repack-abcd1234").write_text("a report that is being written")
    kill = (
        "import os, signal, sys; sys.path.insert(0, 'scripts'); import release_archive;"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "release_archive.main('offline_update.py', sys.argv[1:])"
    )
    install = ["install-release", "--archive", "1.tar.gz"]
    killed = subprocess.run([sys.executable, "-c", kill, *install], cwd=station.root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path for path in backups.glob(".repack-part-*") if path.is_file()], "half a journal"
    station.run("python scripts/offline_update.py install-release --archive 1.tar.gz")
    assert [path.name for path in backups.glob(".repack-*")] == [".repack-abcd1234"]


def test_half_a_report_goes_later(station):
    audit = station.root / "var/audit/offline_updates"
    audit.mkdir(parents=True)
    for name, age in ((".repack-old", 4000), (".repack-new", 0)):
        (audit / name).write_text("half")
        os.utime(audit / name, (time.time() - age, time.time() - age))
    station.run("python scripts/package_offline_release.py --version 1 --output 1.tar.gz")
    assert sorted(p.name for p in audit.iterdir()) == [".repack-new", "1.manifest.json"]


def test_killed_between_the_journal_and_the_exchange(tmp_path, monkeypatch):
    station = Station(tmp_path / "s")
    station.run("python scripts/package_offline_release.py --version 1 --output 1.tar.gz")
    before = station.state()
    station.fill("data", a="changed")
    changed = station.state()
    folders = {s: station.root / "data" / s for s in ("models", "strategies")}
    backups = station.root / "backups"
    moved = []

    def die(source: Path, target: Path, inode: int) -> None:
        if len(moved) == 3:  # two backups and one folder are in their places
            raise KeyboardInterrupt
        moved.append(target)
        real(source, target, inode)

    real = release_archive._move
    monkeypatch.setattr(release_archive, "_move", die)
    with pytest.raises(KeyboardInterrupt):
        release_archive.install(station.root / "1.tar.gz", folders, backups, None)
    half = station.state()
    assert half not in (before, changed)
    monkeypatch.undo()
    release_archive.recover(backups)
    assert station.state() == before
    names = sorted(path.name.split("-")[0] for path in backups.iterdir())
    assert names == ["models", "strategies"]


def test_two_at_once(station):
    station.run("python scripts/package_offline_release.py --version 1 --output 1.tar.gz")
    (station.root / "data").mkdir(exist_ok=True)
    with release_archive.locked(station.root / "data"):
        document = station.run(
            "python scripts/offline_update.py install-release --archive 1.tar.gz", 8
        )
    assert document["error"] == "busy"


@pytest.mark.parametrize("name", PARTS[:2])
def test_an_older_python_gets_a_sentence(tmp_path, name):
    old = [
        path
        for path in (Path.home() / ".pyenv/versions").glob("*/bin/python")
        if path.parent.parent.name.startswith(("2.7", "3.6", "3.8"))
    ]
    if not old:
        pytest.skip("needs a Python older than 3.9")
    for python in old:
        done = subprocess.run(
            [python, str(ROOT / "scripts" / name), "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "needs Python 3.9 or newer" in done.stderr
        assert "Traceback" not in done.stderr
        assert "SyntaxError" not in done.stderr
