from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from repack.errors import BusyError, PlaceError, SpaceError, UsageError
from repack.fs import atomic, exchange, journal, links
from repack.fs.swap import Exchange, exchanging
from tests import forking


def fill(folder: Path, **contents: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder


def state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def two(tmp_path: Path) -> list[Exchange]:
    """Folders with different parents, and backups elsewhere."""
    fill(tmp_path / "m/models", a="old", b="old")
    fill(tmp_path / "s/strategies", a="old")
    return [
        Exchange(tmp_path / "m/models", tmp_path / "backups/models-1"),
        Exchange(tmp_path / "s/strategies", tmp_path / "backups/strategies-1"),
    ]


@pytest.fixture(params=["exchange", "two renames"])
def system(request, monkeypatch):
    """With and without a system call that exchanges two folders."""
    if request.param == "two renames":
        monkeypatch.setattr(exchange, "exchange", lambda _source, _target: False)


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".repack-*")]


def swap(exchanges: list[Exchange]) -> dict[Path, Path]:
    with exchanging(exchanges, "a test") as backups:
        for one in exchanges:
            fill(one.new, a="new")
    return backups


def give_up() -> NoReturn:
    raise ZeroDivisionError


def fail(exchanges: list[Exchange], **contents: str) -> None:
    """Recover what is there, begin something, and give up."""
    with contextlib.suppress(ZeroDivisionError), exchanging(exchanges, "a test"):
        fill(exchanges[0].new, **contents)
        give_up()


@pytest.mark.usefixtures("system")
def test_all_are_replaced_and_backed_up(tmp_path, two):
    (two[0].target / "link").symlink_to("a")
    (two[0].target / "sub").mkdir(mode=0o750)
    two[0].target.chmod(0o2775)
    backups = swap(two)
    assert [state(e.target) for e in two] == [{"a": "new"}, {"a": "new"}]
    assert backups == {e.target: e.backup for e in two}
    assert state(two[0].backup) == {"a": "old", "b": "old", "link": "old"}
    assert (two[0].backup / "link").readlink() == Path("a")
    assert (two[0].backup / "sub").stat().st_mode & 0o777 == 0o750
    assert two[0].target.stat().st_mode & 0o7777 == 0o2775
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("system")
def test_what_was_not_there_has_no_backup(tmp_path):
    exchange = Exchange(tmp_path / "x/y/models", tmp_path / "b/models-1")
    assert swap([exchange]) == {}
    assert state(exchange.target) == {"a": "new"}
    assert list((tmp_path / "b").iterdir()) == []
    assert leftovers(tmp_path) == []


def test_backup_names_are_not_taken_twice(tmp_path, two):
    first, second = swap(two[:1]), swap(two[:1])
    assert second == {two[0].target: tmp_path / "backups/models-1-2"}
    assert state(first[two[0].target]) == {"a": "old", "b": "old"}
    assert state(second[two[0].target]) == {"a": "new"}


def test_an_error_in_the_block_changes_nothing(tmp_path, two):
    fail(two, a="new")
    assert [state(e.target)["a"] for e in two] == ["old", "old"]
    assert list((tmp_path / "backups").iterdir()) == []
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("failing", range(4))
def test_a_move_that_fails_takes_all_back(tmp_path, two, monkeypatch, failing):
    real, count = journal._move, iter(range(100))

    def move(source, target):
        if next(count) == failing:
            raise OSError(errno.EBUSY, "busy")
        real(source, target)

    monkeypatch.setattr(journal, "_move", move)
    with pytest.raises(PlaceError, match="busy"):
        swap(two)
    assert [state(e.target)["a"] for e in two] == ["old", "old"]
    assert list((tmp_path / "backups").iterdir()) == []
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("failing", range(3))
def test_a_rename_that_fails_takes_all_back(tmp_path, two, monkeypatch, failing):
    """Where two folders cannot be exchanged: first rename, second rename, third rename."""
    real, count = atomic.rename, iter(range(100))
    monkeypatch.setattr(exchange, "exchange", lambda _source, _target: False)

    def rename(source, target):
        if (
            target.name in {"models", ".repack-old-models", ".repack-new-models"}
            and next(count) == failing
        ):
            raise OSError(errno.EBUSY, "busy")
        real(source, target)

    monkeypatch.setattr(atomic, "rename", rename)
    with pytest.raises(PlaceError, match="busy"):
        swap(two)
    assert [state(e.target)["a"] for e in two] == ["old", "old"]
    assert list((tmp_path / "backups").iterdir()) == []
    assert leftovers(tmp_path) == []


def test_what_can_be_neither_finished_nor_undone_is_finished_next_time(tmp_path, two, monkeypatch):
    real, count = journal._move, iter(range(100))

    def move(source, target):
        if next(count) in {3, 4}:
            raise OSError(errno.EIO, "input/output error")
        real(source, target)

    monkeypatch.setattr(journal, "_move", move)
    with pytest.raises(PlaceError, match="in part"):
        swap(two)
    monkeypatch.setattr(journal, "_move", real)
    fail(two)
    assert [state(e.target)["a"] for e in two] == ["new", "new"]
    assert state(two[0].backup) == {"a": "old", "b": "old"}
    assert leftovers(tmp_path) == []


def test_a_folder_that_a_run_with_other_backups_put_aside_comes_back(tmp_path, two):
    target = two[0].target
    target.rename(target.with_name(".repack-old-models"))
    fail(two)
    assert state(target) == {"a": "old", "b": "old"}
    assert leftovers(tmp_path) == []


