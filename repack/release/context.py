"""What a build works with: the settings of a call, the label, the places."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repack.channel.folder import Channels
from repack.label import files
from repack.prefix import sandbox
from repack.solve.solver import spec_fault
from repack.store.store import Store
from repack.upstream.client import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack import Options
    from repack.archive.package import Format
    from repack.label.label import Label
    from repack.label.reader import PackagesFrom
    from repack.progress import Progress
    from repack.release.outcome import Mode

LockUse = Literal["keep", "update"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is and how to build.

    Attributes:
        home: where ``.netrc`` and conda's settings are.
        environment: variables for secrets, proxies and the health check.
        now: the moment that goes into a new release.
        lock: whether an existing lock that still satisfies the label is kept.
        env_file: ``conda info --json`` of an environment to take instead of solving.
    """

    labels_dir: Path
    channels_dir: Path
    store_dir: Path
    home: Path
    environment: Mapping[str, str] = field(repr=False)
    now: dt.datetime
    prove: Mode = "linked"
    lock: LockUse = "keep"
    env_file: Path | None = None

    @classmethod
    def of(cls, options: Options) -> Settings:
        """Settings from the Python API's options, with the command line's defaults."""
        env = options.get("env")
        store = options.get("store")
        return cls(
            labels_dir=Path(options.get("labels_dir", "labels")),
            channels_dir=Path(options.get("channels_dir", "channels")),
            store_dir=default_store() if store is None else Path(store),
            home=Path.home(),
            environment=options.get("environment", os.environ),
            now=options.get("now") or dt.datetime.now(dt.UTC).replace(microsecond=0),
            prove=options.get("prove", "linked"),
            lock="update" if options.get("update") else "keep",
            env_file=None if env is None else Path(env),
        )


def default_store() -> Path:
    """The store in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("repack", appauthor=False) / "store"


@dataclass(frozen=True, slots=True)
class Bench:
    """One label and the places its build works with."""

    settings: Settings
    label: Label
    lock: Path
    channels: Channels
    store: Store
    upstream: Upstream
    progress: Progress

    @classmethod
    def of(cls, name: str, settings: Settings, progress: Progress) -> Bench:
        """Read the label and open every place; nothing is written yet.

        Raises:
            UsageError: there is no such label.
            LabelError: it has mistakes.
        """
        path = files.find(settings.labels_dir, name)
        given: PackagesFrom = "env" if settings.env_file else "label"
        return cls(
            settings=settings,
            label=files.load(path, settings.environment, spec_fault, given),
            lock=path.with_suffix(".lock"),
            channels=Channels(settings.channels_dir),
            store=Store(settings.store_dir),
            upstream=Upstream.from_environment(settings.environment, settings.home),
            progress=progress,
        )

    @property
    def key(self) -> str:
        """What keeps this build's scratch files from those of a namesake in other channels."""
        root = str(self.channels.root).encode("utf-8", "surrogateescape")
        return f"{self.label.name}-{hashlib.sha256(root).hexdigest()[:8]}"

    @property
    def archive(self) -> Format:
        """The format of packages that repack makes for this label."""
        return ".tar.bz2" if self.label.package_format == "tar.bz2" else ".conda"

    def modes(self, subdirs: Iterable[str]) -> dict[str, Mode]:
        """Per subdir how it is going to be proved on this machine."""
        host = sandbox.host_subdir()
        return {
            subdir: "linked" if subdir == host and self.settings.prove == "linked" else "solved"
            for subdir in subdirs
        }
