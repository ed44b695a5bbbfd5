from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from repack.bundle.archive import ReleaseManifest, Trust
from repack.bundle.archive_reader import peek
from repack.bundle.install import InstallFolders, InstallReport, install
from repack.bundle.prepare import PrepareRequest, prepare, verify
from repack.errors import (
    FolderError,
    IntegrityError,
    PlaceError,
    RepackError,
    SignatureError,
    UsageError,
)
from tests.releases import FILES, KEY, archive, members

ROOT = Path(__file__).parents[2]
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)


def fill(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def order(folder: Path, version: str = "1.0.0", key=KEY, moment=NOW) -> PrepareRequest:
    return PrepareRequest(
        version, {"models": folder / "models", "strategies": folder / "strategies"}, moment, key
    )


def targets(folder: Path) -> InstallFolders:
    return InstallFolders(
        {"models": folder / "models", "strategies": folder / "strategies"}, folder / "backups"
    )


@pytest.fixture
def release(tmp_path: Path) -> Path:
    fill(tmp_path / "src", FILES)
    prepare(order(tmp_path / "src"), tmp_path / "a.tar.gz")
    return tmp_path / "a.tar.gz"


class Notes:
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, what, total, unit):
        from repack.progress import SILENT

        return SILENT.phase(what, total, unit)

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_archive_holds_manifest_signature_and_files(release):
    with tarfile.open(release) as tar:
        assert tar.getnames() == ["manifest.json", "manifest.sig", *sorted(FILES)]
        document = json.load(tar.extractfile("manifest.json"))
        signed = json.load(tar.extractfile("manifest.sig"))
    assert document["version"] == "1.0.0"
    assert document["generated_at"] == "2026-11-20T12:00:00Z"
    assert document["artifacts"] == [
        {"path": path, "sha384": hashlib.sha384(data).hexdigest(), "size": len(data)}
        for path, data in sorted(FILES.items())
    ]
    assert set(signed["signature"]) == {"algorithm", "value", "key_id"}
    assert signed["signature"]["algorithm"] == "hmac-sha384"
    assert verify(release, Trust(KEY, "required")).checked == "verified"


def test_same_files_same_bytes(tmp_path, release):
    copy = fill(tmp_path / "other", dict(reversed(FILES.items())))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    prepare(order(copy), tmp_path / "elsewhere/b.tar.gz")
    assert (tmp_path / "elsewhere/b.tar.gz").read_bytes() == release.read_bytes()


def test_packaged_again_it_keeps_its_time(tmp_path, release):
    before = release.read_bytes()
    prepare(order(tmp_path / "src", moment=LATER), tmp_path / "b.tar.gz")
    prepare(order(tmp_path / "src", moment=LATER), release)
    assert (tmp_path / "b.tar.gz").read_bytes() == release.read_bytes() == before


def test_other_content_or_version_gets_its_own_time(tmp_path, release):
    prepare(order(tmp_path / "src", "1.0.1", moment=LATER), tmp_path / "b.tar.gz")
    fill(tmp_path / "src", {"models/a.bin": b"changed"})
    prepare(order(tmp_path / "src", moment=LATER), release)
    for path in (tmp_path / "b.tar.gz", release):
        assert peek(path).generated_at == "2026-11-21T12:00:00Z"


@pytest.mark.parametrize("section", ["models", "strategies"])
def test_one_folder_is_enough(tmp_path, release, section):
    there = {section: tmp_path / "src" / section}
    alone = prepare(PrepareRequest("1", there, NOW), tmp_path / "b.tar.gz")
    notes = Notes()
    both = dict.fromkeys(("models", "strategies"), tmp_path / "none") | there
    missing = prepare(PrepareRequest("1", both, NOW), tmp_path / "c.tar.gz", notes)
    assert alone == missing
    assert {artifact.section for artifact in alone.artifacts} == {section}
    assert len(notes.lines) == 1
    assert release.exists()


def test_nothing_to_package(tmp_path):
    for folders in ({}, {"models": tmp_path / "none", "strategies": tmp_path / "none"}):
        with pytest.raises(UsageError, match="nothing to package"):
            prepare(PrepareRequest("1", folders, NOW), tmp_path / "a.tar.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file"):
        prepare(PrepareRequest("1", {"models": tmp_path / "empty"}, NOW), tmp_path / "a.tar.gz")


