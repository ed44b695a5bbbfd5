"""What a label resolved to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from repack.conda.record import merge

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from repack.conda.record import Record
    from repack.conda.virtual_packages import TargetProfile

How = Literal["kept", "solved", "harvested"]


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """What the solver is asked for one subdir.

    Attributes:
        specs: MatchSpecs that must be installed.
        constraints: MatchSpecs that bound packages without pulling them in.
        exclude_newer: records indexed or built later do not exist.
        add_pip: whether ``pip`` comes with ``python``, as conda does it.
    """

    profile: TargetProfile
    specs: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    exclude_newer: dt.datetime | None = None
    add_pip: bool = True


@dataclass(frozen=True, slots=True)
class Solution:
    """The exact packages of a label.

    Attributes:
        requests: what the target will ask for, per subdir.
        records: per subdir, ``noarch`` ones included in each, sorted by path.
        lock: the lock file's bytes.
        warnings: what turned up on the way.
        secrets: what the records' URLs hold beyond the label's own.
    """

    requests: Mapping[str, SolveRequest]
    records: Mapping[str, tuple[Record, ...]]
    lock: bytes = field(repr=False)
    how: How
    warnings: tuple[str, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def with_records(self, records: Mapping[str, tuple[Record, ...]]) -> Solution:
        """The same answer with other records for the same packages."""
        return replace(self, records=records)

    @property
    def unique_records(self) -> tuple[Record, ...]:
        """Every record once.

        Raises:
            IntegrityError: one name with two contents.
        """
        return tuple(merge(r for group in self.records.values() for r in group).values())
