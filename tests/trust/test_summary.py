"""What metadata says of a release, for the overview: lenient, for nothing is decided by it."""

from __future__ import annotations

import json

from repack.trust.summary import summarize_metadata


def metadata(**signed):
    return json.dumps({"signed": signed}).encode()


def targets(release, *tags):
    return {"x": {"custom": {"release": release, "tags": list(tags)}}}


def test_roles_tags_and_the_first_expiry():
    files = {
        "1.root.json": metadata(version=1, **{"x-repack-development": True}),
        "2.root.json": metadata(version=2, expires="2030-01-01T00:00:00Z"),
        "ci.json": metadata(expires="2027-01-01T00:00:00Z", targets=targets(2)),
        "production.json": metadata(
            expires="2026-12-01T00:00:00Z", targets=targets(2, "wave-1", "wave-2")
        ),
    }
    summary = summarize_metadata(files)
    assert summary.signed_for(2) == {"ci": (), "production": ("wave-1", "wave-2")}
    assert list(summary.signed_for(2)) == ["ci", "production"]
    assert summary.expires == "2026-12-01T00:00:00Z"
    assert summary.expiries["root"] == "2030-01-01T00:00:00Z"
    assert not summary.development
    assert summarize_metadata({"1.root.json": files["1.root.json"]}).development


def test_other_releases_and_damage_count_for_nothing():
    files = {
        "ci.json": metadata(targets=targets(1)),
        "production.json": b"{",
        "targets.json": b'{"signed": 5}',
        "snapshot.json": metadata(expires=7),
        "SHA256SUMS": b"\xff",
    }
    summary = summarize_metadata(files)
    assert summary.signed_for(2) == {}
    assert (summary.expires, summary.expiries, summary.development) == (None, {}, False)


def test_members_of_other_types_count_for_nothing():
    odd = {"a": 5, "b": {"custom": []}, "c": {"custom": {"release": "2"}}}
    odd["d"] = {"custom": {"release": 2, "tags": [1, "wave-1"]}}
    files = {"ci.json": metadata(targets=odd), "1.root.json": metadata(version="1")}
    assert summarize_metadata(files).signed_for(2) == {"ci": ("wave-1",)}
    assert summarize_metadata({"ci.json": metadata(targets=[])}).tags["ci"] == {}
    assert summarize_metadata(
        {"ci.json": metadata(targets={"a": {"custom": {"release": 3, "tags": 5}}})}
    ).signed_for(3) == {"ci": ()}
