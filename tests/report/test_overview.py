"""How the overview counts days, and who vouches for a label."""

from __future__ import annotations

import datetime as dt

from repack.report.overview import LabelState, days, until
from repack.trust.summary import MetadataSummary

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def test_roles_and_tags_of_the_published_release():
    signed = MetadataSummary(tags={"ci": {2: ()}, "production": {2: ("wave-1", "wave-2"), 1: ()}})
    state = LabelState("bank", release=2, signed=signed)
    assert state.trust == "ci, production: wave-1 wave-2"
    assert state.to_json(NOW)["signed_for"] == ["ci", "production: wave-1 wave-2"]
    assert LabelState("bank", release=3, signed=signed, hmac=True).trust == "shared key"


def test_days():
    assert days("2026-11-01T12:00:00Z", NOW) == 18
    assert days("2027-01-01T00:00:00Z", NOW) == 0
    assert until("2026-11-19T00:00:00Z", NOW) == -1
    assert days(None, NOW) is until("rubbish", NOW) is None
