"""Wrong dates: a stolen key, a wrong clock at the vendor or on the target; nothing locks a target."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from repack.agent.storage import RememberedClock
from repack.cli.main import run
from repack.errors import (
    ClockSetBackError,
    FutureMetadataError,
    RollbackError,
    SigningDateError,
    TargetError,
)
from repack.timestamps import stamp
from repack.trust import operations
from repack.trust.operations import KeyChange, NewKey
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels
from tests.hostile.site import DAY, LABEL, Site

IN_2099 = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.mark.parametrize("step", [None, 3])
def test_a_timestamp_from_the_future_is_refused_and_leaves_no_trace(site, step):
    assert site.take() == 1
    site.steal("timestamp", channels.now() + timedelta(days=step or 35, hours=1), 2**30)
    with pytest.raises(FutureMetadataError) as caught:
        site.take(step=step)
    assert caught.value.exit_code == 11
    assert site.floor <= channels.now()
    site.restore()
    site.release()
    assert site.take(step=step) == 2, "neither the version nor the date was remembered"


def test_a_stolen_timestamp_key_cannot_move_the_floor(site):
    site.steal("timestamp", channels.now() + 30 * DAY)
    assert site.take() == 1
    assert site.floor <= channels.now(), "not even by the step"


def test_the_builds_keys_move_it_by_a_bounded_step_only(site, tmp_path):
    later = channels.now() + 30 * DAY
    site.release(later)
    assert site.take() == 2
    assert site.floor == later.replace(microsecond=0)
    assert site.take(lambda: later + DAY) == 2, "and its own clock moves it on"
    assert site.floor == later + DAY


def test_what_was_refused_by_an_older_clock_is_taken_when_it_is_right(site):
    now = channels.now()
    site.steal("timestamp", now + 60 * DAY)
    with pytest.raises(FutureMetadataError):
        site.take()
    assert site.take(lambda: now + 60 * DAY) == 1


def test_verify_refuses_the_future_too(site):
    site.steal("timestamp", channels.now() + 60 * DAY)
    (refusal,) = verify(site.channel, Requirements(), channels.now()).refusals
    assert refusal.kind == "metadata-from-the-future"


def test_a_signed_reset_heals_a_floor_that_was_led_astray(site):
    """Whatever led it astray: here a target whose own clock stood at 2099, long before."""
    site.take()
    site.context().storage.save_clock(RememberedClock(IN_2099))
    site.release()
    with pytest.raises(ClockSetBackError, match="--reset-clock"):
        site.take()
    operations.rotate(site.office(), KeyChange(resets_clock=True))
    assert site.take() == 2
    assert site.floor <= channels.now()
    # The reset counts once: what the target remembers from now on is kept.
    site.context().storage.save_clock(replace(site.context().storage.clock(), floor=IN_2099))
    with pytest.raises(ClockSetBackError):
        site.take()
    # Another root keeps the old reset, a second reset is a new one.
    operations.rotate(site.office(), KeyChange("ci", NewKey("ci").make(site.ring)))
    with pytest.raises(ClockSetBackError):
        site.take()
    operations.rotate(site.office(), KeyChange(resets_clock=True))
    assert site.take() == 2


def test_nobody_but_root_can_reset(site):
    """A thief of every online key; and the root file with the field put in, not signed for."""
    site.take()
    site.context().storage.save_clock(RememberedClock(IN_2099))
    path = site.metadata / "1.root.json"
    data = path.read_bytes().replace(b'"version": 1', b'"version": 1,"x-repack-clock-reset": 1')
    assert data != path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(ClockSetBackError):
        site.take()
    (site.metadata / "2.root.json").write_bytes(data.replace(b'"version": 1,', b'"version": 2,'))
    with pytest.raises(TargetError) as caught:
        site.take()
    assert caught.value.exit_code == 11


def test_a_new_timestamp_key_heals_versions_that_a_thief_made_up(site):
    site.steal("timestamp", channels.now(), version=2**30)
    assert site.take() == 1
    site.restore()
    site.release()
    with pytest.raises(RollbackError):
        site.take()
    key = NewKey("timestamp").make(site.ring)
    operations.rotate(site.office(), KeyChange("timestamp", key, resets_clock=True))
    assert site.take() == 2


@pytest.mark.parametrize("hours", [-25, 25])
def test_signing_far_from_the_clock_needs_a_consent_that_names_both(site, hours):
    now = channels.now()
    date = now + timedelta(hours=hours)
    consent = f"{date:%Y-%m-%d}/{now:%Y-%m-%d}"
    with pytest.raises(SigningDateError) as caught:
        operations.promote(site.office(now=date), 1, ["a"])
    assert stamp(date) in caught.value.what
    given = caught.value.hint.rsplit(" ", 1)[1]
    for wrong in ("yes", f"{now:%Y-%m-%d}/{date:%Y-%m-%d}", f"{date:%Y-%m-%d}", ""):
        with pytest.raises(SigningDateError):
            operations.promote(site.office(now=date, date_consent=wrong), 1, ["a"])
    if hours > 0:
        assert given == consent
        operations.promote(site.office(now=date, date_consent=given), 1, ["a"])


def test_signing_before_the_last_signing_needs_a_consent(site):
    ahead = channels.now() + timedelta(hours=20)
    operations.promote(site.office(now=ahead), 1, ["a"])
    with pytest.raises(SigningDateError, match="the last signing") as caught:
        operations.promote(site.office(), 1, ["b"])
    consent = caught.value.hint.rsplit(" ", 1)[1]
    assert f"{ahead:%Y-%m-%d}" in consent
    operations.promote(site.office(date_consent=consent), 1, ["b"])


def test_every_command_that_signs_asks(site, tmp_path, monkeypatch, capsys):
    """Year 2099 in SOURCE_DATE_EPOCH, as a build server might have it."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(IN_2099.timestamp())))
    place = ["--channels-dir", str(site.place.root), "--keys", str(site.ring.folder)]
    before = {path.name: path.read_bytes() for path in site.metadata.iterdir()}
    for command in (
        ["promote", LABEL, "--release", "1", "--tag", "a"],
        ["promote", LABEL, "--release", "1", "--tag", "a", "--prepare", str(tmp_path / "c")],
        ["key", "rotate", LABEL, "--role", "timestamp"],
        ["key", "rotate", LABEL, "--reset-clock"],
    ):
        assert run([*command, *place]) == 2
        said = capsys.readouterr().err
        assert "--yes-i-checked-the-date 2099-01-01/" in said
        assert "Traceback" not in said
    assert {path.name: path.read_bytes() for path in site.metadata.iterdir()} == before
    consent = f"2099-01-01/{channels.now():%Y-%m-%d}"
    last = ["key", "rotate", LABEL, "--reset-clock", *place, "--yes-i-checked-the-date", consent]
    assert run(last) == 0
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(FutureMetadataError):
        site.take()
    assert run(["key", "rotate", LABEL, "--reset-clock", *place]) == 2
    consent = capsys.readouterr().err.rsplit(" ", 1)[1].strip()
    assert run([*last[:-1], consent]) == 0
    assert site.take() == 1, "and the vendor's mistake is healed"


def test_a_ceremony_shows_its_date_to_the_signers_clock(site, tmp_path, monkeypatch):
    file = tmp_path / "c.json"
    date = channels.now() + 2 * DAY
    consent = f"{date:%Y-%m-%d}/{channels.now():%Y-%m-%d}"
    office = site.office(now=date, date_consent=consent)
    operations.prepare_promotion(office, 1, ["a"], file)
    with pytest.raises(SigningDateError):
        operations.sign(site.ring, file)


def test_a_clock_file_that_somebody_wrote_is_no_time(site):
    site.take()
    path = site.context().storage.folder / "state/clock"
    assert path.is_file()
    for text in (b"", b"soon", b"2026-01-01T00:00:00Z 99999999999999", b"\xff\xfe " * 5):
        path.write_bytes(text)
        assert site.take() == 1
