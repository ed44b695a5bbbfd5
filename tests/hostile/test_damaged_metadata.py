"""Metadata that is cut off, empty or of odd types ends with a code that says so, never a traceback."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

from repack.errors import TargetError
from repack.trust import client
from tests.agent import bank as banks

FILES = ("timestamp.json", "snapshot.json", "targets.json", "ci.json", "production.json")
ROOT = "1.root.json"
# Values that no reader of ours writes, but that JSON has
ODD = (1.5, 1e400, -1, 10**30, True, None, "x", "\ud800", [], {}, [[None]], {"": None})


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A medium with one signed release; never write into it."""
    root = tmp_path_factory.mktemp("signed ü")
    with contextlib.chdir(root):
        banks.build(banks.world(root), root / "media", releases=1)
    return root


@pytest.fixture
def target(signed, tmp_path):
    """A target with a medium of its own, and the root from the vendor."""
    bank = banks.Bank(tmp_path)
    shutil.copytree(signed / "media" / "1", bank.medium(1), symlinks=True)
    shutil.copy2(signed / "media" / "root.json", bank.media / "root.json")
    return bank


def metadata(target):
    return target.medium(1) / "bank/repack/metadata"


def codes(target):
    """What `check` and `install` end with."""
    folder = str(target.medium(1))
    return [target.agent(command, "--src-dir", folder)[0] for command in ("check", "install")]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0, 1, 0.5, -1])
def test_cut_off_metadata_ends_with_11(target, name, part):
    path = metadata(target) / name
    data = path.read_bytes().rstrip()
    path.write_bytes(data[: int(len(data) * part) if isinstance(part, float) else part])
    assert codes(target) == [11, 11]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[" * 100_000, b"null", b"1e400", b'{"a":1,"a":2}']
)
def test_a_next_root_that_cannot_be_read_ends_with_11(target, data):
    (metadata(target) / "2.root.json").write_bytes(data)
    assert codes(target) == [11, 11]


def test_metadata_beyond_all_bounds_ends_with_11(target):
    with (metadata(target) / "timestamp.json").open("r+b") as stream:
        stream.truncate(6_000_000)
    assert codes(target) == [11, 11]


def replaced(document, at=()):
    """``document`` with each of its values replaced by each odd one, and the place of it."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        for odd in (odd for odd in ODD if odd is not value):
            copy = dict(document) if isinstance(document, dict) else list(document)
            copy[key] = odd
            yield (*at, key), odd, copy
        if isinstance(value, dict | list):
            for place, odd, inner in replaced(value, (*at, key)):
                copy = dict(document) if isinstance(document, dict) else list(document)
                copy[key] = inner
                yield place, odd, copy


def dump(document):
    return json.dumps(document).encode()


def code_of(folder, pinned):
    """What a target that sees this metadata would end with; 0 if it takes it."""
    try:
        client.refresh_once(folder, pinned)
    except TargetError as error:
        return error.exit_code
    return 0


@pytest.mark.parametrize("name", ["2.root.json", *FILES])
def test_odd_types_are_refused_with_a_code(signed, tmp_path, name):
    """Every value of every file: read as the target reads it, without its folders around."""
    source = signed / "media/1/bank/repack/metadata"
    pinned = (source / ROOT).read_bytes()
    document = json.loads((source / name.replace("2.", "1.")).read_bytes())
    if name == "2.root.json":
        document["signed"]["version"] = 2
    folder = tmp_path / "metadata"
    shutil.copytree(source, folder)
    count, accepted = 0, []
    for place, odd, mutated in replaced(document):
        (folder / name).write_bytes(dump(mutated))
        count += 1
        if code_of(folder, pinned) not in {4, 11, 12}:
            accepted.append((place, odd))
    assert count > 120
    assert accepted == []


def test_an_odd_pinned_root_is_no_traceback(signed, tmp_path):
    source = signed / "media/1/bank/repack/metadata"
    document = json.loads((source / ROOT).read_bytes())
    count, accepted = 0, []
    for place, odd, mutated in replaced(document):
        count += 1
        if code_of(source, dump(mutated)) not in {4, 11, 12}:
            accepted.append((place, odd))
    assert count > 120
    assert accepted == []
