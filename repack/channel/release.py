"""A release before it is signed: its number, and whom it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repack.channel.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.names import LabelName


@dataclass(frozen=True, slots=True)
class Release:
    """One numbered state of a label's channel.

    ``facts`` go into the manifest as they are: how each platform was proved, for one.
    """

    label: LabelName
    number: int
    platforms: tuple[str, ...]
    generated_at: str
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def subdirs(self) -> tuple[str, ...]:
        """All folders of packages; ``noarch`` always is one."""
        return ("noarch", *(name for name in self.platforms if name != "noarch"))

    def head(self) -> Manifest:
        """The manifest without artifacts."""
        return Manifest(
            id=self.label,
            version=str(self.number),
            platform=self.subdirs,
            artifacts=(),
            generated_at=self.generated_at,
            extra=self.facts,
        )
