"""What changed between two releases."""

from __future__ import annotations

import hashlib

from repack.conda.rattler import is_older
from repack.conda.record import Record
from repack.report.changes import compare


def record(name, version="1.0", subdir="linux-64", licence="MIT", build="0", size=10):
    digest = hashlib.sha256(f"{name}{version}{build}{subdir}".encode()).hexdigest()
    raw = {"name": name, "version": version, "build": build, "build_number": 0, "subdir": subdir,
           "sha256": digest, "size": size, "depends": [], "license": licence}  # fmt: skip
    return Record.of(raw, f"{name}-{version}-{build}.conda", "")


def steps(before, after):
    return [
        (c.name, c.step, c.before, c.after, c.platforms) for c in compare(before, after, is_older)
    ]


def test_every_kind_of_change_and_the_grave_ones_first():
    before = [record("up"), record("down", "2.0"), record("gone"), record("lic"), record("re"),
              record("same")]  # fmt: skip
    after = [record("up", "1.10"), record("down", "1.9"), record("new"),
             record("lic", licence="GPL-3.0-only"), record("re", build="1"),
             record("same")]  # fmt: skip
    here = ("linux-64",)
    assert steps(before, after) == [
        ("down", "downgraded", "2.0", "1.9", here),
        ("lic", "relicensed", "1.0 0", "1.0 0", here),
        ("gone", "removed", "1.0", "", here),
        ("new", "added", "", "1.0", here),
        ("up", "updated", "1.0", "1.10", here),
        ("re", "rebuilt", "1.0 0", "1.0 1", here),
    ]


def test_an_epoch_is_no_downgrade():
    assert steps([record("a", "2024.1")], [record("a", "1!1.0")])[0][1] == "updated"


def test_platforms_that_change_alike_share_a_line():
    both = ("linux-64", "win-64")
    before = [record("a", subdir=subdir) for subdir in both]
    after = [record("a", "2.0", subdir=subdir) for subdir in both]
    change = compare(before, after, is_older)[0]
    assert (change.platforms, change.bytes_before, change.bytes_after) == (both, 20, 20)


def test_a_move_to_noarch_is_one_update():
    before = [record("a"), record("a", subdir="win-64")]
    after = [record("a", "1.1", subdir="noarch")]
    assert [(c.step, c.before, c.after) for c in compare(before, after, is_older)] == [
        ("updated", "1.0", "1.1")
    ]


def test_a_change_of_licence_shows_on_an_update_too():
    change = compare([record("a")], [record("a", "2.0", licence="BSD-3-Clause")], is_older)[0]
    assert change.step == "relicensed"
    assert (change.licence_before, change.licence_after) == ("MIT", "BSD-3-Clause")
    assert (change.before, change.after) == ("1.0", "2.0")


def test_no_change_and_odd_licences():
    odd = record("a", licence=["MIT"])
    assert compare([odd], [odd], is_older) == ()
    assert compare([], [odd], is_older)[0].licence_after == ""
