from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from repack.errors import BusyError, LicenseError, PlaceError, SpaceError, UsageError
from repack.fs import atomic
from repack.keys.shared_key import SharedKey
from repack.license import encryption, operations, recover
from repack.license.fingerprint import Factors, FingerprintDocument
from repack.license.license import License
from repack.license.recover import RecoveryJob, reports_in
from repack.license.recovery_report import report_faults
from repack.license.store import LicenseStore
from tests import forking
from tests.license.test_store import version_2
from tests.licensing import (
    FACTORS,
    KEY,
    NEW,
    NOW,
    OLD,
    OTHER_KEY,
    asking,
    fields,
    killed_at,
    license_of,
)


@pytest.fixture(autouse=True)
def _cheap_guesses(monkeypatch):
    monkeypatch.setattr(encryption, "_N", 1 << 4)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "secrets" / "license_store.json"


@pytest.fixture
def filled(store):
    operations.install(asking(store), license_of())
    return store


def statuses(finding):
    return {verdict.license_id: verdict.status for verdict in finding.verdicts}


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "lock" not in p.name}


def test_installing_makes_the_store_and_verifying_is_right(store):
    finding = operations.install(asking(store), license_of())
    assert statuses(finding) == {"LIC-1": "valid"}
    assert operations.verify(asking(store), license_of()).is_right
    assert operations.verify(asking(store), None).is_right


@pytest.mark.parametrize(
    ("changes", "how", "issue"),
    [
        ({"fingerprints": ["X"]}, {}, "fingerprint-mismatch"),
        ({"not_after": "2026-02-01"}, {}, "expired"),
        ({}, {"label": "other"}, "label-mismatch"),
        ({}, {"key": OTHER_KEY}, "bad-signature"),
    ],
)
def test_a_wrong_licence_is_not_installed(filled, changes, how, issue):
    before = content(filled.parent)
    with pytest.raises(LicenseError, match=issue):
        operations.install(asking(filled, **how), license_of(license_id="L2", **changes))
    assert content(filled.parent) == before


def test_a_licence_of_tomorrow_can_be_installed_today(filled):
    finding = operations.install(
        asking(filled), license_of(license_id="L2", not_before="2027-01-01")
    )
    assert statuses(finding) == {"LIC-1": "valid", "L2": "not-yet"}


def test_a_licence_that_is_not_there_is_missing(filled):
    finding = operations.verify(asking(filled), license_of(license_id="L2"))
    assert statuses(finding) == {"L2": "missing-in-store"}
    assert not finding.is_right
    changed = operations.verify(asking(filled), license_of(customer="Another"))
    assert "another-of-this-id-in-store" in changed.verdicts[0].issues
    assert not changed.is_right


def test_a_revoked_licence_stays_revoked(filled):
    finding = operations.revoke(asking(filled), "LIC-1", "sold")
    assert statuses(finding) == {"LIC-1": "revoked"}
    with pytest.raises(LicenseError, match="revoked"):
        operations.install(asking(filled), license_of())
    with pytest.raises(UsageError, match="LIC-1"):
        operations.revoke(asking(filled), "LIC-2", "")


def test_an_empty_store_is_not_right(filled):
    asked = asking(filled.with_name("empty.json"))
    with asked.store.lock():
        asked.store.save(asked.store.new(OLD))
    assert not operations.verify(asked, None).is_right


def test_a_clock_set_back_is_seen_and_gains_nothing(filled):
    later = NOW + timedelta(days=500)
    operations.install(
        asking(filled, now=later), license_of(license_id="L9", not_after="2029-01-01")
    )
    finding = operations.verify(asking(filled), None)
    assert not finding.is_right
    assert "clock-set-back" in finding.issues[0]
    assert statuses(finding) == {"LIC-1": "expired", "L9": "valid"}


def test_a_clock_that_is_a_time_zone_off_is_no_matter(filled):
    assert operations.verify(asking(filled, now=NOW - timedelta(hours=14)), None).is_right


