from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import (
    ClockSetBackError,
    FutureMetadataError,
    MetadataExpiredError,
    MetadataInvalidError,
    MixAndMatchError,
    NoMatchError,
    NoSuchReleaseError,
    RollbackError,
    TargetError,
    WrongTagError,
    WrongTypeError,
)
from repack.names import Digest
from repack.timestamps import read_time, stamp
from repack.trust.selection import (
    CLOCK_STEP,
    ReleaseFilter,
    RollbackState,
    SignedRelease,
    check_not_future,
    check_times,
    choose,
    parse_release,
    raised_floor,
    warnings,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def release(number, kind="ci", tags=(), platforms=("noarch", "linux-64"), label="bank"):
    return SignedRelease(number, label, platforms, tags, kind, 10, Digest("0" * 64))


SIGNED = [
    release(1),
    release(2),
    release(3, platforms=("noarch", "win-64")),
    release(1, "production", ("wave-1", "wave-2")),
    release(2, "production", ("wave-1",)),
    release(4, "production", ("wave-1",), ("win-64",)),
]


def wanted(kind="ci", tag=None, number=None, platform="linux-64", label="bank"):
    return ReleaseFilter(label, platform, kind, tag, number)


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        (wanted(), 2),
        (wanted(tag="any"), 2),
        (wanted(platform="win-64"), 3),
        (wanted(number=1), 1),
        (wanted("production"), 2),
        (wanted("production", "wave-1"), 2),
        (wanted("production", "wave-2"), 1),
        (wanted("production", "wave-1", platform="win-64"), 4),
    ],
)
def test_the_newest_that_fits(asked, number):
    found = choose(SIGNED, asked, RollbackState())
    assert (found.number, found.type) == (number, asked.type)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (wanted(number=9), NoSuchReleaseError),
        (wanted("production", number=3), WrongTypeError),
        (wanted(number=4), WrongTypeError),
        (wanted("production", "wave-9"), WrongTagError),
        (wanted("production", "wave-2", number=2), WrongTagError),
        (wanted("production", platform="osx-64"), NoMatchError),
        (wanted(number=3), NoMatchError),
        (wanted(label="other"), MixAndMatchError),
    ],
)
def test_each_refusal_has_its_class(asked, error):
    with pytest.raises(error) as caught:
        choose(SIGNED, asked, RollbackState())
    assert type(caught.value) is error


def test_nothing_signed_for_production_yet():
    with pytest.raises(WrongTypeError) as caught:
        choose([release(1)], wanted("production"), RollbackState())
    assert "promote" in caught.value.text()


def test_no_release_at_all():
    with pytest.raises(WrongTypeError):
        choose([], wanted(), RollbackState())
    with pytest.raises(NoSuchReleaseError):
        choose([], wanted(number=1), RollbackState())


def test_going_back_takes_a_name():
    with pytest.raises(RollbackError):
        choose(SIGNED, wanted(), RollbackState(release=7))
    assert choose(SIGNED, wanted(), RollbackState(release=2)).number == 2
    assert choose(SIGNED, wanted(number=1), RollbackState(release=7)).number == 1


LISTS = st.lists(
    st.builds(
        release,
        st.integers(1, 4),
        st.sampled_from(["ci", "production"]),
        st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple),
        st.lists(st.sampled_from(["linux-64", "win-64"]), max_size=2).map(tuple),
    ),
    max_size=5,
)


@given(
    LISTS,
    st.builds(
        wanted,
        st.sampled_from(["ci", "production"]),
        st.sampled_from([None, "a", "b"]),
        st.none() | st.integers(1, 4),
    ),
    st.builds(
        RollbackState,
        st.none(),
        st.integers(0, 4),
        st.dictionaries(st.integers(1, 4), st.just("why"), max_size=3),
    ),
)
def test_what_is_chosen_is_what_was_asked_for(releases, asked, seen):
    try:
        found = choose(releases, asked, seen)
    except TargetError:
        return
    assert found.number not in seen.recalled
    assert found.type == asked.type
    assert asked.platform in found.platforms
    assert asked.release in {None, found.number}
    assert asked.tag is None or asked.tag in found.tags or (found.type == "ci" and not found.tags)
    assert asked.release is not None or found.number >= seen.release


def test_expiry_by_the_clock():
    check_times({"timestamp": NOW + DAY}, NOW, None)
    with pytest.raises(MetadataExpiredError, match="timestamp"):
        check_times({"timestamp": NOW, "root": NOW + DAY}, NOW, None)


