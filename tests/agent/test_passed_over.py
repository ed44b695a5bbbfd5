"""Which release of a medium is taken when the newest is not for this target, or not whole."""

from __future__ import annotations

import shutil

import pytest

from repack.cli.main import run


def damage(medium, release):
    """Take the manifest package of a release away, which no other release shares."""
    (path,) = medium.rglob(f"bank-manifest-{release}-*.conda")
    path.unlink()


@pytest.fixture
def stick(vendor, tmp_path, monkeypatch):
    """A medium with releases 1 to 3, whole, of which 2 is promoted for the tag north."""
    monkeypatch.chdir(vendor.parent)
    channels = tmp_path / "channels"
    shutil.copytree(vendor / "3", channels)
    place = ["--channels-dir", str(channels)]
    assert run(["promote", "bank", "--release", "2", "--tag", "north", *place]) == 0
    store = vendor.parent / "störe"
    stick = tmp_path / "stick"
    for release in ("1", "2", "3"):
        words = ["medium", "bank", str(stick), "--release", release, *place]
        assert run([*words, "--store", str(store)]) == 0
    return stick


def install(bank, stick, *arguments):
    return bank.agent("install", "--src-dir", str(stick), *arguments)


def test_a_newer_ci_release_is_passed_over_on_a_production_target(bank, stick):
    bank.configure(provision={"label": "bank", "platform": "linux-64", "tag": "north"})
    code, said = install(bank, stick)
    assert (code, said["release"], bank.in_use) == (0, 2, 2)
    assert said["notes"][0].startswith("release 3 was passed over: it is signed for ci")
    code, said = bank.agent("check", "--src-dir", str(stick))
    assert (said["new"], said["notes"][0]) == (False, said["notes"][0])
    assert "release 3" in said["notes"][0]


def test_a_channel_at_a_newer_ci_release_is_no_damaged_medium(bank, stick, vendor):
    """The metadata signs release 2 for production, but the medium carries release 3 alone."""
    bank.configure(provision={"label": "bank", "platform": "linux-64", "tag": "north"})
    shutil.rmtree(stick / "bank/repack/releases/2")
    release = vendor / "3/bank/repack/releases/2/manifest.json"
    if release.is_file():
        (stick / "bank/repack/releases/2").mkdir()
        shutil.copy(release, stick / "bank/repack/releases/2/manifest.json")
    code, said = install(bank, stick)
    assert (code, said["error"]) == (8, "content-missing"), said
    assert "release 2 is not on this medium" in said["what"]
    assert "damaged" not in said["what"]
    assert "release 3 was passed over: it is signed for ci" in said["got"]


def test_the_newest_whole_one_is_taken(bank, stick):
    damage(stick, 3)
    code, said = install(bank, stick)
    assert (code, said["release"], bank.in_use) == (0, 2, 2)
    assert said["notes"][0].startswith("release 3 was passed over: ")
    assert "not on the medium" in said["notes"][0]
    code, said = install(bank, stick)
    assert (code, said["error"]) == (8, "content-missing"), "nothing newer than what runs is whole"
    assert bank.in_use == 2
    code, said = install(bank, stick, "--name", "3")
    assert (code, said["error"]) == (8, "content-missing")


def test_one_of_the_right_size_that_is_wrong_inside_is_passed_over_too(bank, stick):
    (path,) = stick.rglob("bank-manifest-3-*.conda")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    code, said = install(bank, stick)
    assert (code, bank.in_use) == (0, 2)
    assert "release 3 was passed over" in said["notes"][0]
    assert bank.agent("status")[1]["installed"] == [2]


def test_one_that_failed_here_is_passed_over(bank, stick):
    assert install(bank, stick, "--name", "1")[0] == 0
    bank.configure(
        health={
            "command": ["sh", "-c", '! grep -q \'"version": "3"\' share/repack/bank/manifest.json']
        }
    )
    assert install(bank, stick)[0] == 110
    code, said = install(bank, stick)
    assert (code, bank.in_use) == (0, 2)
    assert said["notes"][0] == "release 3 was passed over: it failed here before"
    code, said = install(bank, stick)
    assert (code, said["error"]) == (6, "no-match")


def test_nothing_whole_at_all(bank, stick):
    for release in (1, 2, 3):
        damage(stick, release)
    code, said = install(bank, stick)
    assert (code, said["error"], bank.in_use) == (8, "content-missing", None)


@pytest.mark.parametrize(
    ("provision", "code"), [({"tag": "south"}, 15), ({"tag": "north", "platform": "win-64"}, 0)]
)
def test_what_fits_nobody_still_has_its_own_code(bank, stick, provision, code):
    bank.configure(provision={"label": "bank", "platform": "linux-64", **provision})
    got, _ = bank.agent("check", "--src-dir", str(stick))
    assert got == code
