"""What a build works with: settings, label, and the folders and servers it reads and writes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.channel.folder import Channels
from repack.conda.match_spec import spec_fault
from repack.conda.subdir import PLATFORMS, host_subdir
from repack.errors import UsageError
from repack.label import files
from repack.label.without_file import UnwrittenLabel
from repack.release.session import BuildSession
from repack.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repack.archive.package import Format
    from repack.label.label import Label
    from repack.label.reader import PackagesFrom
    from repack.progress import Progress
    from repack.prove.prove import ProofContext
    from repack.settings import Mode, Settings
    from repack.solve.solution import Solution
    from repack.upstream.client import Upstream


class BuildContext(Struct, frozen=True):
    """One label, and where its build reads and writes."""

    settings: Settings
    label: Label
    lock: Path
    channels: Channels
    store: Store
    session: BuildSession
    progress: Progress

    @property
    def upstream(self) -> Upstream:
        """Where archives and repodata come from."""
        return self.session.upstream

    @classmethod
    def open(
        cls,
        name: str,
        settings: Settings,
        progress: Progress,
        session: BuildSession | None = None,
        *,
        needs_bundles: bool = True,
    ) -> BuildContext:
        """Read the label; nothing is written yet.

        Args:
            session: of several builds; one of its own without it.
            needs_bundles: whether a bundle's folder that cannot be packed is a mistake.

        Raises:
            UsageError: there is no such label.
            LabelError: it has mistakes.
        """
        session = session or BuildSession.open(settings)
        channels = Channels(settings.channels_dir)
        if settings.env_file and not files.has_file(settings.labels_dir, name):
            from repack.solve.from_environment import label_of_environment

            label = label_of_environment(name, settings)
            lock = channels.history(label.name) / f"{label.name}.lock"
        elif settings.channels:
            label = _label_of_command(name, settings)
            lock = channels.history(label.name) / f"{label.name}.lock"
        else:
            path = files.find(settings.labels_dir, name)
            packages_from: PackagesFrom = "env" if settings.env_file else "label"
            fault = files.folder_fault if needs_bundles else lambda _path: None
            label = files.load(path, settings.environment, spec_fault, packages_from, fault)
            lock = path.with_suffix(".lock")
        return cls(
            settings=settings,
            label=label,
            lock=lock,
            channels=channels,
            store=Store(settings.store_dir),
            session=session,
            progress=progress,
        )

    @property
    def key(self) -> str:
        """What keeps this build's scratch files from those of a namesake in other channels."""
        root = str(self.channels.root).encode("utf-8", "surrogateescape")
        return f"{self.label.name}-{hashlib.sha256(root).hexdigest()[:8]}"

    @property
    def archive_format(self) -> Format:
        """The format of packages that repack makes for this label."""
        return ".tar.bz2" if self.label.package_format == "tar.bz2" else ".conda"

    def proof(self, solution: Solution) -> ProofContext:
        """What the proof of a solution works with."""
        # An unchanged label is not proved again, so most builds do not need this import.
        from repack.prove.prove import ProofContext

        return ProofContext(
            label=self.label,
            store=self.store,
            modes=self.proof_modes(solution.requests),
            scratch=self.store.scratch(self.key),
            hidden=(
                self.settings.home,
                self.settings.labels_dir.absolute(),
                self.store.root,
                self.channels.root,
            ),
            progress=self.progress,
            wheels={
                subdir: frozenset(pin.name for pin in pins)
                for subdir, pins in solution.wheels.items()
            },
        )

    def proof_modes(self, subdirs: Iterable[str]) -> dict[str, Mode]:
        """Per subdir how it is going to be proved on this machine."""
        host = host_subdir()
        return {
            subdir: "linked" if subdir == host and self.settings.prove == "linked" else "solved"
            for subdir in subdirs
        }


def _label_of_command(name: str, settings: Settings) -> Label:
    """The label that channels, packages and platforms of ``settings`` describe.

    Raises:
        UsageError: a file describes it, too.
        LabelError: they have mistakes; holds all of them.
    """
    if files.has_file(settings.labels_dir, name):
        raise UsageError(
            f"label {name!r} has a file, and channels are given as well",
            where=files.find(settings.labels_dir, name),
            hint=f"repack label {name} builds what the file says; edit it, or take another name",
        )
    platforms = settings.platforms or {host_subdir() or PLATFORMS[0]: {}}
    request = UnwrittenLabel(
        "the command line", name, settings.channels, platforms, settings.packages
    )
    return files.compose(request, settings.environment, spec_fault)
