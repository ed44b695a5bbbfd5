"""What the tests about licences share: devices, keys, licences, killed processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime

from repack.keys.shared_key import SharedKey
from repack.keys.signed_json import sign_json
from repack.license.fingerprint import Fingerprint, GivenFingerprint
from repack.license.license import License
from repack.license.operations import LicenseQuery
from repack.license.store import LicenseStore
from tests import forking

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = SharedKey("oem", bytes(range(48)))
OTHER_KEY = SharedKey("oem", bytes(48))
OLD = GivenFingerprint(Fingerprint("OEM-OLD-9999"))
NEW = GivenFingerprint(Fingerprint("OEM-DEVICE-1234"))
FACTORS = {
    "product_uuid": "4c4c4544-0051-3910-8052-b4c04f4a4d31",
    "board_serial": "/7CQJM13/CN7016358",
    "machine_id": "3d1219c7c4c5404aaa1f6d2a48adfda4",
}
# What a new network card, disk or kernel looks like
CHANGING = {
    "hostname": "site-7",
    "kernel": "6.1.0-18-amd64",
    "mac": "02:42:ac:11:00:02",
    "disk_serial": "S4EWNX0N",
}


def fields(**changes):
    return {
        "license_id": "LIC-1",
        "customer": "HalkBank",
        "label": "halkbank",
        "features": ["risk", "models"],
        "fingerprints": [str(OLD.text)],
        "not_before": "2026-01-01",
        "not_after": "2027-12-31",
        **changes,
    }


def license_of(key=KEY, **changes):
    return License.of(sign_json(fields(**changes), key))


def asking(path, device=OLD, now=NOW, key=KEY, label=None):
    return LicenseQuery(LicenseStore(path), device, now, key, label)


def write_factors(path, **changes):
    values = {**FACTORS, **CHANGING, **changes}
    path.write_text(json.dumps({name: text for name, text in values.items() if text}))
    return path


_KILLING = {"open", "os.rename", "os.link", "os.remove", "os.chmod", "os.mkdir"}


def strike_at(instant):
    """Kill this process at its n-th touch of the disk from now on."""
    count = 0

    def strike(event, _arguments):
        nonlocal count
        if event in _KILLING:
            count += 1
            if count == instant:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(strike)


def killed_at(instant, work):
    """Run ``work`` in a child that is killed at its n-th touch of the disk.

    Returns True when the child was killed, False when it ended before.
    """

    def struck():
        strike_at(instant)
        work()

    code = forking.run(struck)
    assert code in {0, -signal.SIGKILL}, f"the work failed by itself at {instant}"
    return code != 0
