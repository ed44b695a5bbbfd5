"""Metadata as an attacker with the stick would leave it; none of it may be believed.

The fuzz part changes any value anywhere in any metadata file, with the lists of hashes mended as
an attacker would mend them: nothing but our own errors, and no accepted forgery. ``REPACK_FUZZ=100``
runs it a hundred times as long.
"""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repack.channel.folder import Channels
from repack.channel.metadata_folder import read_folder
from repack.errors import (
    IntegrityError,
    MetadataExpiredError,
    MetadataInvalidError,
    MetadataNotFoundError,
    MetadataUnsupportedError,
    MixAndMatchError,
    RepackError,
    RollbackError,
    RootChainError,
    TargetError,
    ThresholdError,
)
from repack.trust import metadata as model
from repack.trust import operations
from repack.trust.client import refresh, refresh_once
from repack.trust.metadata import MetadataSet
from repack.trust.operations import KeyChange, NewKey, TrustContext
from repack.trust.sign import Signing
from tests import channels

LONG = int(os.environ.get("REPACK_FUZZ", "1"))
FILES = (
    "1.root.json",
    "timestamp.json",
    "snapshot.json",
    "targets.json",
    "ci.json",
    "production.json",
)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A label with two releases, one of them promoted: metadata, pinned root, keys."""
    folder = tmp_path_factory.mktemp("bank")
    ring = channels.keyring(folder / "keys")
    place = Channels(folder / "channels")
    channel = place.published("halkbank")
    for number in (1, 2):
        channels.build(channel, Signing(None, ring), number=number)
    operations.promote(TrustContext(place, "halkbank", ring, channels.now()), 1, ["wave-1"])
    return channel / "repack/metadata", ring


@pytest.fixture
def folder(bank, tmp_path):
    return shutil.copytree(bank[0], tmp_path / "metadata")


@pytest.fixture
def pinned(bank):
    return (bank[0] / "1.root.json").read_bytes()


def edit(path, change):
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def test_the_untouched_metadata_is_believed(folder, pinned):
    found = refresh_once(folder, pinned)
    assert {(one.type, one.number) for one in found.releases} == {
        ("ci", 1),
        ("ci", 2),
        ("production", 1),
    }


@pytest.mark.parametrize("name", FILES[1:])
def test_missing(folder, pinned, name):
    (folder / name).unlink()
    with pytest.raises(MetadataNotFoundError):
        refresh_once(folder, pinned)


@pytest.mark.parametrize("name", FILES[1:])
def test_truncated(folder, pinned, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    with pytest.raises(RepackError) as caught:
        refresh_once(folder, pinned)
    assert caught.value.exit_code in {6, 11}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "junk",
    [b"", b"[]", b"null", b'{"signed":{},"signatures":[]}', b"{" * 70_000, b'{"a":NaN}', b"\xff"],
    ids=range(7),
)
def test_junk(folder, pinned, name, junk):
    (folder / name).write_bytes(junk)
    with pytest.raises(RepackError) as caught:
        refresh_once(folder, junk if name == FILES[0] else pinned)
    assert caught.value.exit_code in {4, 6, 11}


def test_huge(folder, pinned):
    with (folder / "timestamp.json").open("r+b") as stream:
        stream.truncate(100 << 20)
    with pytest.raises(RepackError) as caught:
        refresh_once(folder, pinned)
    assert caught.value.exit_code in {6, 11}


def test_swapped_roles(folder, pinned):
    shutil.copy(folder / "ci.json", folder / "production.json")
    with pytest.raises(MixAndMatchError):
        refresh_once(folder, pinned)
    shutil.copy(folder / "snapshot.json", folder / "timestamp.json")
    with pytest.raises(MetadataInvalidError):
        refresh_once(folder, pinned)


def test_later_specification(folder, pinned):
    edit(folder / "timestamp.json", lambda d: d["signed"].update(spec_version="2.0.0"))
    with pytest.raises(MetadataUnsupportedError):
        refresh_once(folder, pinned)


@pytest.mark.parametrize("name", FILES[1:])
def test_signatures_taken_away(folder, pinned, name):
    edit(folder / name, lambda d: d.update(signatures=[]))
    with pytest.raises((ThresholdError, MixAndMatchError)):
        refresh_once(folder, pinned)


def test_timestamp_signed_by_another_label(folder, pinned, tmp_path):
    other = channels.build(
        tmp_path / "other", Signing(None, channels.keyring(tmp_path / "keys")), label="other"
    )
    for name in FILES[1:]:
        shutil.copy(other / "repack/metadata" / name, folder / name)
    with pytest.raises(ThresholdError):
        refresh_once(folder, pinned)
    shutil.copy(other / "repack/metadata/1.root.json", folder / "2.root.json")
    with pytest.raises(RootChainError):
        refresh_once(folder, pinned)
    with pytest.raises(MixAndMatchError):
        MetadataSet.load(read_folder(other / "repack/metadata"), "halkbank", "x")


def test_key_ids_that_lie(folder, pinned):
    """The attacker's own key under the id of the right one."""

    def change(document):
        (keyid,) = document["signed"]["roles"]["timestamp"]["keyids"]
        document["signed"]["keys"][keyid]["keyval"]["public"] = "00" * 32

    edit(folder / "1.root.json", change)
    with pytest.raises(MetadataInvalidError, match="not the one that its identifier names"):
        model.load_roots(read_folder(folder), folder)