def test_a_clock_set_back_does_not_bring_metadata_to_life():
    expiries = {"timestamp": NOW}
    in_1970 = datetime(1970, 1, 1, tzinfo=UTC)
    check_times(expiries, in_1970, None)
    check_times(expiries, in_1970, NOW - DAY)
    with pytest.raises(ClockSetBackError) as caught:
        check_times(expiries, in_1970, NOW + DAY)
    assert "1970" in caught.value.text()


def test_a_clock_in_2090():
    with pytest.raises(MetadataExpiredError) as caught:
        check_times({"timestamp": NOW}, datetime(2090, 1, 1, tzinfo=UTC), NOW - DAY)
    assert type(caught.value) is MetadataExpiredError


def test_the_floor_never_sinks():
    assert raised_floor(None, {}, NOW) == NOW
    assert raised_floor(NOW + DAY, {"ci": NOW - DAY}, NOW) == NOW + DAY
    assert raised_floor(NOW, {"ci": NOW + DAY, "root": NOW}, NOW) == NOW + DAY


def test_the_floor_takes_a_bounded_step_from_the_builds_keys():
    late = NOW + 400 * DAY
    assert raised_floor(None, {"ci": late}, NOW) == NOW + CLOCK_STEP
    assert raised_floor(None, {"ci": late}, NOW, 3 * DAY) == NOW + 3 * DAY


def test_the_floor_never_follows_a_timestamp_or_a_snapshot():
    times = {"timestamp": NOW + 9 * DAY, "snapshot": NOW + 9 * DAY}
    assert raised_floor(None, times, NOW) == NOW


def test_the_targets_keys_tell_the_time_where_the_clock_does_not():
    in_1970 = datetime(1970, 1, 1, tzinfo=UTC)
    assert raised_floor(None, {"targets": NOW, "ci": NOW + DAY}, in_1970) == NOW + DAY
    check_not_future({"targets": NOW, "timestamp": NOW + CLOCK_STEP}, in_1970)
    with pytest.raises(FutureMetadataError):
        check_not_future({"ci": NOW, "timestamp": NOW}, in_1970)


def test_metadata_from_the_future_is_refused():
    check_not_future({"timestamp": NOW + CLOCK_STEP}, NOW)
    with pytest.raises(FutureMetadataError) as caught:
        check_not_future({"timestamp": NOW + CLOCK_STEP + DAY}, NOW)
    assert caught.value.exit_code == 11
    assert "role timestamp" in caught.value.what


def test_warnings_from_thirty_days_before():
    expiries = {
        "root": NOW + 31 * DAY,
        "timestamp": NOW + 30 * DAY,
        "ci": NOW + DAY,
        "targets": NOW - DAY,
    }
    assert [line.split()[4] for line in warnings(expiries, NOW)] == ["ci", "timestamp"]


def test_times_are_written_as_tuf_does():
    assert stamp(NOW) == "2026-11-20T12:00:00Z"
    assert read_time(stamp(NOW)) == NOW
    assert read_time("yesterday") is None
    assert read_time(None) is None


CUSTOM = {"label": "bank", "release": 3, "platforms": ["linux-64"], "tags": [], "type": "ci"}
HASHES = {"sha256": "0" * 64}


def test_signed_target():
    found = parse_release("releases/3/manifest.json", 10, HASHES, CUSTOM)
    assert (found.number, found.path) == (3, "releases/3/manifest.json")


@pytest.mark.parametrize(
    ("path", "hashes", "change"),
    [
        ("releases/03/manifest.json", HASHES, {}),
        ("releases/0/manifest.json", HASHES, {"release": 0}),
        ("releases/3/other.json", HASHES, {}),
        ("releases/4/manifest.json", HASHES, {}),
        ("releases/1/manifest.json", HASHES, {"release": True}),
        ("releases/3/manifest.json", {"sha512": "0"}, {}),
        ("releases/3/manifest.json", {"sha256": "0"}, {}),
        ("releases/3/manifest.json", HASHES, {"type": "beta"}),
        ("releases/3/manifest.json", HASHES, {"label": None}),
        ("releases/3/manifest.json", HASHES, {"platforms": "linux-64"}),
        ("releases/3/manifest.json", HASHES, {"tags": [1]}),
        ("releases/3/manifest.json", HASHES, {"tags": None}),
    ],
)
def test_bad_signed_targets(path, hashes, change):
    with pytest.raises(MetadataInvalidError):
        parse_release(path, 10, hashes, {**CUSTOM, **change})
    with pytest.raises(MetadataInvalidError):
        parse_release(path, 10, hashes, None)
