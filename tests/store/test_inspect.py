from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from repack.archive.facts import Facts
from repack.errors import IntegrityError, PlaceError
from repack.fs.digests import sha384
from repack.store.inspect import inspect
from tests.archives import Package

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Archives:
    """A store that is only paths."""

    root: Path

    def path(self, sha256):
        return self.root / sha256

    def facts_path(self, sha256):
        return self.root / "facts" / sha256[:2] / f"{sha256}.json"

    def take(self, package: Package, data: bytes | None = None, **changes):
        data = package.conda() if data is None else data
        record = package.record(data, **changes)
        self.path(record.sha256).write_bytes(data)
        return record


class Listener:
    def __init__(self):
        self.totals, self.count = [], 0

    @contextlib.contextmanager
    def phase(self, what, total, unit):
        self.totals.append(total)

        def done(count):
            self.count += count

        yield done

    def note(self, text):
        raise AssertionError(text)


@pytest.fixture
def archives(tmp_path):
    return Archives(tmp_path)


def test_facts_by_digest(archives):
    one = archives.take(Package())
    two = archives.take(Package(name="other", subdir="noarch"))
    listener = Listener()
    facts = inspect([(one, "info"), (two, "whole")], archives, progress=listener)
    assert facts[one.sha256].depth == "info"
    assert facts[two.sha256].depth == "whole"
    assert facts[two.sha256].index["name"] == "other"
    assert (listener.totals, listener.count) == ([2], 2)


def test_nothing_is_read_twice(archives):
    record = archives.take(Package())
    first = inspect([(record, "whole")], archives, hashes="sha384")
    archives.path(record.sha256).unlink()
    listener = Listener()
    again = inspect([(record, "info"), (record, "whole")], archives, "sha384", listener)
    assert again == first
    assert listener.totals == []


def test_one_archive_of_two_records_is_read_once_and_as_deep_as_either_asks(archives):
    record = archives.take(Package())
    listener = Listener()
    wanted = [(record, "info"), (record, "whole"), (record, "info")]
    facts = inspect(wanted, archives, progress=listener)
    assert facts[record.sha256].depth == "whole"
    assert listener.totals == [1]


def test_deeper_questions_keep_what_is_known(archives):
    record = archives.take(Package())
    digest = sha384(archives.path(record.sha256))
    assert inspect([(record, "info")], archives)[record.sha256].sha384 is None
    hashed = inspect([(record, "info")], archives, hashes="sha384")[record.sha256]
    assert (hashed.depth, hashed.sha384) == ("info", digest)
    whole = inspect([(record, "whole")], archives)[record.sha256]
    assert (whole.depth, whole.sha384) == ("whole", digest)


@pytest.mark.parametrize("spoilt", [b"", b"{", b"null", b'{"version": 0}', b"\xff", b"[" * 99999])
def test_a_spoilt_cache_is_made_anew(archives, spoilt):
    record = archives.take(Package())
    facts = inspect([(record, "whole")], archives)
    cache = archives.facts_path(record.sha256)
    cache.write_bytes(spoilt)
    assert inspect([(record, "whole")], archives) == facts
    assert Facts.of_json(json.loads(cache.read_bytes())) == facts[record.sha256]


def test_judged_even_when_known(archives):
    record = archives.take(Package())
    inspect([(record, "whole")], archives)
    data = archives.path(record.sha256).read_bytes()
    liar = Package().record(data, depends=["a"], version="2.0")
    with pytest.raises(IntegrityError, match="not the package"):
        inspect([(liar, "whole")], archives)


def test_all_bad_archives_are_named_and_good_ones_remembered(archives):
    good = archives.take(Package())
    cut = archives.take(Package(name="cut"), Package(name="cut").conda()[:-30])
    other = archives.take(Package(name="asked"), Package(name="asked", index={"name": "x"}).conda())
    with pytest.raises(IntegrityError) as caught:
        inspect([(cut, "whole"), (good, "whole"), (other, "info")], archives)
    assert "2 archives" in caught.value.what
    assert "linux-64/cut-1.0-0.conda: " in caught.value.got
    assert "linux-64/asked-1.0-0.conda: " in caught.value.got
    assert archives.facts_path(good.sha256).exists()
    assert not archives.facts_path(cut.sha256).exists()
    with pytest.raises(IntegrityError) as caught:
        inspect([(cut, "whole"), (good, "whole")], archives)
    assert caught.value.where == "linux-64/cut-1.0-0.conda"


def test_a_missing_archive_is_no_integrity_error(archives):
    cut = archives.take(Package(name="cut"), b"no archive")
    with pytest.raises(PlaceError):
        inspect([(cut, "info"), (Package().record(b"gone"), "info")], archives)


def test_nothing_wanted_is_nothing_done(archives):
    assert inspect([], archives) == {}
