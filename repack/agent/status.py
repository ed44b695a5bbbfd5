"""Status and check: what is installed, whether it was changed, what a medium would bring."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import asdict

from repack import host
from repack.agent import environment
from repack.agent.accept import InstallRequest, accept, take_first_whole
from repack.agent.medium import Medium
from repack.errors import ChangedByHandError, ContentMissingError, RecalledError
from repack.fs import volume
from repack.trust.recalls import describe_recalls, recall_rows, recalled_error

if TYPE_CHECKING:
    from repack.agent.context import AgentContext
    from repack.agent.state import State
    from repack.channel.install_plan import InstallPlan
    from repack.trust.recalls import Recalls
    from repack.trust.selection import SignedRelease


class Status(Struct, frozen=True):
    """What is installed on a target.

    Attributes:
        in_use: the release that ``current`` points to.
        installed: the releases whose environments are whole.
        recalled: every release that was seen recalled.
    """

    label: str
    platform: str
    state: State
    in_use: int | None
    installed: tuple[int, ...]
    folder: Path
    recalled: Recalls
    notes: tuple[str, ...] = ()

    @property
    def recalled_in_use(self) -> tuple[int, ...]:
        """The release in use, if it was recalled."""
        return tuple(n for n in self.recalled if n in (self.in_use, self.state.current))

    @property
    def exit_code(self) -> int:
        """That of a recall, if what is in use was recalled."""
        return RecalledError.exit_code if self.recalled_in_use else 0

    @property
    def awaits(self) -> Literal["reboot", "restart", "run"] | None:
        """What is to be done next: a reboot or a restart before ``run``, or ``run`` alone."""
        if self.state.phase in ("idle", "filling"):
            return None
        if self.state.phase not in ("pending", "awaiting") or self.state.awaits == "none":
            return "run"
        has_rebooted = self.state.boot is not None and not host.is_same_boot(
            self.state.boot, host.boot_id()
        )
        return "run" if self.state.awaits == "reboot" and has_rebooted else self.state.awaits

    def to_json(self) -> dict[str, object]:
        """The answer to ``--json``."""
        return {
            "label": self.label,
            "platform": self.platform,
            "state": self.state.phase,
            "current": self.state.current,
            "in_use": self.in_use,
            "release": self.state.release,
            "awaits": self.awaits,
            "starts": self.state.starts,
            "good": list(self.state.good),
            "failed": list(self.state.failed),
            "installed": list(self.installed),
            "recalled": recall_rows(self.recalled),
            "prefix": str(self.folder / "current") if self.in_use is not None else None,
            "folder": str(self.folder),
            "notes": list(self.notes),
        }


class MediumOffer(Struct, frozen=True):
    """What :func:`check_medium` finds on a medium.

    Attributes:
        new: whether ``install`` would install it.
    """

    label: str
    release: int
    current: int | None
    new: bool
    packages: int
    bytes: int
    free: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The answer to ``--json``."""
        return asdict(self)


def status(context: AgentContext) -> Status:
    """Say what is installed; nothing is changed.

    Raises:
        PlaceError: the journal is damaged or cannot be read.
    """
    storage = context.storage
    return Status(
        context.label, context.platform, storage.load(), storage.pointer.get(), storage.installed(),
        storage.folder, storage.recalled(), context.settings.notes,
    )  # fmt: skip


def check_installed(context: AgentContext) -> Status:
    """Compare every file of the release in use with what was installed.

    Raises:
        RecalledError: it was recalled; ``got`` names what differs besides.
        ChangedByHandError: names what differs; nothing is changed.
        PlaceError: something cannot be read.
    """
    result = status(context)
    current = result.state.current
    if current is None:
        return result
    prefix = context.storage.prefix(current)
    differing = environment.compare_packages(prefix, context.storage.install_plan(current))
    differing += environment.compare_files(prefix)
    # In the other phases a switch was cut off, and either release may be the one in use.
    if result.state.phase in ("idle", "filling", "pending") and result.in_use != current:
        differing.append(f"{context.storage.current.name} does not point to it")
    if numbers := result.recalled_in_use:
        hint = "install a newer release; this one is not gone back to"
        error = recalled_error(result.recalled, numbers, hint)
        error.got = "\n    ".join(differing[:50]) or None
        raise error
    if differing:
        raise ChangedByHandError(
            f"release {current} was changed by hand since it was installed",
            where=prefix,
            got="\n    ".join(differing[:50]),
            hint="install another release, or roll back",
        )
    return result


def check_medium(context: AgentContext, source: Path, name: str | None) -> MediumOffer:
    """Go through all that ``install`` would check on a medium, every package hashed.

    Nothing on the target changes, not even what it remembers of the metadata.

    Raises:
        TargetError: ``install`` would refuse, for the same reason.
    """
    state = context.storage.load()
    medium = Medium.find(source, context.label)
    with tempfile.TemporaryDirectory(prefix="repack-trust-") as folder:
        trust = Path(folder) / "trust"
        if context.storage.trust.is_dir():
            shutil.copytree(context.storage.trust, trust)
        accepted = accept(context, medium, state, InstallRequest(name, trust, False))
        plan, notes = take_first_whole(accepted, lambda signed: _check(context, medium, signed))
    if state.current is not None and state.current in accepted.recalled:
        in_use = describe_recalls(accepted.recalled, [state.current])
        notes = (f"{in_use}; it is in use here", *notes)
    return MediumOffer(
        label=context.label,
        release=plan.release,
        current=state.current,
        new=plan.release != state.current,
        packages=len(plan.packages),
        bytes=sum(package.size for package in plan.packages),
        free=volume.free_bytes(context.storage.folder),
        notes=notes,
    )


def _check(context: AgentContext, medium: Medium, signed: SignedRelease) -> InstallPlan:
    """Hash every package of a release on a medium.

    Raises:
        ContentMissingError: it is not whole.
    """
    release = medium.release(signed)
    plan = release.install_plan(context.platform)
    if missing := medium.missing(plan):
        raise ContentMissingError(
            "packages are not on the medium, or not whole",
            where=medium.folder,
            got="; ".join(missing[:20]),
        )
    release.records(plan)
    size = sum(package.size for package in plan.packages)
    with context.progress.phase("check", size, "bytes") as advance:
        for package in plan.packages:
            medium.check(package, advance)
    return plan