def test_one_signature_does_not_count_twice(folder, pinned):
    edit(folder / "timestamp.json", lambda d: d["signatures"].append(dict(d["signatures"][0])))
    with pytest.raises(MetadataInvalidError):
        refresh_once(folder, pinned)


@pytest.fixture
def own(tmp_path):
    """A label of one test, to be signed again and again."""
    ring = channels.keyring(tmp_path / "own keys")
    place = Channels(tmp_path / "own")
    channels.build(place.published("halkbank"), Signing(None, ring))
    return place, ring


def test_replayed_metadata(own, tmp_path):
    place, ring = own
    folder = place.published("halkbank") / "repack/metadata"
    pinned = (folder / "1.root.json").read_bytes()
    old = shutil.copytree(folder, tmp_path / "old")
    state = tmp_path / "state"
    channels.build(place.published("halkbank"), Signing(None, ring), number=2)
    refresh(folder, state, pinned)
    with pytest.raises(RollbackError):
        refresh(old, state, pinned)
    # the newest timestamp over old targets
    shutil.copy(folder / "timestamp.json", old / "timestamp.json")
    assert {one.number for one in refresh(old, state, pinned).releases} == {1, 2}, "by its memory"
    with pytest.raises(MixAndMatchError):
        refresh_once(old, pinned)


def test_rotated_away_keys_do_not_count(own, tmp_path):
    """A stolen timestamp key, retired since: what it signs is not believed any more."""
    place, ring = own
    folder = place.published("halkbank") / "repack/metadata"
    pinned = (folder / "1.root.json").read_bytes()
    stolen = (folder / "timestamp.json").read_bytes()
    office = TrustContext(place, "halkbank", ring, channels.now())
    operations.rotate(office, KeyChange("timestamp", NewKey("timestamp").make(ring)))
    (folder / "timestamp.json").write_bytes(stolen)
    with pytest.raises(ThresholdError):
        refresh_once(folder, pinned)


@pytest.mark.parametrize(
    ("role", "days"), [("timestamp", 1), ("root", 1), ("ci", 1), ("snapshot", 1)]
)
def test_expired(tmp_path, role, days):
    ring = channels.keyring(tmp_path / "keys")
    past = channels.now() - timedelta(days=2)
    channel = channels.build(tmp_path / "c", Signing(None, ring, {role: days}), moment=past)
    folder = channel / "repack/metadata"
    with pytest.raises(MetadataExpiredError):
        refresh_once(folder, (folder / "1.root.json").read_bytes())


def test_ci_signs_as_production(bank, folder, pinned):
    """A thief of the ci key lists releases as production's: the role that signs is what counts."""
    _, ring = bank
    found = MetadataSet.load(read_folder(folder), "halkbank", folder)
    from repack.trust.editor import MetadataEditor

    amendment = MetadataEditor(found, channels.now())
    signed = amendment.open("ci")
    signed.targets["releases/2/manifest.json"].unrecognized_fields["custom"]["type"] = "production"
    for name, data in amendment.publish(ring.signer).files().items():
        (folder / name).write_bytes(data)
    with pytest.raises(MixAndMatchError):
        refresh_once(folder, pinned)


def test_two_releases_with_one_number(bank, folder):
    _, ring = bank
    with pytest.raises(MixAndMatchError, match="signed before with other content"):
        channels.build(
            folder.parent / "again",
            Signing(None, ring),
            number=2,
            previous=read_folder(folder),
            moment=channels.now() - timedelta(hours=1),
        )


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.text(max_size=6),
    st.just({}),
    st.just([]),
    st.just("2036-01-01T00:00:00Z"),
    st.just(1 << 70),
    st.just("00" * 32),
)


def places(value, way=()):
    """The way to every value inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*way, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*way, key))


def put(document, way, value):
    for step in way[:-1]:
        document = document[step]
    document[way[-1]] = value


@settings(
    max_examples=250 * LONG,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_fuzz(bank, tmp_path, data):
    """Any one value of any file is replaced; the folder is believed as before, or refused."""
    folder, pinned = tmp_path / "fuzz", (bank[0] / "1.root.json").read_bytes()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bank[0], folder)
    name = data.draw(st.sampled_from(FILES[1:]))
    document = json.loads((folder / name).read_bytes())
    way = data.draw(st.sampled_from(list(places(document))))
    put(document, way, data.draw(VALUES))
    (folder / name).write_text(json.dumps(document))
    genuine = refresh_once(bank[0], pinned)
    try:
        found = refresh_once(folder, pinned)
    except (IntegrityError, TargetError):
        return
    assert found.releases == genuine.releases
    assert found.metadata.expiries() == genuine.metadata.expiries()


@settings(max_examples=300 * LONG, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["root", "ci", "timestamp", "snapshot", "targets"]))
def test_fuzz_bytes(data, role):
    with pytest.raises(RepackError):
        model.parse_metadata(data, role, "x")


@settings(
    max_examples=150 * LONG,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_fuzz_the_signing_side(bank, data):
    """The builder reads the last metadata too, and never signs on top of a forged one."""
    files = read_folder(bank[0])
    name = data.draw(st.sampled_from(FILES))
    document = json.loads(files[name])
    way = data.draw(st.sampled_from(list(places(document["signed"]))))
    before = json.dumps(document["signed"], sort_keys=True)
    put(document["signed"], way, data.draw(VALUES))
    files[name] = json.dumps(document).encode()
    try:
        MetadataSet.load(files, "halkbank", "x")
    except (IntegrityError, TargetError):
        return
    assert json.dumps(document["signed"], sort_keys=True) == before