def _writes_nothing(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_looking_never_writes(filled):
    before = _writes_nothing(filled.parent)
    for days in (0, 30, 20_000):
        operations.verify(asking(filled, now=NOW + timedelta(days=days)), None)
        operations.store_status(asking(filled, now=NOW + timedelta(days=days)))
    assert _writes_nothing(filled.parent) == before


def test_a_change_remembers_the_time(filled):
    later = NOW + timedelta(days=30)
    operations.install(asking(filled, now=later), license_of(license_id="L9"))
    assert asking(filled).store.open(OLD).ledger.highest == later
    assert "clock-set-back" in operations.store_status(asking(filled)).issues[0]


def test_an_old_store_put_back_is_seen(filled):
    operations.revoke(asking(filled), "LIC-1", "")
    filled.write_bytes(filled.with_name(f"{filled.name}.1").read_bytes())
    finding = operations.verify(asking(filled), None)
    assert "store-put-back" in finding.issues[0]
    assert not finding.is_right


def _old_store(store, **rows):
    store.parent.mkdir()
    store.write_text(version_2(OLD.text, json.loads(json.dumps({"licenses": rows}))))
    return store.read_bytes()


def test_version_2_is_written_anew_by_the_first_change_and_a_copy_is_kept(store):
    old = _old_store(store, **{"LIC-1": {"status": "provisioned", "license": license_of().raw}})
    before = _writes_nothing(store.parent)
    finding = operations.store_status(asking(store))
    assert statuses(finding) == {"LIC-1": "valid"}
    assert finding.opened.migrated
    assert "old, weak format" in finding.notes[0]
    assert operations.verify(asking(store), license_of()).is_right
    assert _writes_nothing(store.parent) == before
    changed = operations.install(asking(store), license_of(license_id="L9"))
    assert statuses(changed) == {"L9": "valid", "LIC-1": "valid"}
    assert json.loads(store.read_bytes())["version"] == encryption.VERSION
    copy = store.with_name(f"{store.name}.version-2")
    assert copy.read_bytes() == old
    assert copy.stat().st_mode & 0o777 == 0o600
    assert statuses(operations.store_status(asking(copy))) == {"LIC-1": "valid"}


def test_a_second_old_store_does_not_replace_the_first_copy(store):
    old = _old_store(store, **{"LIC-1": {"license": license_of().raw}})
    operations.revoke(asking(store), "LIC-1", "")
    other = version_2(
        OLD.text, json.loads(json.dumps({"licenses": {"L9": license_of(license_id="L9").raw}}))
    )
    store.write_text(other)
    operations.revoke(asking(store), "L9", "")
    assert store.with_name(f"{store.name}.version-2").read_bytes() == old
    assert store.with_name(f"{store.name}.version-2.2").read_text() == other


@pytest.mark.parametrize("text", [False, True])
def test_licences_of_the_older_tool_verify(filled, text):
    raw = dict(license_of(license_id="L9").raw)
    signature = raw.pop("signature")
    old = {"payload": raw, "signature": signature["value"] if text else signature}
    data = json.dumps(old).encode()
    license_ = License.parse(data, "old.json")
    assert operations.install(asking(filled), license_).is_right
    assert operations.verify(asking(filled), license_).is_right
    forged = json.dumps({**old, "payload": {**raw, "not_after": "2199-12-31"}}).encode()
    verdict = operations.verify(asking(filled), License.parse(forged, "old.json")).verdicts[0]
    assert verdict.status == "bad-signature"


@pytest.mark.parametrize("payload", [{}, {"license_id": "OLD-7", "expires": "2030-01-01"}])
def test_what_replaces_a_licence_of_the_older_tool_is_said(payload):
    with pytest.raises(LicenseError) as error:
        License.parse(json.dumps({"payload": payload, "signature": "x"}).encode(), "old.json")
    assert "older tool" in error.value.what
    assert "repack license issue" in error.value.hint


def test_an_old_store_says_what_replaces_its_licences(store):
    _old_store(store, A={"payload": {"expires": "2030-01-01"}, "signature": "x"})
    finding = operations.store_status(asking(store))
    assert statuses(finding) == {"A": "bad-signature"}
    assert "repack license issue" in finding.verdicts[0].issues[-1]


# --- recovery -------------------------------------------------------------------------------------


def job(store, name="recovery-1.json", old=OLD, new=NEW, key=KEY, **changes):
    report = store.parent.parent / "var" / "reports" / "licensing" / name
    known = FingerprintDocument(old.text, {}, {}, {})
    made = RecoveryJob(asking(store, device=new, key=key), known, LicenseStore(store), report, {})
    return replace(made, **changes)


def test_recovery_moves_store_and_licences(filled):
    done = recover.recover(job(filled))
    assert statuses(done.status) == {"LIC-1": "valid"}
    assert operations.verify(asking(filled, NEW), license_of()).is_right
    with pytest.raises(LicenseError):
        operations.store_status(asking(filled))
    backup = LicenseStore(filled.with_name(f"{filled.name}.1"))
    assert str(backup.path) == done.report["backup"]
    assert sorted(backup.open(OLD).ledger.licenses) == ["LIC-1"]


def test_recovery_without_the_vendors_key_opens_the_store_but_moves_no_licence(filled):
    """Else whoever copies a store and reads the licence beside it could run it anywhere."""
    done = recover.recover(job(filled, key=None))
    assert done.report["signature"]["key_id"].startswith("store:")
    for key in (KEY, None):
        finding = operations.store_status(asking(filled, NEW, key=key))
        assert statuses(finding) == {"LIC-1": "fingerprint-mismatch"}
    own = asking(filled, NEW).store.open(NEW).ledger.key
    assert report_faults(reports_in(job(filled).report.parent), [own]) == []


def test_recovery_says_which_factors_changed(filled):
    here = Factors.of(FACTORS, {})
    there = Factors.of({**FACTORS, "product_uuid": "4c4c4544-ffff", "board_serial": "/9"}, {})
    store = filled.with_name("real.json")
    operations.install(asking(store, here), license_of(fingerprints=[here.fingerprint()]))
    known = FingerprintDocument.of(here, "2026-11-21T12:00:00Z")
    done = recover.recover(replace(job(store, new=there), old=known, tags=there.tags))
    assert done.report["changed_factors"] == ["board_serial", "product_uuid"]
    assert statuses(done.status) == {"LIC-1": "valid"}


def test_recovery_to_another_file_leaves_the_source(filled, tmp_path):
    before = content(filled.parent)
    output = LicenseStore(tmp_path / "new" / "store.json")
    done = recover.recover(job(filled, output=output))
    assert content(filled.parent) == before
    assert output.open(NEW).ledger.recoveries == (done.report,)


def test_recovery_of_a_version_2_store_keeps_a_generation(store):
    store.parent.mkdir()
    store.write_text(
        version_2(OLD.text, {"licenses": {"LIC-1": json.loads(json.dumps(license_of().raw))}})
    )
    done = recover.recover(job(store))
    assert statuses(done.status) == {"LIC-1": "valid"}
    assert sorted(LicenseStore(store.with_name(f"{store.name}.1")).open(OLD).ledger.licenses) == [
        "LIC-1"
    ]


def test_a_store_that_was_put_back_is_recovered_and_the_reason_is_noted(filled):
    copy = filled.with_name(f"{filled.name}.preupdate")
    copy.write_bytes(filled.read_bytes())
    operations.install(asking(filled), license_of(license_id="L9"))
    filled.write_bytes(copy.read_bytes())
    assert "store-put-back" in operations.store_status(asking(filled)).issues[0]
    done = recover.recover(job(filled, old=OLD, new=OLD))
    assert done.report["reason"].startswith("store-put-back: ")
    assert done.report["generation"] == 1
    finding = operations.verify(asking(filled), None)
    assert finding.is_right
    assert finding.opened.generation > 2
    assert report_faults(reports_in(job(filled).report.parent), [KEY], ()) == []
    # once it is right, there is nothing to recover any more
    with pytest.raises(UsageError):
        recover.recover(job(filled, "again.json", old=OLD, new=OLD))


def test_a_copy_from_before_the_update_is_recovered_to_new_hardware(filled):
    copy = filled.with_name(f"{filled.name}.preupdate")
    copy.write_bytes(filled.read_bytes())
    operations.install(asking(filled), license_of(license_id="L9"))
    done = recover.recover(job(copy, output=LicenseStore(filled)))
    assert (
        "license_store.json.preupdate" in done.report["reason"]
        or copy.name in done.report["reason"]
    )
    assert done.report["reason"].endswith("other-hardware")
    assert statuses(done.status) == {"LIC-1": "valid"}
    assert done.status.issues == ()


def test_reports_are_chained(filled):
    third = OLD.__class__(OLD.text.__class__("OEM-THIRD"))
    recover.recover(job(filled))
    recover.recover(job(filled, "recovery-2.json", old=NEW, new=third))
    folder = job(filled).report.parent
    reports = reports_in(folder)
    copies = asking(filled).store.open(third).ledger.recoveries
    assert [r.sequence for r in reports] == [1, 2]
    assert reports[1].document["previous"]["sha384"] == reports[0].sha384
    assert report_faults(reports, [KEY], copies) == []
    assert report_faults(reports, [OTHER_KEY])
    assert report_faults(reports[:1], [KEY], copies)
    assert report_faults(reports[1:], [KEY])


def test_any_forged_field_of_a_report_is_found(filled):
    recover.recover(job(filled))
    path = job(filled).report
    document = json.loads(path.read_bytes())
    for name in [*document, "added"]:
        path.write_text(json.dumps({**document, name: "forged"}))
        found = reports_in(path.parent)
        copies = asking(filled).store.open(NEW).ledger.recoveries
        assert report_faults(found, [KEY], copies), name
    path.write_text("{")
    assert report_faults(reports_in(path.parent), [KEY], copies)


@pytest.mark.parametrize(
    "case", ["wrong-old", "same", "report-exists", "symlink", "busy", "no-store"]
)
def test_a_recovery_that_cannot_be_leaves_everything(filled, tmp_path, case):
    wanted = job(filled)
    if case == "wrong-old":
        wanted = job(filled, old=replace(OLD, text=OLD.text.__class__("OTHER")))
    elif case == "same":
        wanted = job(filled, new=OLD)
    elif case == "report-exists":
        atomic.write(wanted.report, b"{}")
    elif case == "symlink":
        (tmp_path / "link").symlink_to(filled.parent)
        wanted = replace(wanted, output=LicenseStore(tmp_path / "link" / filled.name))
    elif case == "no-store":
        wanted = job(filled.with_name("none.json"))
    before = content(tmp_path)
    if case == "busy":
        with LicenseStore(filled).lock(), pytest.raises(BusyError):
            recover.recover(wanted)
    else:
        with pytest.raises((LicenseError, PlaceError, UsageError)):
            recover.recover(wanted)
    assert content(tmp_path) == before


def test_a_second_recovery_of_the_same_says_so(filled):
    recover.recover(job(filled))
    with pytest.raises(UsageError, match="recovered already"):
        recover.recover(job(filled, "recovery-2.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("limit", [100, 900])
def test_a_disk_that_fills_up_while_recovering_changes_nothing(filled, tmp_path, limit):
    before = content(tmp_path)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(SpaceError):
            recover.recover(job(filled))

    assert forking.run(work) == 0
    assert content(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_recovery_killed_at_any_instant_can_be_finished(store, tmp_path):
    instant, alive, resumed = 0, True, 0
    while alive:
        instant += 1
        here = tmp_path / str(instant) / "secrets" / store.name
        operations.install(asking(here), license_of())
        alive = killed_at(instant, lambda: recover.recover(job(here)))  # noqa: B023
        if alive:
            with_old = here_opens(here, OLD)
            assert with_old != here_opens(here, NEW)
            resumed += recover.recover(job(here)).resumed
        assert operations.verify(asking(here, NEW), license_of()).is_right
        copies = asking(here).store.open(NEW).ledger.recoveries
        assert report_faults(reports_in(job(here).report.parent), [KEY], copies) == []
    assert instant > 12
    assert resumed >= 1


def here_opens(store, device):
    try:
        LicenseStore(store).open(device)
    except LicenseError:
        return False
    return True


def test_the_stores_key_is_not_the_vendors():
    made = LicenseStore(Path("x")).new(OLD).ledger
    assert made.key.key_id.startswith("store:")
    assert made.key != SharedKey(made.key.key_id, bytes(32))
    assert "licenses" in made.to_json()
    assert fields()["license_id"] not in repr(made)
