"""One label on one target, and everything an agent is told about it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from msgspec import Struct

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
    from repack.names import LabelName

Did = Literal["installed", "unchanged", "reboot", "restart", "rolled-back", "given-up", "checked"]
_CODES = {"reboot": 100, "restart": 101}


class AgentResult(Struct, frozen=True):
    """How a command ended that ended well.

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
        """As aktualizr-lite has it."""
        return _CODES.get(self.did, 0)

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "label": self.label,
            "did": self.did,
            "release": self.release,
            "current": self.current,
            "exit_code": self.exit_code,
            "notes": list(self.notes),
        }


class AgentContext(Value, frozen=True):
    """What an agent works with.

    Attributes:
        read: the files that the settings came from.
        environment: variables for services and health checks.
        licensed: raises when this device has no valid licence for the label.
        clock: what time this machine believes it is.
    """

    hidden_fields: ClassVar = (
        "environment",
        "licensed",
    )

    settings: TargetSettings
    device: AgentStorage
    platform: str
    read: tuple[Snippet, ...]
    environment: Mapping[str, str]
    licensed: Callable[[LabelName], None]
    clock: Callable[[], datetime] = host.now
    progress: Progress = SILENT

    @classmethod
    def of(
        cls,
        configs: Sequence[Path],
        environment: Mapping[str, str],
        licensed: Callable[[LabelName], None],
        progress: Progress = SILENT,
    ) -> AgentContext:
        """Read the settings; nothing is written yet.

        Raises:
            SettingsError: lists every mistake in them.
            NoMatchError: there are no releases for machines like this one.
        """
        read = settings_files.snippets(configs, environment)
        settings = merge(read)
        platform = settings.platform or subdir.host_subdir()
        if platform is None:
            raise NoMatchError("there are no releases for this kind of machine")
        root = settings_files.storage(settings.root, environment)
        device = AgentStorage(root, settings.label)
        return cls(settings, device, platform, read, environment, licensed, progress=progress)

    @property
    def label(self) -> LabelName:
        """The label."""
        return self.settings.label

    @property
    def license_store(self) -> Path | None:
        """The store of licences that the settings name."""
        given = self.settings.license_store
        return Path(given.folder) / given.text if given else None

    def pinned(self) -> bytes:
        """The pinned root.

        Raises:
            MetadataNotFoundError: there is none.
        """
        return settings_files.pinned_root(self.settings.trust_root, self.read)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the label while the block runs.

        Raises:
            BusyError: another agent works on it.
            TargetSpaceError: the disk is full.
        """
        try:
            with self.device.exclusive():
                yield
        except SpaceError as error:
            raise TargetSpaceError(
                error.what, where=error.where, expected=error.expected, got=error.got,
                hint="what runs on this target was not touched; free some space and run again",
            ) from error  # fmt: skip

    def tidy(self) -> tuple[str, ...]:
        """Remove what is not kept any more; what cannot be removed now is noted."""
        state = self.device.load()
        return self.device.prune(state.kept(self.settings.keep), Path(sys.prefix))