@pytest.mark.parametrize("version", ["", "../1", "1 0", "x" * 200])
def test_versions_that_are_none(tmp_path, version):
    fill(tmp_path / "src", FILES)
    with pytest.raises(UsageError, match="version"):
        prepare(order(tmp_path / "src", version), tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_odd_files_are_all_listed(tmp_path):
    folder = fill(tmp_path / "src", {**FILES, "models/con": b"1", "models/x.": b"2"})
    (folder / "strategies/link").symlink_to("a.bin")
    with pytest.raises(FolderError) as caught:
        prepare(order(folder), tmp_path / "a.tar.gz")
    assert {p.where for p in caught.value.problems} == {
        "models/con",
        "models/x.",
        "strategies/link",
    }


def test_archive_inside_what_it_packs(tmp_path, release):
    with pytest.raises(UsageError, match="lie in"):
        prepare(order(tmp_path / "src"), tmp_path / "src/models/a.tar.gz")
    assert release.exists()


def test_litter_is_left_out_and_told(tmp_path):
    fill(tmp_path / "src", {**FILES, "models/.DS_Store": b"x"})
    notes = Notes()
    manifest = prepare(order(tmp_path / "src"), tmp_path / "a.tar.gz", notes)
    assert {artifact.path for artifact in manifest.artifacts} == set(FILES)
    assert notes.lines == ["models: left out .DS_Store"]


def test_install_from_nothing(tmp_path, release):
    report = install(release, targets(tmp_path / "t"), Trust(KEY), NOW)
    assert state(tmp_path / "t") == FILES
    assert report == InstallReport(
        "1.0.0", "verified", tuple(sorted(FILES)), {}, (), report.seconds
    )
    assert ((tmp_path / "t/models/a.bin").stat().st_mode & 0o777) == 0o644


def test_folders_are_readable_whatever_the_umask(tmp_path, release):
    old = os.umask(0o077)
    try:
        install(release, targets(tmp_path / "t"), Trust(KEY), NOW)
    finally:
        os.umask(old)
    assert (tmp_path / "t/models/sub").stat().st_mode & 0o777 == 0o755


def test_install_over_an_older_one(tmp_path, release):
    old = {"models/a.bin": b"old", "models/gone/x": b"x", "strategies/y": b"y"}
    fill(tmp_path / "t", old)
    report = install(release, targets(tmp_path / "t"), Trust(), NOW)
    found = state(tmp_path / "t")
    assert {k: v for k, v in found.items() if not k.startswith("backups")} == FILES
    assert report.removed == ("models/gone/x", "strategies/y")
    document = report.to_json()
    assert document["backups"] == [
        {"name": name, "path": str(tmp_path / f"t/backups/{name}-20261120T120000Z")}
        for name in ("models", "strategies")
    ]
    backed_up = {
        f"{row['name']}/{path}": data
        for row in document["backups"]
        for path, data in state(Path(row["path"])).items()
    }
    assert backed_up == old


def test_a_section_that_the_release_has_not_is_left_alone(tmp_path, release):
    fill(tmp_path / "t", {"strategies/y": b"y"})
    prepare(PrepareRequest("2", {"models": tmp_path / "src/models"}, NOW), tmp_path / "m.tar.gz")
    report = install(tmp_path / "m.tar.gz", targets(tmp_path / "t"), Trust(), NOW)
    assert state(tmp_path / "t/strategies") == {"y": b"y"}
    assert (report.backups, report.removed) == ({}, ())
    assert release.exists()


def test_a_section_without_a_folder(tmp_path, release):
    there = InstallFolders({"models": tmp_path / "t/models"}, tmp_path / "t/backups")
    with pytest.raises(UsageError, match="strategies"):
        install(release, there, Trust(), NOW)
    assert not (tmp_path / "t").exists()


def test_a_linked_folder_is_replaced_where_it_is(tmp_path, release):
    fill(tmp_path / "real/models", {"a": b"old"})
    (tmp_path / "t").mkdir()
    (tmp_path / "t/models").symlink_to(tmp_path / "real/models")
    install(release, targets(tmp_path / "t"), Trust(), NOW)
    assert (tmp_path / "t/models").is_symlink()
    assert set(state(tmp_path / "real/models")) == {"a.bin", "sub/b.bin"}


@pytest.mark.parametrize("what", ["cut", "flipped", "unsigned", "extra"])
def test_a_bad_release_writes_nothing(tmp_path, release, what):
    data = release.read_bytes()
    if what == "cut":
        release.write_bytes(data[:-3])
    elif what == "flipped":
        release.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    elif what == "unsigned":
        archive(release, members())
    else:
        archive(release, [*members(), *members(files={"models/x": b"x"})[1:]])
    fill(tmp_path / "t", {"models/a.bin": b"old"})
    with pytest.raises(SignatureError if what in {"unsigned", "extra"} else IntegrityError):
        install(release, targets(tmp_path / "t"), Trust(KEY), NOW)
    assert state(tmp_path / "t") == {"models/a.bin": b"old"}
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["models"]


def test_a_release_that_changes_between_checking_and_unpacking(tmp_path, release, monkeypatch):
    from repack.bundle import install as module

    real, calls = module.read_release, []

    def swapping(source, trust, *take):
        calls.append(source)
        if len(calls) == 2:
            archive(release, members(files={"models/evil": b"x"}))
        return real(source, trust, *take)

    monkeypatch.setattr(module, "read_release", swapping)
    fill(tmp_path / "t", {"models/a.bin": b"old"})
    with pytest.raises(RepackError):
        install(release, targets(tmp_path / "t"), Trust(KEY), NOW)
    assert state(tmp_path / "t") == {"models/a.bin": b"old"}


def test_backups_inside_the_models(tmp_path, release):
    there = InstallFolders(
        {"models": tmp_path / "t/m", "strategies": tmp_path / "t/s"}, tmp_path / "t/m/b"
    )
    with pytest.raises(UsageError, match="lies in"):
        install(release, there, Trust(), NOW)


def test_unreadable_target(tmp_path, release):
    fill(tmp_path / "t", {"models": b"a file"})
    with pytest.raises(PlaceError, match="no folder"):
        install(release, targets(tmp_path / "t"), Trust(), NOW)


def test_no_archive(tmp_path):
    with pytest.raises(PlaceError):
        verify(tmp_path / "none.tar.gz", Trust())


PROGRAM = """
import sys, datetime as dt; from pathlib import Path
from repack.bundle.archive import Trust
from repack.bundle.install import install
from tests.bundle.test_prepare import targets
print("ready", flush=True)
install(Path(sys.argv[1]), targets(Path(sys.argv[2])), Trust(), dt.datetime.now(dt.UTC))
"""


def test_killed_at_random_instants(tmp_path):
    """Each folder is whole at any instant; the next run leaves nothing lying about."""
    versions = [
        {f"{s}/{n}": v.encode() * 3000 for s in ("models", "strategies") for n in range(60)}
        for v in "AB"
    ]
    archives = []
    for number, files in enumerate(versions):
        fill(tmp_path / f"src{number}", files)
        archives.append(tmp_path / f"{number}.tar.gz")
        prepare(order(tmp_path / f"src{number}", str(number), None), archives[-1])
    there = tmp_path / "t"
    install(archives[0], targets(there), Trust(), NOW)
    whole = [{k: v for k, v in files.items() if k.startswith("models")} for files in versions]
    chance, killed = random.Random(7), 0
    for turn in range(15):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(archives[(turn + 1) % 2]), str(there)],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        ) as run:
            assert run.stdout.readline(), "it did not get ready"
            time.sleep(chance.random() * 0.09)
            run.send_signal(signal.SIGKILL)
            killed += run.wait() == -signal.SIGKILL
        found = {f"models/{k}": v for k, v in state(there / "models").items()}
        assert found in whole
        assert len(state(there / "strategies")) == 60
    assert killed
    install(archives[0], targets(there), Trust(), NOW)
    found = {k: v for k, v in state(there).items() if not k.startswith("backups")}
    assert found == versions[0]
    assert not list(there.rglob(".repack-*"))
    for backup in (there / "backups").iterdir():
        assert set(state(backup).values()) in ({b"A" * 3000}, {b"B" * 3000})
        assert len(state(backup)) == 60


def test_manifest_of_a_release_is_read_back_the_same(tmp_path, release):
    assert peek(release) == ReleaseManifest.parse(peek(release).to_bytes())
    assert tmp_path.exists()
