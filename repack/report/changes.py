"""What a release changes in the one before, package by package."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from repack.conda.subdir import NOARCH
from repack.display import shown
from repack.report.document import Difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from repack.conda.record import Record
    from repack.report.document import Step

# What needs a second look comes first.
_ORDER: Final[tuple[Step, ...]] = (
    "replaced",
    "downgraded",
    "relicensed",
    "removed",
    "added",
    "updated",
    "rebuilt",
)


def compare(
    before: Iterable[Record], after: Iterable[Record], older: Callable[[str, str], bool]
) -> tuple[Difference, ...]:
    """The changes, those first that need a second look.

    A package that moves between ``noarch`` and a platform is one change, not two.

    Args:
        before: the release before.
        after: this one.
        older: says whether the first of two versions is older than the second.
    """
    old, new = _by_name(before), _by_name(after)
    differences: dict[tuple[object, ...], Difference] = {}
    for name in sorted(old.keys() | new.keys()):
        for was, now in _pairs(old.get(name, {}), new.get(name, {})):
            change = _change(was, now, older)
            if change is None:
                continue
            key = (name, change.step, change.before, change.after, change.licence_before)
            if same := differences.get(key):
                change = _merge(same, change)
            differences[key] = change
    return tuple(sorted(differences.values(), key=lambda d: (_ORDER.index(d.step), d.name)))


def _by_name(records: Iterable[Record]) -> dict[str, dict[str, Record]]:
    records_by_name: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.path):
        # Platforms may need different builds of one noarch package.
        key = record.subdir
        while key in records_by_name[record.name]:
            key += "+"
        records_by_name[record.name][key] = record
    return records_by_name


def _pairs(
    old: dict[str, Record], new: dict[str, Record]
) -> list[tuple[Record | None, Record | None]]:
    gone = {key: old[key] for key in old.keys() - new.keys()}
    come = {key: new[key] for key in new.keys() - old.keys()}
    pairs: list[tuple[Record | None, Record | None]]
    pairs = [(old[key], new[key]) for key in sorted(old.keys() & new.keys())]
    if gone and come and (NOARCH in gone or NOARCH in come):
        one_gone, one_come = gone[min(gone)], come[min(come)]
        pairs += [(gone.pop(key), one_come) for key in sorted(gone)]
        pairs += [(one_gone, come[key]) for key in sorted(come) if key != min(come)]
        come = {}
    pairs += [(gone[key], None) for key in sorted(gone)]
    pairs += [(None, come[key]) for key in sorted(come)]
    return pairs


def _change(
    was: Record | None, now: Record | None, older: Callable[[str, str], bool]
) -> Difference | None:
    # Converting changes no package, so SHA-256 is compared under one file name alone.
    if (
        was
        and now
        and (was.dist, licence_of(was)) == (now.dist, licence_of(now))
        and not _is_replaced(was, now)
    ):
        return None
    record = now or was
    assert record is not None  # noqa: S101 - a pair holds at least one
    return Difference(
        name=shown(record.name),
        platforms=(record.subdir,),
        step=_step(was, now, older),
        before=_version(was, now),
        after=_version(now, was),
        bytes_before=was.size if was else 0,
        bytes_after=now.size if now else 0,
        licence_before=shown(licence_of(was), 120) if was else "",
        licence_after=shown(licence_of(now), 120) if now else "",
    )


def _step(was: Record | None, now: Record | None, older: Callable[[str, str], bool]) -> Step:
    if was is None:
        return "added"
    if now is None:
        return "removed"
    if _is_replaced(was, now):
        return "replaced"
    if older(now.version, was.version):
        return "downgraded"
    if licence_of(was) != licence_of(now):
        return "relicensed"
    return "updated" if was.version != now.version else "rebuilt"


def _is_replaced(was: Record, now: Record) -> bool:
    """Whether a file name has other content than before."""
    return was.path == now.path and was.sha256 != now.sha256


def _version(record: Record | None, other: Record | None) -> str:
    if record is None:
        return ""
    build = other is not None and other.version == record.version
    return shown(f"{record.version} {record.build}" if build else record.version, 80)


def licence_of(record: Record, archive_licence: str | None = None) -> str:
    """The licence in the record, which upstream may have corrected, or else in the archive."""
    return shown(record.raw.get("license") or archive_licence, 300)


def _merge(difference: Difference, twin: Difference) -> Difference:
    """One row for the same change on several platforms."""
    return replace(
        difference,
        platforms=tuple(sorted({*difference.platforms, *twin.platforms})),
        bytes_before=difference.bytes_before + twin.bytes_before,
        bytes_after=difference.bytes_after + twin.bytes_after,
    )
