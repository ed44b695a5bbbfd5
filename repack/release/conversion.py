"""Packages in the format that the target's conda reads: as they come, or for conda below 4.7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.old_conda.records import ConversionChange
    from repack.release.context import BuildContext
    from repack.solve.solution import Solution


def archives_needed(solution: Solution, context: BuildContext) -> tuple[Record, ...]:
    """The records whose upstream archives must be in the store: not those converted already.

    Raises:
        IntegrityError: one name with two contents.
    """
    if context.archive_format == ".conda":
        return solution.unique_records
    from repack.old_conda.convert import unconverted

    return unconverted(solution.unique_records, context.store)


def convert_packages(
    solution: Solution, needed: Sequence[Record], context: BuildContext
) -> tuple[Solution, tuple[ConversionChange, ...]]:
    """Convert what the target's conda cannot read.

    Args:
        solution: as upstream has it.
        needed: what :func:`archives_needed` named; their archives are in the store.
        context: the build.

    Returns:
        The solution with the converted records, its lock annotated, and what was changed.

    Raises:
        IntegrityError: an archive is damaged.
        SpaceError: the disk is full.
    """
    if context.archive_format == ".conda":
        return solution, ()
    from repack.old_conda.convert import transmute
    from repack.solve.lockfile import annotated
    from repack.store.inspect import inspect

    # Facts are handed on to the archive that is made; to read that one whole takes ten times as
    # long, because bzip2 unpacks slowly.
    inspect([(record, "whole") for record in needed], context.store, progress=context.progress)
    upstream = solution.unique_records
    converted = transmute(upstream, context.store, context.progress)
    by_path = {old.path: new.record for old, new in zip(upstream, converted, strict=True)}
    changes = tuple(result.change for result in converted if result.change is not None)
    return (
        replace(
            solution,
            records={s: tuple(by_path[r.path] for r in rs) for s, rs in solution.records.items()},
            lock=annotated(solution.lock, map(str, changes)),
        ),
        changes,
    )


def warn_of_old_conda(contents: ChannelContents) -> Iterator[str]:
    """What conda below 4.7 will not manage with these packages, a line each."""
    from repack.old_conda.records import noarch_python_trouble, unspeakable, without_link_json

    for subdir, records in contents.records_by_subdir.items():
        pairs = [(record, contents.items[record.path].facts) for record in records]
        if names := noarch_python_trouble(records):
            yield (
                f"{subdir}: conda below 4.7 cannot link noarch python packages for Python 3.10"
                f" and later: {', '.join(names)}"
            )
        if specs := unspeakable(records):
            yield (
                f"{subdir}: conda below 4.7 does not understand these dependencies, so their"
                f" packages cannot be installed there: {', '.join(specs)}"
            )
        if names := without_link_json(pairs):
            yield (
                f"{subdir}: conda below 4.7 takes these noarch python packages, which have no"
                f" info/link.json, for ordinary ones: {', '.join(names)}"
            )
