"""The receipt of a target: what it says of itself, signed by its own key."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from repack.agent import environment
from repack.agent.status import status
from repack.conda.rattler import detect_virtual_packages
from repack.errors import PlaceError, RepackError
from repack.fs import atomic, beneath, volume
from repack.fs.ownership import check_own_file, make_own_folder
from repack.prefix import link_by_conda
from repack.receipt.device_key import new_private_key, public_half
from repack.receipt.receipt import Receipt, sign_receipt
from repack.timestamps import stamp
from repack.trust.client import seen_versions

if TYPE_CHECKING:
    from pathlib import Path

    from repack.agent.context import AgentContext
    from repack.agent.status import Status
    from repack.names import Digest

_KEY_LIMIT: Final = 1 << 14
_NUMBER_LIMIT: Final = 32
_MANIFEST_LIMIT: Final = 64 << 20
_SHOWN: Final = 20
_LAST: Final = 20


def make_receipt(context: AgentContext, fingerprint: str) -> tuple[Receipt, bytes]:
    """The receipt of this target, and its file.

    Args:
        fingerprint: of this device.

    Raises:
        PlaceError: the device's key cannot be read or written.
        KeyRefusedError: it is damaged.
        BusyError: an agent works here.
    """
    with context.storage.exclusive():
        folder = context.storage.receipts
        make_own_folder(folder, 0o700)
        private = _private_key(folder / "device.pem")
        seen = status(context)
        changed = _changed(context, seen)
        receipt = Receipt(
            number=_next_number(folder / "number"),
            when=stamp(context.clock()),
            label=context.label,
            platform=context.platform,
            fingerprint=fingerprint,
            key=public_half(private, folder / "device.pem"),
            phase=seen.state.phase,
            health="good" if seen.in_use in seen.state.good else "unknown",
            release=seen.in_use,
            manifest=_manifest(context, seen),
            rolled_back=seen.state.failed[-_LAST:],
            changed=tuple(changed[:_SHOWN]) if changed else (),
            changed_count=None if changed is None else len(changed),
            virtual_packages=detect_virtual_packages(),
            conda=_conda_version(context),
            free=volume.free_bytes(context.storage.folder),
            metadata=seen_versions(context.storage.trust),
        )
        return receipt, sign_receipt(receipt, private)


def _private_key(path: Path) -> bytes:
    """The device's key, made once; only its owner can read it."""
    if not check_own_file(path, "key of this device"):
        atomic.write(path, new_private_key(), 0o600)
    return atomic.read(path, _KEY_LIMIT)


def _next_number(path: Path) -> int:
    """A number that no receipt had; it is on the disk before the receipt is."""
    number = 0
    if check_own_file(path, "number of the last receipt"):
        text = atomic.read(path, _NUMBER_LIMIT).decode("ascii", "replace").strip()
        if not text.isdecimal():
            raise PlaceError("the number of the last receipt is damaged", where=path, got=text)
        number = int(text)
    atomic.write(path, f"{number + 1}\n".encode(), 0o600)
    return number + 1


def _changed(context: AgentContext, seen: Status) -> list[str] | None:
    """Files of the release in use that were changed by hand; None where they cannot be compared."""
    if seen.in_use is None:
        return []
    prefix = context.storage.prefix(seen.in_use)
    try:
        plan = context.storage.install_plan(seen.in_use)
        return environment.compare_packages(prefix, plan) + environment.compare_files(prefix)
    except RepackError:
        return None


def _manifest(context: AgentContext, seen: Status) -> Digest | None:
    """The SHA-256 of the installed release's manifest."""
    from repack.names import Digest

    if seen.in_use is None:
        return None
    path = context.storage.prefix(seen.in_use) / "share/repack" / context.label / "manifest.json"
    if not beneath.is_file(path):
        return None
    return Digest(hashlib.sha256(atomic.read(path, _MANIFEST_LIMIT)).hexdigest())


def _conda_version(context: AgentContext) -> str | None:
    """The version in ``conda-meta`` of the conda that this machine has; nothing is started."""
    program = link_by_conda.find(context.environment)
    if program is None:
        return None
    for prefix in program.resolve().parents[:3]:
        for entry in sorted(
            beneath.scan_if_there(prefix / "conda-meta"), key=lambda entry: entry.name
        ):
            parts = entry.name.removesuffix(".json").rsplit("-", 2)
            if entry.name.endswith(".json") and parts[0] == "conda" and len(parts) > 1:
                return parts[1]
    return None
