"""One label on one target: its settings, its storage, and what the agent needs from outside."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from msgspec import Struct
from msgspec.structs import asdict

from repack import host
from repack.agent import settings_files
from repack.agent.settings import merge
from repack.agent.storage import AgentStorage
from repack.conda import subdir
from repack.errors import NoMatchError, SpaceError, TargetSpaceError
from repack.progress import SILENT, Progress
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from repack.agent.settings import Snippet, TargetSettings
    from repack.channel.install_plan import AfterInstall, InstallPlan
    from repack.names import LabelName

Did = Literal["installed", "unchanged", "reboot", "restart", "rolled-back", "given-up", "checked"]
_CODES = {"reboot": 100, "restart": 101}


class AgentResult(Struct, frozen=True):
    """The result of a command that succeeded.

    Attributes:
        did: ``reboot`` and ``restart`` say what is to be done before ``run``.
        release: the release it was about.
        current: the release in use now.
        notes: what is worth saying.
    """

    label: str
    did: Did
    release: int | None
    current: int | None
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The codes of aktualizr-lite."""
        return _CODES.get(self.did, 0)

    def to_json(self) -> dict[str, object]:
        """The answer to ``--json``."""
        return {**asdict(self), "exit_code": self.exit_code}


class AgentContext(Value, frozen=True):
    """What an agent works with.

    Attributes:
        snippets: the files that the settings came from.
        environment: variables for services and health checks.
        check_license: raises when this device has no valid licence for the label.
        clock: the machine's time.
    """

    hidden_fields: ClassVar = ("environment", "check_license")

    settings: TargetSettings
    storage: AgentStorage
    platform: str
    snippets: tuple[Snippet, ...]
    environment: Mapping[str, str]
    check_license: Callable[[LabelName], None]
    clock: Callable[[], datetime] = host.now
    progress: Progress = SILENT

    @classmethod
    def of(
        cls,
        configs: Sequence[Path],
        environment: Mapping[str, str],
        check_license: Callable[[LabelName], None],
        progress: Progress = SILENT,
    ) -> AgentContext:
        """Read the settings; nothing is written yet.

        Raises:
            SettingsError: lists every mistake in them.
            NoMatchError: there are no releases for machines like this one.
        """
        snippets = settings_files.read_snippets(configs, environment)
        settings = merge(snippets)
        platform = settings.platform or subdir.host_subdir()
        if platform is None:
            raise NoMatchError("there are no releases for this kind of machine")
        root = settings_files.install_root(settings.root, environment)
        storage = AgentStorage(root, settings.label)
        return cls(
            settings, storage, platform, snippets, environment, check_license, progress=progress
        )

    @property
    def label(self) -> LabelName:
        """The label that is installed here."""
        return self.settings.label

    @property
    def license_store(self) -> Path | None:
        """The store of licences that the settings name."""
        path = self.settings.license_store
        return Path(path.folder) / path.text if path else None

    def pinned_root(self) -> bytes:
        """The pinned root.

        Raises:
            MetadataNotFoundError: there is none.
        """
        return settings_files.read_pinned_root(self.settings.trust_root, self.snippets)

    def action_after(self, plan: InstallPlan, other: int | None) -> AfterInstall:
        """What has to follow a switch between a release and ``other``, in either direction."""
        is_known = other is not None and other in self.storage.installed()
        before = self.storage.install_plan(other) if other is not None and is_known else None
        return plan.action_after(before, self.label)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the label while the block runs.

        Raises:
            BusyError: another agent works on it.
            TargetSpaceError: the disk is full.
        """
        try:
            with self.storage.exclusive():
                yield
        except SpaceError as error:
            raise TargetSpaceError(
                error.what, where=error.where, expected=error.expected, got=error.got,
                hint="what runs on this target was not touched; free some space and run again",
            ) from error  # fmt: skip

    def remove_old_releases(self) -> tuple[str, ...]:
        """Remove releases that are not kept; return notes on those that cannot be removed now."""
        state = self.storage.load()
        return self.storage.prune(state.kept(self.settings.keep), Path(sys.prefix))
