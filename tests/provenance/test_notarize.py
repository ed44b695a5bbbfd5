from __future__ import annotations

import base64
import hashlib
import json
import sys
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from repack.errors import BusyError, IntegrityError, KeyRefusedError, RepackError
from repack.fs import digests, locks
from repack.provenance import statement as notary
from repack.provenance.notarize import LOG, Notary, check, describe, notarize
from tests.licensing import NOW, killed_at
from tests.small_channel import channel_at

SIGNER = CryptoSigner.generate_ed25519()
STRANGER = CryptoSigner.generate_ed25519()
KNOWN = [SIGNER.public_key]


@pytest.fixture
def channel(tmp_path):
    return channel_at(tmp_path / "channels" / "halkbank")


@pytest.fixture
def office(tmp_path):
    return Notary(tmp_path / "notary", "urn:test", {"repack": "1"}, [SIGNER], KNOWN, "test keys")


@pytest.fixture
def three(channel, office):
    for release in (1, 2, 3):
        channel_at(channel, release, f"pytho {release}".encode())
        notarize(channel, office, NOW + timedelta(days=release))
    return office.folder


def statement(path):
    return json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))


def test_the_statement_says_who_made_what_from_what(channel, office):
    done = notarize(channel, office, NOW)
    said = statement(done.envelope)
    assert (said["_type"], said["predicateType"]) == (notary.STATEMENT, notary.PREDICATE)
    named = {row["name"]: row["digest"]["sha256"] for row in said["subject"]}
    for path in ("repack/manifest.json", "repack/integrity.json", "noarch/pytho-1.0-0.conda"):
        assert named[path] == digests.digest(channel / path)[0]
    definition = said["predicate"]["buildDefinition"]
    uris = [row["uri"] for row in definition["resolvedDependencies"]]
    assert "https://conda.example.org/prometeia/noarch/pytho-1.0-0.conda" in uris
    assert any("halkbank-models" in uri for uri in uris)
    assert definition["externalParameters"]["channels"] == ["https://conda.example.org/prometeia"]
    assert said["predicate"]["runDetails"]["builder"]["version"] == {"repack": "1"}
    for path in office.folder.iterdir():
        assert b"SECRET" not in path.read_bytes()


def test_reports_keep_their_bytes():
    """A folder of earlier reports is checked by composing them anew."""
    key = CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    release = notary.ReleaseSubject(
        notary.ExternalParameters("bank", 7, ("noarch", "linux-64"), ("https://c.example.org",)),
        {"repack/manifest.json": "ab", "noarch/x.conda": "cd"},
        "ab",
        (notary.ResourceDescriptor("x.conda", notary.DigestSet("cd"), "https://c.example.org/x"),),
        "2026-11-20T12:00:00Z",
    )
    builder = notary.Builder("urn:test", {"repack": "1", "python": "3"})
    run = notary.BuildRun(builder, "2026-11-21T12:00:00Z", "keys", notary.LogPlace.after([b"{}"]))
    data = notary.sign_envelope(notary.build_statement(release, run), [key])
    verified = notary.verify_envelope(data, [key.public_key], "x")
    texts = (data, verified.report, verified.log_entry)
    assert [hashlib.sha256(text).hexdigest()[:16] for text in texts] == [
        "51f63d957d1a8ac9",
        "80f6eb5bd977be06",
        "1c6f710d3f8c8c39",
    ]


def test_all_is_in_order_after_three_releases(three, channel):
    found = check(three, KNOWN, channel)
    assert (found.entries, found.faults, found.release) == (3, (), "halkbank-3")


def test_the_same_release_is_notarised_once(channel, office):
    first = notarize(channel, office, NOW)
    before = {path: path.read_bytes() for path in office.folder.iterdir()}
    again = notarize(channel, office, NOW + timedelta(days=1))
    assert (first.changed, again.changed, again.sequence) == (True, False, 1)
    assert {path: path.read_bytes() for path in office.folder.iterdir()} == before


def test_a_release_that_was_not_notarised_is_named(three, channel):
    channel_at(channel, 4)
    assert "not notarised" in check(three, KNOWN, channel).faults[0]


