"""A label on a target's disk.

::

    ROOT/LABEL/
      current          -> releases/12, the release in use
      releases/N/      environments
      cache/           unpacked packages, hard-linked into the environments
      state/
        journal.json   the state machine (repack.agent.state), written atomically
        N.json         the packages of release N, written once its environment is whole
        trust/         the metadata that was trusted last, kept by python-tuf
        clock          the latest time seen signed
        receipt/       the device's key, and the number of its last receipt
        recalled.json  every release seen recalled, which no older metadata can take back
        incoming/      packages on their way from the medium
        lock, conda.lock

Only this module writes there, but for the packages' own files.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.agent import environment
from repack.agent.pointer import Pointer
from repack.agent.state import JOURNAL_LIMIT, State, parse_journal
from repack.channel.install_plan import LIMIT, InstallPlan
from repack.codec.canonical import loads
from repack.errors import IntegrityError, MetadataInvalidError, PlaceError, RepackError
from repack.fs import atomic, beneath, locks
from repack.fs.ownership import check_own_file, make_own_folder, readable_for_all
from repack.timestamps import read_time, stamp
from repack.trust.recalls import parse_recalls, recall_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from repack.agent.pointer import Style
    from repack.file_entry import FileEntry
    from repack.names import LabelName
    from repack.trust.recalls import Recalls

_CLOCK_LIMIT: Final = 64
_RECALLS_LIMIT: Final = 1 << 24  # more than metadata can hold
_RESET: Final = re.compile(r"[0-9]{1,9}")


class _CachedPackage(Struct, frozen=True):
    """A package in the cache: its archive, and when its first release was finished."""

    sha256: str
    finished_ns: int


class RememberedClock(Struct, frozen=True):
    """What a target remembers of time.

    Attributes:
        floor: a time that has certainly passed.
        reset: the version of the root that last ordered the floor to be forgotten; 0 for none.
    """

    floor: datetime | None = None
    reset: int = 0


class AgentStorage:
    """Where one label is installed.

    Args:
        root: such as ``/opt/repack``.
        style: how the pointer is made, None for this system's way.
    """

    def __init__(self, root: Path, label: LabelName, style: Style | None = None) -> None:
        self.folder = beneath.guard(root.absolute()) / label
        self._state = self.folder / "state"
        self._journal = self._state / "journal.json"
        self.current = self.folder / "current"
        self.pointer = Pointer(self.current, style) if style else Pointer(self.current)

    @property
    def cache(self) -> Path:
        """The private package cache."""
        return self.folder / "cache"

    @property
    def trust(self) -> Path:
        """The metadata that python-tuf trusted last."""
        return self._state / "trust"

    @property
    def receipts(self) -> Path:
        """The key of this device, and the number of its last receipt."""
        return self._state / "receipt"

    def prefix(self, release: int) -> Path:
        """The environment of a release."""
        return self.folder / "releases" / str(release)

    @property
    def advisories(self) -> Path:
        """The newest advisories that a medium brought."""
        return self._state / "advisories.json"

    @property
    def incoming(self) -> Path:
        """Where packages are copied to before they are unpacked."""
        return self._state / "incoming"

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the label on this target while the block runs.

        Raises:
            BusyError: another agent works on it, or the conda of one that was killed.
            PlaceError: the folder cannot be written.
        """
        with readable_for_all():
            # Nobody else can reach the journal and the locks, rattler's in the cache included: it
            # waits for these without end.
            for folder in (self._state, self.cache):
                make_own_folder(folder, 0o700)
            with self._locked():
                yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locks.exclusive(self._state / "lock", "another agent for this label"):
            # A conda may outlive the agent that started it, and holds this lock itself.
            with locks.exclusive(self.conda_lock, "the conda of another agent"):
                pass
            yield

    @property
    def conda_lock(self) -> Path:
        """Held by a conda that fills an environment, for as long as it runs."""
        return self._state / "conda.lock"

    def load(self) -> State:
        """Read the journal; a new one where nothing was ever installed.

        Raises:
            PlaceError: it is damaged or cannot be read.
        """
        if not check_own_file(self._journal, "journal"):
            return State()
        return parse_journal(atomic.read(self._journal, JOURNAL_LIMIT), self._journal)

    def save(self, state: State) -> None:
        """Write the journal; it is on the disk when this returns.

        Raises:
            SpaceError: the disk is full; the journal is as it was.
        """
        atomic.write(self._journal, state.to_bytes())

    def clock(self) -> RememberedClock:
        """The time that is remembered; nothing where the file is not there or not readable."""
        path = self._state / "clock"
        if not beneath.exists(path):
            return RememberedClock()
        words = atomic.read(path, _CLOCK_LIMIT).decode("ascii", "replace").split()
        reset = int(words[1]) if len(words) > 1 and _RESET.fullmatch(words[1]) else 0
        return RememberedClock(read_time(words[0]) if words else None, reset)

    def save_clock(self, clock: RememberedClock) -> None:
        """Remember the time: the floor, and after how many resets by the vendor it was set."""
        if clock.floor is not None and clock != self.clock():
            atomic.write(self._state / "clock", f"{stamp(clock.floor)} {clock.reset}\n".encode())

    def recalled(self) -> dict[int, str]:
        """Every release that was seen recalled -> why.

        Raises:
            PlaceError: the list is damaged. It is written atomically, so somebody changed it.
        """
        path = self._state / "recalled.json"
        if not check_own_file(path, "list of recalled releases"):
            return {}
        data = atomic.read(path, _RECALLS_LIMIT)
        try:
            return parse_recalls(loads(data, path, _RECALLS_LIMIT), path)
        except (IntegrityError, MetadataInvalidError) as error:
            raise PlaceError(
                "the list of recalled releases is damaged",
                where=path,
                got=error.what,
                hint="remove it, then run `repack target install` with the newest medium",
            ) from error

    def save_recalled(self, recalls: Recalls) -> None:
        """Remember ``recalls`` beside those seen before."""
        remembered = self.recalled()
        if remembered != (recalls := {**remembered, **recalls}):
            data = json.dumps(recall_rows(recalls), ensure_ascii=False, indent=1).encode() + b"\n"
            atomic.write(self._state / "recalled.json", data)

    def install_plan(self, release: int) -> InstallPlan:
        """Read what an installed release consists of.

        Raises:
            PlaceError: it is not installed.
            IntegrityError: it is damaged.
        """
        path = self._plan_path(release)
        return InstallPlan.parse(atomic.read(path, LIMIT), path)

    def save_plan(self, plan: InstallPlan) -> None:
        """Write down that a release's environment is whole."""
        atomic.write(self._plan_path(plan.release), plan.to_bytes())

    def installed(self) -> tuple[int, ...]:
        """The releases whose environments were filled to the end and are still there."""
        return tuple(n for n in self._numbers() if beneath.is_file(self._plan_path(n)))

    def discard(self, release: int) -> None:
        """Remove the environment of a release.

        ``N.json`` goes first: while it is there, the environment counts as whole.
        """
        atomic.remove(self._plan_path(release))
        atomic.remove(self.prefix(release))

    def prune(self, kept: Collection[int], running_from: Path) -> tuple[str, ...]:
        """Remove environments that are not kept, and cached packages that no other one has.

        Args:
            kept: the releases that stay.
            running_from: the environment this program runs in, which stays as well.

        Returns:
            What could not be removed; the next call tries again.
        """
        notes = []
        for release in self._numbers():
            prefix = self.prefix(release)
            if release in kept or _is_inside(running_from, prefix):
                continue
            try:
                self.discard(release)
            except RepackError as error:
                notes.append(f"release {release} could not be removed yet: {error.what}")
        self.clean()
        return tuple(notes)

    def clean(self) -> None:
        """Remove packages on their way, and cached ones that belong to no whole release."""
        with contextlib.suppress(RepackError):
            atomic.remove(self.incoming)
            used = {f"{dist}{end}" for dist in self._cached() for end in ("", ".lock")}
            for name in _names(self.cache):
                if name not in used and not name.startswith("."):
                    atomic.remove(self.cache / name)
            kept = {f"{package.sha256}.json" for package in self._cached().values()}
            for name in _names(self._state / "facts"):
                if name not in kept:
                    atomic.remove(self._state / "facts" / name)

    def reusable(self, plan: InstallPlan) -> tuple[FileEntry, ...]:
        """Packages of ``plan`` that are in the cache; :meth:`changed` has to be asked as well."""
        cached = self._cached()
        return tuple(
            package
            for package in plan.packages
            if package.dist in cached
            and cached[package.dist].sha256 == package.sha256
            and beneath.is_folder(self.cache / package.dist)
            and beneath.is_file(self.facts_path(package))
        )

    def facts_path(self, package: FileEntry) -> Path:
        """Where it is kept what was read in the archive of a package, by its SHA-256."""
        return self._state / "facts" / f"{package.sha256}.json"

    def changed(self, packages: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
        """Cached packages in which a file was written since their release was finished.

        They cannot be used again: environments share files with the cache by hard links, so
        whoever changes a file in an environment changes the cached package, too.
        """
        cached = self._cached()
        return tuple(
            package
            for package in packages
            if environment.changed_since(
                self.cache / package.dist, cached[package.dist].finished_ns
            )
        )

    def _cached(self) -> dict[str, _CachedPackage]:
        """The packages of all whole releases, by their folder in the cache."""
        cached: dict[str, _CachedPackage] = {}
        for release in self.installed():
            with contextlib.suppress(RepackError, OSError):
                finished = beneath.status(self._plan_path(release)).st_mtime_ns
                for package in self.install_plan(release).packages:
                    cached.setdefault(package.dist, _CachedPackage(package.sha256, finished))
        return cached

    def forget(self, packages: Iterable[FileEntry]) -> None:
        """Remove packages from the cache, so that they are unpacked again."""
        for package in packages:
            # First rattler's note of the archive that the folder was unpacked from.
            atomic.remove(self.cache / f"{package.dist}.lock")
            atomic.remove(self.cache / package.dist)

    def flush(self) -> None:
        """Flush everything that was written here to the disk.

        One ``syncfs`` of the file system (Linux; ``sync`` elsewhere) instead of an fsync for each
        of some 30,000 files, which rattler and conda do not give a handle of anyway.
        """
        if sys.platform == "linux":
            with atomic.os_errors_at(self.folder):
                handle = beneath.open_handle(self.folder, os.O_RDONLY)
                try:
                    failed = ctypes.CDLL(None, use_errno=True).syncfs(handle)
                    if failed:
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                finally:
                    os.close(handle)
        elif sys.platform != "win32":
            os.sync()

    def _plan_path(self, release: int) -> Path:
        return self._state / f"{release}.json"

    def _numbers(self) -> tuple[int, ...]:
        return tuple(sorted(int(n) for n in _names(self.folder / "releases") if n.isdecimal()))


def _names(folder: Path) -> list[str]:
    with atomic.os_errors_at(folder):
        return [entry.name for entry in beneath.scan_if_there(folder)]


def _is_inside(path: Path, folder: Path) -> bool:
    return folder in (path, *path.parents)
