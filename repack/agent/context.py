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
from repack.agent.log import AgentLog
from repack.agent.settings import merge
from repack.agent.storage import AgentStorage
from repack.conda import subdir
from repack.errors import NoMatchError, RepackError, SpaceError, TargetSpaceError
from repack.progress import SILENT, Progress
from repack.structs import Value
from repack.version import __version__

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
        log_file: where decisions are written down.
        clock: the machine's time.
    """

    hidden_fields: ClassVar = ("environment", "check_license")

    settings: TargetSettings
    storage: AgentStorage
    platform: str
    snippets: tuple[Snippet, ...]
    environment: Mapping[str, str]
    check_license: Callable[[LabelName], None]
    log_file: AgentLog
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
        for note in settings.notes:
            progress.note(note)
        platform = settings.platform or subdir.host_subdir()
        if platform is None:
            raise NoMatchError("there are no releases for this kind of machine")
        root = settings_files.install_root(settings.root, environment)
        storage = AgentStorage(root, settings.label)
        log_path = settings_files.log_file(settings.log_path, environment, settings.label)
        return cls(
            settings=settings,
            storage=storage,
            platform=platform,
            snippets=snippets,
            environment=environment,
            check_license=check_license,
            log_file=AgentLog(log_path, progress),
            progress=progress,
        )

    def log(self, event: str, **fields: object) -> None:
        """Write down a decision."""
        self.log_file.write(self.clock(), event, label=self.label, **fields)

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
    def locked(self, command: str) -> Iterator[None]:
        """Hold the label while the block runs; what ends it with an error is logged.

        Raises:
            BusyError: another agent works on it.
            TargetSpaceError: the disk is full.
        """
        try:
            with self.storage.exclusive(), self._logged(command):
                yield
        except SpaceError as error:
            raise TargetSpaceError(
                error.what, where=error.where, expected=error.expected, got=error.got,
                hint="what runs on this target was not touched; free some space and run again",
            ) from error  # fmt: skip

    @contextlib.contextmanager
    def _logged(self, command: str) -> Iterator[None]:
        self.log("begin", command=command, version=__version__, notes=list(self.settings.notes))
        try:
            yield
        except RepackError as error:
            code = error.exit_code
            self.log("error", command=command, kind=error.kind, exit_code=code, what=error.text())
            raise

    def remove_old_releases(self) -> tuple[str, ...]:
        """Remove releases that are not kept; return notes on those that cannot be removed now."""
        state = self.storage.load()
        return self.storage.prune(state.kept(self.settings.keep), Path(sys.prefix))