@pytest.mark.parametrize("path", ["noarch/pytho-1.0-0.conda", "noarch/repodata.json"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_channel_that_was_touched_is_found(three, channel, path, how):
    if how == "changed":
        (channel / path).write_bytes(b"x")
    else:
        (channel / path).unlink()
    assert check(three, KNOWN, channel).faults == (f"{path}: {how}",)
    with pytest.raises(IntegrityError, match=path):
        describe(channel)


def test_an_added_file_is_found_and_litter_is_not(three, channel):
    (channel / "noarch" / "evil.conda").write_text("x")
    (channel / "noarch" / "._evil.conda").write_text("x")
    assert check(three, KNOWN, channel).faults == ("noarch/evil.conda: not listed",)


def fields_of(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from fields_of(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from fields_of(inner, (*path, place))
    else:
        yield path


def forge(document, path):
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = 77 if isinstance(document[path[-1]], int) else "forged"


def test_any_forged_field_of_the_statement_is_found(three):
    path = three / "halkbank-3.intoto.json"
    envelope, whole = json.loads(path.read_bytes()), statement(path)
    for place in fields_of(whole):
        said = json.loads(json.dumps(whole))
        forge(said, place)
        payload = base64.b64encode(json.dumps(said).encode()).decode()
        path.write_text(json.dumps({**envelope, "payload": payload}))
        assert check(three, KNOWN, None).faults, place


@pytest.mark.parametrize("name", ["halkbank-2.json", "halkbank-3.json", LOG])
def test_any_forged_field_of_report_and_log_is_found(three, name):
    path = three / name
    lines = path.read_text().splitlines() if name == LOG else [path.read_text()]
    for number, line in enumerate(lines):
        for place in fields_of(json.loads(line)):
            document = json.loads(line)
            forge(document, place)
            forged = json.dumps(document, sort_keys=True, separators=(",", ":"))
            path.write_text("\n".join([*lines[:number], forged, *lines[number + 1 :]]) + "\n")
            assert check(three, KNOWN, None).faults, (number, place)


@pytest.mark.parametrize("drop", [0, 1, 2])
def test_a_dropped_entry_is_found(three, drop):
    lines = (three / LOG).read_bytes().splitlines(keepends=True)
    (three / LOG).write_bytes(b"".join(lines[:drop] + lines[drop + 1 :]))
    assert check(three, KNOWN, None).faults


def test_a_log_cut_off_is_found_and_not_written_on(three, channel, office):
    (three / LOG).write_bytes((three / LOG).read_bytes()[:-5])
    assert "cut off" in check(three, KNOWN, None).faults[0]
    channel_at(channel, 4)
    with pytest.raises(IntegrityError, match="cut off"):
        notarize(channel, office, NOW)


@pytest.mark.parametrize("name", ["halkbank-1.intoto.json", "halkbank-1.json", LOG])
def test_missing_papers_are_found(three, name):
    (three / name).unlink()
    assert check(three, KNOWN, None).faults


def test_a_rewritten_history_needs_the_key(three, channel, office):
    """Whoever makes all papers anew, with a key of his own, is found by the pinned one."""
    for path in three.iterdir():
        path.unlink()
    stranger = Notary(three, "urn:x", {}, [STRANGER], [STRANGER.public_key], "his")
    notarize(channel, stranger, NOW)
    assert check(three, [STRANGER.public_key], None).faults == ()
    assert "not signed by a key that was given" in check(three, KNOWN, None).faults[0]
    with pytest.raises(KeyRefusedError):
        notary.verify_envelope((three / "halkbank-3.intoto.json").read_bytes(), [], "x")


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"payload": "", "payloadType": "x", "signatures": []}',
     '{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [1]}',
     '{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": []}'],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(text):
    with pytest.raises(RepackError):
        notary.verify_envelope(text.encode(), KNOWN, "x")


@pytest.mark.parametrize("said", [{}, [], {"_type": notary.STATEMENT}, "x"])
def test_a_signed_envelope_about_something_else_is_refused(said):
    with pytest.raises(IntegrityError):
        notary.verify_envelope(notary.sign_envelope(said, [SIGNER]), KNOWN, "x")


def test_a_statement_that_is_not_about_its_manifest_is_refused(channel, office):
    said = statement(notarize(channel, office, NOW).envelope)
    said["predicateType"] = "https://slsa.dev/provenance/v0.2"
    with pytest.raises(IntegrityError, match="not a statement about a release"):
        notary.verify_envelope(notary.sign_envelope(said, [SIGNER]), KNOWN, "x")


def test_a_channel_without_a_lock_or_integrity_list(channel, office):
    (channel / "repack/lock.yml").unlink()
    with pytest.raises(IntegrityError, match=r"lock\.yml: missing"):
        notarize(channel, office, NOW)
    path = channel / "repack/manifest.json"
    document = json.loads(path.read_bytes())
    del document["integrity_manifest"]
    path.write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="no integrity list"):
        notarize(channel, office, NOW)


@pytest.mark.parametrize("line", ["[]", '{"envelope": "../x"}', '{"envelope": 4}', "{"])
def test_a_log_line_that_makes_no_sense_is_named(three, line):
    (three / LOG).write_bytes((three / LOG).read_bytes() + line.encode() + b"\n")
    assert any(fault.startswith("entry 4") for fault in check(three, KNOWN, None).faults)


def test_two_notaries_exclude_each_other(channel, office):
    with locks.exclusive(office.folder / ".log.lock", "x"), pytest.raises(BusyError):
        notarize(channel, office, NOW)


def test_an_empty_folder_is_not_in_order(tmp_path):
    assert check(tmp_path, KNOWN, None).faults == ("the log is empty",)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_kill_at_any_instant_is_made_good_by_the_next_call(three, channel, office):
    channel_at(channel, 4)
    instant, alive = 0, True
    whole = (three / LOG).read_bytes()
    while alive:
        instant += 6
        alive = killed_at(instant, lambda: notarize(channel, office, NOW))
        log = (three / LOG).read_bytes()
        assert log.startswith(whole)
        if alive and log == whole and instant % 4 == 0:
            notarize(channel, office, NOW)
            assert check(three, KNOWN, channel).faults == ()
            (three / LOG).write_bytes(whole)
    assert check(three, KNOWN, channel).faults == ()
