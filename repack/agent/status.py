"""Look: what is installed, whether it still is what was installed, what a medium would bring."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.agent import environment
from repack.agent.accept import InstallRequest, accept
from repack.agent.medium import Medium
from repack.errors import ChangedByHandError, ContentMissingError
from repack.fs import volume

if TYPE_CHECKING:
    from repack.agent.context import AgentContext
    from repack.agent.state import State


class Status(Struct, frozen=True):
    """What stands on a target."""

    label: str
    platform: str
    state: State
    in_use: int | None
    whole: tuple[int, ...]
    folder: Path

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "label": self.label,
            "platform": self.platform,
            "state": self.state.phase,
            "current": self.state.current,
            "in_use": self.in_use,
            "release": self.state.release,
            "starts": self.state.starts,
            "good": list(self.state.good),
            "failed": list(self.state.failed),
            "installed": list(self.whole),
            "prefix": str(self.folder / "current") if self.in_use is not None else None,
            "folder": str(self.folder),
        }


class MediumOffer(Struct, frozen=True):
    """What :func:`check` found on a medium.

    Attributes:
        new: whether ``install`` would install it.
    """

    label: str
    release: int
    current: int | None
    packages: int
    bytes: int
    free: int
    new: bool

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "label": self.label,
            "release": self.release,
            "current": self.current,
            "new": self.new,
            "packages": self.packages,
            "bytes": self.bytes,
            "free": self.free,
        }


def status(site: AgentContext) -> Status:
    """What stands here; nothing is changed.

    Raises:
        PlaceError: the journal is damaged or cannot be read.
    """
    device = site.device
    return Status(
        site.label, site.platform, device.load(), device.pointer.get(), device.whole(),
        device.folder,
    )  # fmt: skip


def check_installed(site: AgentContext) -> Status:
    """Compare every file of the release in use with what was installed.

    Raises:
        ChangedByHandError: names what differs; nothing is changed.
        PlaceError: something cannot be read.
    """
    found = status(site)
    current = found.state.current
    if current is None:
        return found
    prefix = site.device.prefix(current)
    differing = environment.packages(prefix, site.device.delivery(current))
    differing += environment.contents(prefix)
    if found.state.phase in ("idle", "filling", "pending") and found.in_use != current:
        differing.append(f"{site.device.current.name} does not point to it")
    if differing:
        raise ChangedByHandError(
            f"release {current} was changed by hand since it was installed",
            where=prefix,
            got="\n    ".join(differing[:50]),
            hint="install another release, or roll back",
        )
    return found


def check_medium(site: AgentContext, source: Path, name: str | None) -> MediumOffer:
    """Go through all that ``install`` would check on a medium, every package hashed.

    Nothing on the target changes, not even what it remembers of the metadata.

    Raises:
        TargetError: ``install`` would refuse, for the same reason.
    """
    state = site.device.load()
    medium = Medium.find(source, site.label)
    with tempfile.TemporaryDirectory(prefix="repack-trust-") as name_of_copy:
        trust = Path(name_of_copy) / "trust"
        if site.device.trust.is_dir():
            shutil.copytree(site.device.trust, trust)
        chosen = accept(site, medium, state, InstallRequest(name, trust))
    release = medium.release(chosen.signed)
    delivery = release.delivery(site.platform)
    if missing := medium.missing(delivery):
        raise ContentMissingError(
            "packages are not on the medium, or not whole",
            where=medium.folder,
            got="; ".join(missing[:20]),
        )
    release.records(delivery)
    size = sum(parcel.size for parcel in delivery.parcels)
    with site.progress.phase("check", size, "bytes") as advance:
        for parcel in delivery.parcels:
            medium.check(parcel, advance)
    return MediumOffer(
        label=site.label,
        release=delivery.release,
        current=state.current,
        packages=len(delivery.parcels),
        bytes=size,
        free=volume.free_bytes(site.device.folder),
        new=delivery.release != state.current,
    )
