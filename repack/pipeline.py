"""Label to release: the straight line, one line a step.

load label -> resolve -> fetch -> bundle -> stage -> index -> sign -> prove -> publish -> report
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from repack.steps.prove import Mode, Proof

LockUse = Literal["keep", "update"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is and how to build.

    Attributes:
        environment: variables for secrets, proxies and the health check.
        now: the moment that goes into a new release.
        lock: whether an existing lock that still satisfies the label is kept.
        env_file: ``conda info --json`` of an environment to take instead of solving.
    """

    labels_dir: Path
    channels_dir: Path
    store_dir: Path
    environment: Mapping[str, str] = field(repr=False)
    now: dt.datetime
    prove: Mode = "linked"
    lock: LockUse = "keep"
    env_file: Path | None = None


@dataclass(frozen=True, slots=True)
class PlatformOutcome:
    """One subdir of a release: packages and bytes that install there, and the proof."""

    packages: int
    bytes: int
    proof: Proof


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a build did.

    Attributes:
        release: the number of the release the channel now is; None when none was ever made.
        changed: whether a new release was published.
        added: paths in the channel that the release before did not have.
        removed: paths that went.
        warnings: what a release engineer should know; errors when the label is ``strict``.
    """

    label: str
    release: int | None
    changed: bool
    channel: Path
    platforms: Mapping[str, PlatformOutcome]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    bytes_fetched: int
    seconds: float
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The document ``repack label --json`` prints."""
        platforms = {
            subdir: {"packages": p.packages, "bytes": p.bytes, "proof": p.proof.mode}
            for subdir, p in self.platforms.items()
        }
        return {
            "label": self.label,
            "release": self.release,
            "changed": self.changed,
            "channel": str(self.channel),
            "platforms": platforms,
            "added": list(self.added),
            "removed": list(self.removed),
            "bytes_fetched": self.bytes_fetched,
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }
