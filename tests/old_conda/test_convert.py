from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest

from repack.errors import IntegrityError
from repack.old_conda import archive as tarbz2
from repack.old_conda.convert import transmute, unconverted
from repack.store.gc import sweep
from repack.store.inspect import inspect
from repack.store.store import Store, files_in
from tests.archives import Package, member

# Two names that a case-blind disk cannot hold side by side, a link, and a long name.
PACKAGE = Package(
    files={
        "share/terminfo/n/ncr260": b"lower",
        "share/terminfo/N/ncr260": b"upper",
        "x/" * 80 + "deep": b"d",
    },
    extra=[(member("lib/link", tarfile.SYMTYPE, "../share"), b"")],
    index={"depends": ["a <2", "__glibc >=2.17"]},
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def take(store, package: Package, tmp_path, **changes):
    data = package.conda()
    path = tmp_path / "upstream.conda"
    path.write_bytes(data)
    record = package.record(data, **changes)
    store.add(path, record.sha256)
    return record


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    )
    return done.stdout.strip()


def members(data: bytes) -> dict[str, tuple]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            m.name: (
                m.type,
                m.linkname,
                m.mtime,
                m.mode,
                m.isfile() and archive.extractfile(m).read(),
            )
            for m in archive
        }


def test_the_same_files_in_the_old_format(store, tmp_path):
    record = take(store, PACKAGE, tmp_path, depends=["a <3", "__glibc >=2.17"])
    assert unconverted([record], store) == (record,)
    (made,) = transmute([record], store)
    new, data = made.record, store.path(made.record.sha256).read_bytes()
    assert new.fn == "thing-1.0-0.tar.bz2"
    assert new.sha256 == hashlib.sha256(data).hexdigest()
    assert new.md5 == hashlib.md5(data).hexdigest()
    assert new.size == len(data)
    assert new.depends == ("a <3",)  # the hot-fix stays, the virtual package goes
    assert made.change.dropped == ("depends __glibc >=2.17",)
    assert members(data) == members(PACKAGE.bz2())
    assert list(members(data))[:2] == ["info/index.json", "info/paths.json"]
    facts = inspect([(new, "whole")], store)[new.sha256]
    assert len(facts.case_twins) == 1


def test_nothing_is_made_twice(store, tmp_path):
    record = take(store, PACKAGE, tmp_path)
    first = transmute([record], store)
    store.path(record.sha256).unlink()
    assert unconverted([record], store) == ()
    assert transmute([record], store) == first


def test_made_again_when_the_result_or_the_note_is_gone(store, tmp_path):
    record = take(store, PACKAGE, tmp_path)
    first = transmute([record], store)
    store.path(first[0].record.sha256).unlink()
    assert unconverted([record], store) == (record,)
    assert transmute([record], store) == first
    store.derived_path(record.sha256, tarbz2.recipe()).write_bytes(b"{")
    assert transmute([record], store) == first


def test_another_process_makes_the_same_bytes(store, tmp_path):
    record = take(store, PACKAGE, tmp_path)
    (made,) = transmute([record], store)
    script = f"""
        from pathlib import Path
        from tests.old_conda.test_convert import PACKAGE
        from repack.old_conda import archive as tarbz2
        source = Path({str(store.path(record.sha256))!r})
        record = PACKAGE.record(source.read_bytes())
        print(tarbz2.convert(source, record, Path({str(tmp_path / "again")!r})).sha256)
    """
    assert run(script) == made.record.sha256


def test_order_and_old_archives_stay(store, tmp_path):
    old = Package(name="old").record(b"not even read", ".tar.bz2", depends=["__unix"])
    new = take(store, Package(name="new"), tmp_path)
    big = take(store, Package(name="big", files={"a": os.urandom(50_000)}), tmp_path)
    done = transmute([old, new, big], store)
    assert [t.record.fn.partition("-")[0] for t in done] == ["old", "new", "big"]
    assert done[0].record.sha256 == old.sha256
    assert done[0].change.dropped == ("depends __unix",)
    assert unconverted([old, new, big], store) == (old,)


def test_facts_are_handed_on(store, tmp_path):
    record = take(store, PACKAGE, tmp_path)
    before = inspect([(record, "whole")], store, hashes="sha384")[record.sha256]
    (made,) = transmute([record], store)
    after = inspect([(made.record, "whole")], store, hashes="sha384")[made.record.sha256]
    assert after.index == before.index
    assert after.depth == "whole"
    assert after.sha384 == hashlib.sha384(store.path(made.record.sha256).read_bytes()).hexdigest()


def test_a_damaged_archive_is_named_and_leaves_nothing(store, tmp_path):
    data = PACKAGE.conda()
    data = data[:100] + b"damage" + data[106:]
    path = tmp_path / "damaged"
    path.write_bytes(data)
    store.add(path)
    good = take(store, Package(name="good"), tmp_path)
    with pytest.raises(IntegrityError) as caught:
        transmute([PACKAGE.record(data), good], store)
    assert caught.value.where == "linux-64/thing-1.0-0.conda"
    assert not list((store.root / "made" / "making").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits files as only POSIX can")
def test_a_full_disk_is_said(store, tmp_path):
    package = Package(files={"a": os.urandom(100_000)})
    source = tmp_path / "source"
    source.write_bytes(package.conda())
    script = f"""
        import resource, signal
        from pathlib import Path
        from tests.archives import Package
        from repack.errors import SpaceError
        from repack.old_conda import archive as tarbz2
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        source = Path({str(source)!r})
        try:
            tarbz2.convert(source, Package().record(b""), Path({str(tmp_path / "target")!r}))
        except SpaceError as error:
            print(error.where)
    """
    assert run(script) == str(tmp_path / "target")


def test_a_sweep_keeps_notes_as_long_as_what_they_name(store, tmp_path):
    record = take(store, PACKAGE, tmp_path)
    (made,) = transmute([record], store)
    note = store.derived_path(record.sha256, tarbz2.recipe())
    with store.scratch_folder() as folder:
        (folder / "half").write_bytes(b"x")
        sweep(store, {made.record.sha256})
        assert folder.exists()  # too young
        time.sleep(0.01)
        sweep(store, {made.record.sha256}, grace=0)
        assert not folder.exists()
    assert note.exists()
    assert unconverted([record], store) == ()
    sweep(store, set(), grace=0)
    assert [path for path in files_in(store.root / "made") if path.is_file()] == []
