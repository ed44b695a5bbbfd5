"""Another user of the target: he holds no lock against us, plants no journal, reads no state."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repack.errors import BusyError, PlaceError
from repack.fs import locks
from repack.fs.swap import Exchange, exchanging
from tests.agent.conftest import bank, running, vendor

__all__ = ["bank", "running", "vendor"]
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="needs root, to be two users",
)
AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]

HOLD = """
import fcntl, os, sys, time
held = []
for path in sys.argv[1:]:
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            handle = os.open(path, flags)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(path)
            break
        except OSError:
            pass
print(len(held), flush=True)
time.sleep(600)
"""


@pytest.fixture
def tmp_path():
    """A folder that other users reach: pytest's own is root's alone, now or when it next starts."""
    with tempfile.TemporaryDirectory(prefix="repack-users-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def let_in(folder: Path) -> None:
    """Let other users reach a folder of the tests."""
    for path in [folder, *folder.parents]:
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)


@contextlib.contextmanager
def nobody_holding(*paths: Path):
    """Another user holds every lock of these that he can open; yields how many."""
    with subprocess.Popen(
        [*AS_NOBODY, sys.executable, "-c", HOLD, *map(str, paths)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            assert line, "the other user did not start"
            yield int(line)
        finally:
            process.kill()


def everything(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")]


def test_locks_of_the_agent_cannot_be_held_by_others(running, tmp_path):
    let_in(tmp_path)
    # He waits at everything that he can open, also at what an older agent had left open to all.
    (running.folder / "state").chmod(0o755)
    (running.folder / "state" / "lock").chmod(0o644)
    with nobody_holding(running.folder / "gone") as held:
        assert held == 0
    assert running.install(2)[0] == 0
    with nobody_holding(*everything(running.folder)) as held:
        assert held > 10, "he must be able to hold something"
        assert running.install(3)[0] == 0
        assert running.agent("run")[0] in {0, 40}
        assert running.agent("rollback")[0] == 0
    assert running.in_use == 2


def test_modes_are_set_whatever_the_umask(bank, tmp_path):
    let_in(tmp_path)
    for release, umask in ((1, 0o077), (2, 0)):
        before = os.umask(umask)
        try:
            assert bank.install(release)[0] == 0
            assert bank.agent("run")[0] in {0, 40}
            assert os.umask(umask) == umask, "the umask is the caller's again"
        finally:
            os.umask(before)
        assert stat.S_IMODE((bank.folder / "state").stat().st_mode) == 0o700
        for path in everything(bank.folder / "releases" / str(release)):
            mode = path.lstat().st_mode
            assert path.is_symlink() or mode & 0o044 == 0o044, path
            assert not path.is_dir() or mode & 0o055 == 0o055, path
            assert path.is_symlink() or not mode & 0o022, path
        for path in (bank.opt, bank.folder, bank.folder / "releases"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o755, path
    seen = subprocess.run(
        [*AS_NOBODY, "cat", str(bank.folder / "current/share/tiny/ä b.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.stdout == "data\n", seen.stderr
    peek = [*AS_NOBODY, "cat", str(bank.folder / "state" / "journal.json")]
    assert subprocess.run(peek, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("way", ["owner", "link", "writable", "pipe", "folder"])
def test_a_journal_that_others_wrote_is_not_read(running, tmp_path, way):
    journal = running.folder / "state" / "journal.json"
    if way == "owner":
        os.chown(journal, 65534, 65534)
    elif way == "writable":
        journal.chmod(0o666)
    elif way == "link":
        journal.rename(tmp_path / "j")
        journal.symlink_to(tmp_path / "j")
    elif way == "pipe":
        journal.unlink()
        os.mkfifo(journal)
    else:
        os.chown(journal.parent, 65534, 65534)
    for command in (["rollback"], ["run"], ["install", "--src-dir", str(running.medium(2))]):
        code, document = running.agent(*command)
        assert code == 2, document
        assert str(journal.parent) in document["where"]
    # Told apart from a journal of ours.
    assert running.in_use == 1


def fill(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "a").write_text(text)
    return folder


def replace(target: Path, backups: Path) -> None:
    with exchanging([Exchange(target, backups / "models-1")], "an installation"):
        (target.with_name(".repack-new-models") / "a").write_text("new")


@pytest.fixture
def shared(tmp_path):
    """A folder in which everybody may write, as /tmp; the folder to be replaced; the backups."""
    let_in(tmp_path)
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    return fill(place / "models", "old"), place


def test_locks_of_an_installation_cannot_be_held_by_others(shared):
    target, place = shared
    lock = place / ".repack-lock"
    make = f"open({str(lock)!r}, 'w').close()"
    subprocess.run([*AS_NOBODY, sys.executable, "-c", make], check=True)
    with nobody_holding(place, target, lock) as held:
        assert held == 3
        replace(target, place)
    assert (target / "a").read_text() == "new"
    assert not lock.exists()


@pytest.mark.parametrize("program", ["repack", "offline_update.py"])
def test_an_installation_as_a_person_starts_it(tmp_path, shared, program):
    """Both installers, while the other user holds all that he can."""
    target, place = shared
    for section in ("models", "strategies"):
        fill(tmp_path / "new" / section, "new")
    archive = tmp_path / "release.tar.gz"
    python = [sys.executable, "-m", "repack"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pack = [sys.executable, str(ROOT / "scripts" / "package_offline_release.py")]
    pack += ["--models-dir", str(tmp_path / "new/models"), "--version", "1.0"]
    pack += ["--strategies-dir", str(tmp_path / "new/strategies"), "--output", str(archive)]
    subprocess.run(pack, env=environment, check=True, capture_output=True)
    if program == "repack":
        words = [*python, "bundle", "install", "--archive", str(archive)]
    else:
        words = [sys.executable, str(ROOT / "scripts" / program), "install-release"]
        words += ["--archive", str(archive)]
    words += ["--models-dir", str(target), "--strategies-dir", str(place / "strategies")]
    words += ["--backup-dir", str(place / "backups")]
    with nobody_holding(place, target) as held:
        assert held == 2
        result = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, umask=0o077
        )
        assert result.returncode == 0, result.stderr
    assert (target / "a").read_text() == "new"
    assert not list(place.rglob(".repack-*"))


def journal_of(place: Path, victim: Path) -> dict:
    """A journal that would remove or move a victim's folder."""
    inode = victim.stat().st_ino
    return {
        "moves": [[str(victim), str(place / "stolen"), inode]],
        "litter": [str(victim)],
        "path": str(place / ".repack-swap.json"),
    }


