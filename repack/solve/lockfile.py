"""Locks in pixi.lock format, by rattler; no secret gets into one.

Source: rattler ``crates/rattler_lock``, version 7; pixi, pixi-pack and conda-ship read it too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.codec.canonical import canonical
from repack.codec.decode import Document, decode, encode
from repack.conda.rattler import is_same_package, to_rattler_records, to_records, without_derived
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.errors import IntegrityError, PlaceError
from repack.fs import atomic
from repack.inputs.pins import WheelPin, wheel_pin
from repack.urls import redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repack.conda.virtual_packages import TargetProfile

_LIMIT: Final = 256 << 20
_MARK: Final = "# repack: "
_PLATFORM_LINE: Final = re.compile(r" {6}([\w.-]+):$")
_WHEEL_LINE: Final = re.compile(r" {6}- pypi: (\S+)$")


class Lock(Struct, frozen=True):
    """A lock as read: its bytes, scrubbed channels, virtual packages and records per subdir."""

    data: bytes
    channels: tuple[str, ...]
    virtual_packages: Mapping[str, tuple[str, ...]]
    records: Mapping[str, tuple[Record, ...]]
    wheels: Mapping[str, tuple[WheelPin, ...]]


def read_lock(path: Path) -> Lock:
    """Read a lock in pixi.lock format.

    Raises:
        IntegrityError: it is no such lock, or holds packages that are not conda's.
        PlaceError: it cannot be read.
    """
    from rattler import exceptions as rx
    from rattler.lock import LockFile

    data = bare(atomic.read(path, _LIMIT))
    try:
        environment = LockFile.from_path(path).default_environment()
        if environment is None:
            raise IntegrityError("the lock has no default environment", where=path)
        platforms = environment.platforms()
        records = {
            str(platform.subdir): tuple(
                without_derived(record)
                for record in to_records(
                    environment.conda_repodata_records_for_platform(platform) or []
                )
            )
            for platform in platforms
        }
    except (rx.ParseCondaLockError, rx.IoError) as error:
        raise IntegrityError(
            "the lock cannot be read",
            where=path,
            got=redact_text(str(error)),
            hint="build with --update to make it anew",
        ) from None
    return Lock(
        data=data,
        channels=tuple(str(channel) for channel in environment.channels()),
        virtual_packages={str(p.subdir): tuple(p.virtual_packages) for p in platforms},
        records=records,
        wheels=_read_wheels(data.decode("utf-8", "replace"), path),
    )


def _read_wheels(text: str, path: Path) -> dict[str, tuple[WheelPin, ...]]:
    """The wheels of each subdir.

    rattler's reader keeps neither hash nor fragment of a wheel, so these lines, which rattler's writer
    makes, are read from the text: ``- pypi: URL#sha256=HEX`` below the name of a platform.
    """
    wheels: dict[str, list[WheelPin]] = {}
    platform = ""
    for line in text.partition("\npackages:")[0].splitlines():
        if match := _PLATFORM_LINE.match(line):
            platform = match[1]
        elif match := _WHEEL_LINE.match(line):
            try:
                wheels.setdefault(platform, []).append(wheel_pin(match[1].strip("'\""), ""))
            except ValueError as fault:
                raise IntegrityError(
                    "a wheel of the lock cannot be read",
                    where=path,
                    got=fault,
                    hint="build with --update to make it anew",
                ) from fault
    return {name: tuple(pins) for name, pins in wheels.items()}


def write_lock(
    channels: Sequence[str],
    solutions: Mapping[TargetProfile, Sequence[Record]],
    wheels: Mapping[str, Sequence[WheelPin]] | None = None,
) -> bytes:
    """Make a lock in pixi.lock format (rattler-lock v7); every URL in it is scrubbed.

    Source: rattler ``crates/rattler_lock``, read by pixi, pixi-pack and conda-ship too.
    """
    import rattler
    from rattler.lock import LockChannel, LockFile, LockPlatform

    platforms = {
        profile: LockPlatform(
            profile.subdir, virtual_packages=[str(p) for p in profile.virtual_packages]
        )
        for profile in solutions
    }
    with (
        tempfile.TemporaryDirectory(prefix="repack-lock-") as name,
        atomic.os_errors_at(Path(name)),
    ):
        lock = LockFile(list(platforms.values()))
        lock.set_channels("default", [LockChannel(redact_url(url)) for url in channels])
        for profile, records in solutions.items():
            for native in to_rattler_records(records, Path(name)):
                native.url = redact_url(native.url)
                native.channel = redact_url(native.channel)
                lock.add_conda_package("default", platforms[profile], native)
            for pin in (wheels or {}).get(profile.subdir, ()):
                place = f"{redact_url(pin.url)}#sha256={pin.sha256}"
                lock.add_pypi_package("default", platforms[profile], pin.name, pin.version, place)
        target = Path(name) / "pixi.lock"
        try:
            lock.to_path(target)
        except rattler.exceptions.IoError as error:
            raise PlaceError(str(error), where=target) from None
        return target.read_bytes()


def annotated(lock: bytes, changes: Iterable[str]) -> bytes:
    """A lock with what repack changed about its packages, as comments behind it."""
    lines = [f"{_MARK}{change}\n" for change in changes]
    return bare(lock) + "".join(lines).encode()


def bare(lock: bytes) -> bytes:
    """A lock without these comments."""
    return b"".join(line for line in lock.splitlines(True) if not line.startswith(_MARK.encode()))


class LockMemory(Document, frozen=True):
    """What the store keeps of the lock that a label was last solved to; a cache.

    Attributes:
        lock: SHA-256 of the lock.
        records: by path, as upstream published them; a lock holds them in rattler's form only.
        satisfied: SHA-256 of the request that the lock is known to satisfy.
        elsewhere: folders outside of the label's channels that upstream's own repodata named.
    """

    lock: str
    records: dict[str, dict[str, Any]]
    satisfied: str = ""
    elsewhere: tuple[str, ...] = ()


def digest_request(request: object) -> str:
    """SHA-256 over a request, as structs, and the version of the solver that answers it."""
    import rattler

    return hashlib.sha256(canonical([rattler.__version__, encode(request)])).hexdigest()


def remember_lock(
    path: Path,
    lock: bytes,
    records: Iterable[Record],
    satisfied: str,
    elsewhere: tuple[str, ...] = (),
) -> None:
    """Write the memory of ``lock``.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the file cannot be written.
    """
    raw = {str(record.path): dict(record.raw) for record in records}
    memory = LockMemory(hashlib.sha256(lock).hexdigest(), raw, satisfied, elsewhere)
    atomic.write_cached(path, json.dumps(encode(memory)).encode())


def recall_lock(path: Path, lock: bytes) -> LockMemory:
    """The memory of this very lock; an empty one when there is none, or of another lock."""
    digest = hashlib.sha256(lock).hexdigest()
    with contextlib.suppress(PlaceError, IntegrityError, ValueError):
        memory = decode(LockMemory, json.loads(atomic.read(path, _LIMIT)), path, "memory of a lock")
        if memory.lock == digest:
            return memory
    return LockMemory(digest, {})


def restore_upstream_form(
    records: Mapping[str, Sequence[Record]], memory: LockMemory, channel: Path
) -> dict[str, tuple[Record, ...]]:
    """Give the records of a lock the form back in which upstream published them.

    Without memory of the lock, the ``channel`` that was last made of it may have that form; else
    rattler's serves.
    """
    raw = dict(memory.records)
    for subdir in ("noarch", *records) if not raw else ():
        with contextlib.suppress(PlaceError, ValueError, IntegrityError):
            file = channel / subdir / "repodata.json"
            rows = read_rows(json.loads(atomic.read(file, _LIMIT)), file)
            raw |= {f"{subdir}/{fn}": row for fn, row in rows.items()}

    def upstream_form(record: Record) -> Record:
        published = raw.get(record.path)
        if not isinstance(published, dict) or not is_same_package(published, record.raw):
            return record
        return Record.of(published, record.fn, record.url)

    return {subdir: tuple(map(upstream_form, group)) for subdir, group in records.items()}
