"""The settings of one build: folders, time, environment, how to prove. Nothing here reads a file."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

from msgspec import field

from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from repack.progress import Progress


LockUse = Literal["keep", "update"]


Mode = Literal["linked", "solved"]


class Options(TypedDict, total=False):
    """The options of :func:`repack.build`; the names are those of ``repack label``.

    Attributes:
        labels_dir: folder of label files, ``$REPACK_LABELS_DIR`` or ``labels`` if not given.
        channels_dir: folder of published channels, ``$REPACK_CHANNELS_DIR`` or ``channels`` if not
            given.
        store: package store, ``$REPACK_STORE`` or in the user's cache folder if not given.
        env: ``conda info --json`` of a prepared environment, to take instead of solving.
        channels: of a label that no file defines, in priority order.
        packages: of such a label, as MatchSpecs.
        platforms: of such a label: by subdir what differs from the default target profile.
        prove: ``linked`` (also install where the platform is this machine's) or ``solved``.
        update: solve afresh even if the lock still fits.
        dry_run: only say what would change.
        environment: variables for secrets, proxies and the health check; the process's if not
            given.
        now: the moment that goes into a new release; the present if not given.
        refresh: ``hotfixes`` to take upstream's present records of the packages that are locked.
        date_consent: ``DATE/OTHER``, to sign with a ``now`` that is before the last signing or not
            today's; the error that is raised without it says which.
        paranoid: hash every archive again, however often it was hashed before.
        progress: gets the phases and notes of the build.
    """

    labels_dir: str | PathLike[str]
    channels_dir: str | PathLike[str]
    store: str | PathLike[str]
    env: str | PathLike[str]
    channels: Sequence[str]
    packages: Sequence[str]
    platforms: Mapping[str, Mapping[str, str | None]]
    prove: Literal["linked", "solved"]
    update: bool
    dry_run: bool
    environment: Mapping[str, str]
    now: dt.datetime
    refresh: Literal["hotfixes"]
    date_consent: str
    paranoid: bool
    progress: Progress


class Settings(Value, frozen=True):
    """Where everything is and how to build.

    Attributes:
        home: where ``.netrc`` and conda's settings are.
        environment: variables for secrets, proxies and the health check.
        now: the moment that goes into a new release.
        lock: whether an existing lock that still satisfies the label is kept.
        env_file: ``conda info --json`` of an environment to take instead of solving.
        refresh: whether upstream's present records are taken for the packages that are locked.
        date_consent: confirms a date to sign with, see :mod:`repack.trust.dates`.
        paranoid: hash every archive again, however often it was hashed before.
        channels: of a label that no file defines; may hold secrets.
        packages: of such a label.
        platforms: of such a label: by subdir what differs from the default target profile.
    """

    hidden_fields: ClassVar = ("environment", "channels")

    labels_dir: Path
    channels_dir: Path
    store_dir: Path
    home: Path
    environment: Mapping[str, str]
    now: dt.datetime
    prove: Mode = "linked"
    lock: LockUse = "keep"
    env_file: Path | None = None
    date_consent: str | None = None
    paranoid: bool = False
    channels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    platforms: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    refresh: Literal["hotfixes"] | None = None

    @classmethod
    def of(cls, options: Options) -> Settings:
        """Settings from the Python API's options, with the command line's defaults."""
        env = options.get("env")
        environment = options.get("environment", os.environ)
        store = options.get("store") or environment.get("REPACK_STORE")
        labels = options.get("labels_dir") or environment.get("REPACK_LABELS_DIR")
        channels = options.get("channels_dir") or environment.get("REPACK_CHANNELS_DIR")
        return cls(
            labels_dir=Path(labels or "labels"),
            channels_dir=Path(channels or "channels"),
            store_dir=default_store() if store is None else Path(store),
            home=Path.home(),
            environment=environment,
            now=options.get("now") or dt.datetime.now(dt.UTC).replace(microsecond=0),
            prove=options.get("prove", "linked"),
            lock="update" if options.get("update") else "keep",
            env_file=None if env is None else Path(env),
            date_consent=options.get("date_consent"),
            paranoid=options.get("paranoid", False),
            channels=tuple(options.get("channels", ())),
            packages=tuple(options.get("packages", ())),
            platforms=dict(options.get("platforms", {})),
            refresh=options.get("refresh"),
        )


def default_store() -> Path:
    """The store in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("repack", appauthor=False) / "store"
