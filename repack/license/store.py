"""The licence store on disk: one encrypted file, and the generations before it.

``NAME.N`` beside the store is a copy of generation N; the newest of them is the store itself. A store
of the old format is rewritten by the first command that changes it; ``NAME.version-2`` is a copy of it.
Whoever has that copy can open it: it belongs on a safe medium, or is removed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.codec.canonical import canonical, loads
from repack.errors import IntegrityError, LicenseError, PlaceError
from repack.fs import atomic, beneath, links, locks
from repack.fs.links import refuse_symlinks
from repack.license.encryption import LIMIT, NONCE_BYTES, OLD_VERSION, SALT_BYTES, Envelope, Header
from repack.license.ledger import Ledger

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from repack.license.fingerprint import Device, Fingerprint

KEEP: Final = 6
_MODE: Final = 0o600
_REPORT_KEY_BYTES: Final = 32


class OpenStore(Struct, frozen=True):
    """A store that was opened, or a new one that was not written yet.

    Attributes:
        fingerprint: what it opened with.
        factors: the factors it is bound to; none when somebody gave the fingerprint as text.
        generation: of the file; 0 for a new store and for one of the old format.
        migrated: whether it was found in the old format.
        newer: the highest generation that lies beside it, if above its own: somebody put an older
            store back.
    """

    ledger: Ledger
    fingerprint: Fingerprint
    factors: tuple[str, ...]
    generation: int
    migrated: bool = False
    newer: int | None = None


class LicenseStore:
    """The licence store in the file ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether the file exists."""
        return self.path.exists()

    def lock(self) -> AbstractContextManager[object]:
        """Keep others from changing the store. Raises as :func:`repack.fs.atomic.exclusive`."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        refuse_symlinks(self.path, lock)
        return locks.exclusive(lock, "a change of this licence store")

    def new(self, device: Device) -> OpenStore:
        """An empty store for ``device``; nothing is written.

        Raises:
            FingerprintError: the device's fingerprint cannot be computed.
        """
        ledger = Ledger(os.urandom(_REPORT_KEY_BYTES))
        return OpenStore(ledger, device.fingerprint(), device.names, 0)

    def open(self, device: Device) -> OpenStore:
        """Open the store on ``device``.

        Raises:
            LicenseError: of another device, damaged or changed.
            FingerprintError: a factor the store is bound to cannot be read.
            PlaceError: there is no store, or it cannot be read.
        """
        envelope = Envelope.parse(self._read(), self.path)
        fingerprint = device.fingerprint(envelope.factors)
        raw = loads(envelope.open(fingerprint, self.path), self.path, LIMIT)
        if envelope.version == OLD_VERSION:
            ledger = Ledger.of_version_2(raw, os.urandom(_REPORT_KEY_BYTES), self.path)
            return OpenStore(ledger, fingerprint, device.names, 0, migrated=True)
        newer = self.newest_generation()
        return OpenStore(
            Ledger.of(raw, self.path),
            fingerprint,
            envelope.factors,
            envelope.generation,
            newer=newer if newer > envelope.generation else None,
        )

    def save(self, opened: OpenStore) -> OpenStore:
        """Write the store anew, keep the generation before, and check that the new one opens.

        The caller holds :meth:`lock`. A kill at any instant leaves the old store or the new one.

        Raises:
            SpaceError: the disk is full; the store is as it was.
            PlaceError: it cannot be written; the store is as it was.
            LicenseError: what was written does not open; the old store was restored.
        """
        refuse_symlinks(self.path)
        old = self._read() if self.exists() else None
        self.keep()
        # Above all in the folder: after an older store was put back, no number is used twice
        generation = max([opened.generation, *self._generations()]) + 1
        salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
        header = Header(opened.fingerprint, opened.factors, generation, salt, nonce)
        plain = canonical(opened.ledger.to_json())
        atomic.write(self.path, header.encrypt(plain), _MODE)
        try:
            self._check(opened.fingerprint, plain)
        except IntegrityError:
            if old is not None:
                atomic.write(self.path, old, _MODE)
            raise
        self.keep()  # so that it is seen when somebody puts an older one back
        self._prune()
        return replace(opened, generation=generation, migrated=False, newer=None)

    def keep(self) -> Path | None:
        """Keep the store as it is now under its generation's number; None when there is none.

        A store of the old format has no number and is kept as ``NAME.version-2``.

        Raises:
            PlaceError: the folder cannot be written.
            LicenseError: the file is no licence store, and must not be overwritten as one.
        """
        if not self.exists():
            return None
        data = self._read()
        envelope = Envelope.parse(data, self.path)
        if envelope.version == OLD_VERSION:
            return self._keep_old_format(data)
        target = self._generation_file(envelope.generation)
        refuse_symlinks(target)
        links.place(self.path, target)
        return target

    def _keep_old_format(self, data: bytes) -> Path:
        for number in itertools.count(1):
            ending = "" if number == 1 else f".{number}"
            target = self.path.with_name(f"{self.path.name}.version-{OLD_VERSION}{ending}")
            refuse_symlinks(target)
            if not target.exists():
                atomic.write(target, data, _MODE)
                return target
            if atomic.read(target, LIMIT) == data:
                return target
        raise AssertionError("there are numbers enough")

    def newest_generation(self) -> int:
        """The highest generation that lies beside the store; 0 without any.

        Raises:
            PlaceError: the folder cannot be read.
        """
        return max(self._generations(), default=0)

    def _read(self) -> bytes:
        try:
            return atomic.read(self.path, LIMIT)
        except PlaceError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                error.hint = "repack license install makes one"
            raise

    def _check(self, fingerprint: Fingerprint, plain: bytes) -> None:
        if Envelope.parse(self._read(), self.path).open(fingerprint, self.path) != plain:
            raise LicenseError("the store does not read as it was written", where=self.path)

    def _generation_file(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _generations(self) -> list[int]:
        pattern = re.compile(re.escape(self.path.name) + r"\.(\d{1,12})")
        with atomic.os_errors_at(self.path.parent):
            inner = beneath.scan_if_there(self.path.parent)
        names = [pattern.fullmatch(entry.name) for entry in inner]
        return sorted(int(match[1]) for match in names if match)

    def _prune(self) -> None:
        for number in self._generations()[:-KEEP]:
            # One generation too many is no reason to fail once the store is written
            with contextlib.suppress(PlaceError):
                atomic.remove(self._generation_file(number))