@pytest.mark.parametrize("way", ["planted", "copied", "link", "litter"])
def test_a_planted_journal_moves_nothing(tmp_path, shared, way):
    target, place = shared
    victim = fill(tmp_path / "victim", "precious")
    journal = place / ".repack-swap.json"
    document = journal_of(place, victim)
    if way == "copied":  # ours, and made for another folder
        document["path"] = str(tmp_path / ".repack-swap.json")
    if way == "litter":
        document["moves"] = []
    journal.write_text(json.dumps(document))
    if way == "planted":
        os.chown(journal, 65534, 65534)
    elif way == "link":
        journal.rename(tmp_path / "elsewhere.json")
        journal.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(PlaceError, match="journal"):
        replace(target, place)
    assert (victim / "a").read_text() == "precious"
    assert (target / "a").read_text() == "old"
    assert not (place / "stolen").exists()


def test_who_holds_a_lock_is_named(tmp_path):
    let_in(tmp_path)
    place = tmp_path / "shared"
    place.mkdir()
    os.chown(place, 65534, 65534)
    lock = place / "lock"
    with locks.exclusive(lock, "a test"):
        pass
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert lock.stat().st_uid == 65534, "whose folder it is may lock it later"
    with nobody_holding(lock) as held:
        assert held == 1
        with pytest.raises(BusyError, match=r"process \d+ \(\S+\) of nobody"):
            locks.exclusive(lock, "a test").__enter__()


def test_a_lock_of_another_user_is_named(tmp_path):
    """Run as nobody, who cannot open root's lock and is told whose it is."""
    let_in(tmp_path)
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    lock = place / "lock"
    with locks.exclusive(lock, "a test"):
        program = (
            "from pathlib import Path; from repack.fs import locks\n"
            f"with locks.exclusive(Path({str(lock)!r}), 'a test'): pass"
        )
        result = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", program],
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert "BusyError" in result.stderr, result.stderr
    assert "the lock is root's" in result.stderr