def test_two_at_once(two):
    with exchanging(two, "a test"):
        for own in two:
            with pytest.raises(BusyError, match="a test is already running"):
                swap([own])


@pytest.mark.parametrize(
    ("targets", "backup"),
    [
        (["x/models", "x/models"], "b"),
        (["x/models", "x/models/strategies"], "b"),
        (["x/models/strategies", "x/models"], "b"),
        (["x/models"], "x/models/backups"),
        (["x/models"], "x/models"),
    ],
)
def test_folders_in_each_other(tmp_path, targets, backup):
    exchanges = [Exchange(tmp_path / t, tmp_path / backup / "n") for t in targets]
    with pytest.raises(UsageError, match="lies in"):
        swap(exchanges)


def test_targets_that_are_no_folder_or_a_mount_point(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PlaceError, match="no folder"):
        swap([Exchange(tmp_path / "file", tmp_path / "b/n")])
    with pytest.raises(PlaceError, match="mount point"):
        swap([Exchange(Path("/proc"), tmp_path / "b/n")])


def test_a_pipe_cannot_be_backed_up(tmp_path, two):
    os.mkfifo(two[0].target / "pipe")
    with pytest.raises(PlaceError, match="plain file"):
        swap(two)
    assert state(two[1].target) == {"a": "old"}
    assert leftovers(tmp_path) == []


def swap_and_die(exchanges: list[Exchange], instant: int, renames: str) -> int:
    """Swap in a child that is killed before or after its n-th step; return what it ended by."""
    steps = iter(range(10_000))

    def dying(real):
        def call(*args, **kwargs):
            if next(steps) == instant:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if next(steps) == instant:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def swap_dying():
        for name in ("rename", "remove", "flush", "sync_folder"):
            setattr(atomic, name, dying(getattr(atomic, name)))
        links.place = dying(links.place)
        exchange.exchange = dying(exchange.exchange) if renames == "exchange" else lambda *_: False
        Path.mkdir = dying(Path.mkdir)
        swap(exchanges)

    return forking.run(swap_dying)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
@pytest.mark.parametrize("renames", ["exchange", "two renames"])
@pytest.mark.parametrize("order", ["both", "second alone"])
def test_killed_between_any_two_steps(tmp_path, renames, order):
    """The next run finds each folder old or new, and both the same after it has recovered."""
    instant, seen = 0, set()
    while True:
        base = tmp_path / str(instant)
        fill(base / "m/models", a="old", b="old")
        fill(base / "s/strategies", a="old")
        targets = [base / "m/models", base / "s/strategies"]
        ended = swap_and_die(
            [Exchange(t, base / f"backups/{t.name}-1") for t in targets], instant, renames
        )
        for target in targets:
            if renames == "exchange" or target.exists():
                assert state(target) in ({"a": "new"}, {"a": "old", "b": "old"}, {"a": "old"})
        exchanges = [Exchange(t, base / f"backups/{t.name}-2") for t in targets]
        fail(exchanges if order == "both" else exchanges[1:])
        if order != "both":
            fail(exchanges[:1])
        found = tuple(state(target)["a"] for target in targets)
        assert found in {("old", "old"), ("new", "new")}
        if found == ("new", "new"):
            assert state(base / "backups/models-1") == {"a": "old", "b": "old"}
            assert state(base / "backups/strategies-1") == {"a": "old"}
        else:
            assert list((base / "backups").iterdir()) == []
        assert leftovers(base) == []
        seen.add(found)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        instant += 1
    assert len(seen) == 2


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root mounts")
def test_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        fill(disk / "models", a="old")
        exchange = Exchange(disk / "models", tmp_path / "backups/models-1")
        with (
            pytest.raises(SpaceError),
            exchanging([exchange], "a test"),
            atomic.os_errors_at(exchange.new),
        ):
            (exchange.new / "big").write_bytes(bytes(2 << 20))
        assert state(disk / "models") == {"a": "old"}
        (disk / "models/a").chmod(0o640)
        swap([exchange])
        assert state(exchange.backup) == {"a": "old"}
        assert (exchange.backup / "a").stat().st_mode & 0o777 == 0o640
        fill(disk / "models", big="x" * 600_000)
        with pytest.raises(SpaceError):
            swap([Exchange(fill(tmp_path / "far", big="x" * 900_000), disk / "backups/far-1")])
        assert leftovers(tmp_path) == []
        assert state(tmp_path / "far")["big"] == "x" * 900_000
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "text", ['{"moves": [1], "litter": []}', "{}", "", "[1]", '{"journal": 7}', '{"journal": "x"}']
)
def test_a_spoilt_journal_stops_everything(two, text):
    fill(two[0].backup.parent, **{".repack-swap.json": text})
    with pytest.raises(PlaceError, match="journal"):
        swap(two)


def test_a_reader_always_sees_a_whole_folder(tmp_path, two):
    if not exchange.exchange(fill(tmp_path / "p"), fill(tmp_path / "q")):
        pytest.skip("this system cannot exchange folders")
    program = (
        "import sys; from pathlib import Path\n"
        "folder = Path(sys.argv[1]); print(flush=True)\n"
        "while not (folder.parent / 'stop').exists():\n"
        "    assert (folder / 'a').read_text() in {'old', 'new'}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(two[0].target)], stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout.readline(), "it did not get ready"
        for _ in range(20):
            swap(two)
            time.sleep(0.002)
        (two[0].target.parent / "stop").touch()
        assert reader.wait(10) == 0
