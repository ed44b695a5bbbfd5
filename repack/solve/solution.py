"""What a label resolved to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from msgspec import Struct, field

from repack.conda.record import merge_records
from repack.structs import Value

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from repack.conda.record import Record
    from repack.conda.virtual_packages import TargetProfile
    from repack.inputs.pins import WheelPin

How = Literal["kept", "solved", "harvested"]


class SolveRequest(Struct, frozen=True):
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


class Solution(Value, frozen=True):
    """The exact packages of a label.

    Attributes:
        requests: what the target will ask for, per subdir.
        records: per subdir, ``noarch`` ones included in each, sorted by path.
        lock: the lock file's bytes.
        warnings: what turned up on the way.
        wheels: per subdir, to become packages.
        secrets: what the records' URLs hold beyond the label's own.
        replaced: packages with other content than before under the same name, a line each.
        unheld: packages of a ``from:`` lock from elsewhere without a hash, a line each.
    """

    hidden_fields: ClassVar = (
        "lock",
        "secrets",
    )

    requests: Mapping[str, SolveRequest]
    records: Mapping[str, tuple[Record, ...]]
    lock: bytes
    how: How
    warnings: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()
    replaced: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()
    wheels: Mapping[str, tuple[WheelPin, ...]] = field(default_factory=dict)

    @property
    def unique_records(self) -> tuple[Record, ...]:
        """Every record once.

        Raises:
            IntegrityError: one name with two contents.
        """
        return tuple(merge_records(r for group in self.records.values() for r in group).values())
