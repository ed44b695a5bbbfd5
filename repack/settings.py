"""settings."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack import Options


LockUse = Literal["keep", "update"]


Mode = Literal["linked", "solved"]


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
