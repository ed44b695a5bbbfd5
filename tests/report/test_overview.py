"""What metadata says of a release, for the overview: lenient, for nothing is decided by it."""

from __future__ import annotations

import datetime as dt
import json

from repack.channel.manifest import Manifest
from repack.report.overview import SignatureSummary, days, signed_by, until

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
FOUND = Manifest(id="bank", version="2", platform="noarch", artifacts=())


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
    found = signed_by(files, FOUND)
    assert found == SignatureSummary(("ci", "production: wave-1 wave-2"), "2026-12-01T00:00:00Z")
    assert until(found.expires, NOW) == 11


def test_other_releases_and_damage_count_for_nothing():
    files = {
        "ci.json": metadata(targets=targets(1)),
        "production.json": b"{",
        "targets.json": b'{"signed": 5}',
        "snapshot.json": metadata(expires=7),
        "SHA256SUMS": b"\xff",
    }
    assert signed_by(files, FOUND) == SignatureSummary()


def test_days():
    assert days("2026-11-01T12:00:00Z", NOW) == 18
    assert days("2027-01-01T00:00:00Z", NOW) == 0
    assert until("2026-11-19T00:00:00Z", NOW) == -1
    assert days(None, NOW) is until("rubbish", NOW) is None
