"""``from:`` in a label: a lock or environment file that says which packages, instead of a solve.

A lock counts by file name and hash alone; which host its URLs name doesn't matter, the packages
come from the label's channels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from repack.codec.document import decode_text, parse_document
from repack.codec.tree import ProblemList, Table
from repack.inputs.pins import LockedPackages, Pin
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SOURCE: Final = 32 << 20
_EXPLICIT: Final = re.compile(rb"^\s*@EXPLICIT\s*$", re.MULTILINE)


class Source(Value, frozen=True):
    """What a label says of its ``from:`` file.

    Attributes:
        paths: absolute; several when a list per platform makes up the whole.
        environment: which environment of a pixi.lock.
        categories: which categories of a conda-lock.yml.
        line: where the label says so, for messages.
    """

    uncompared_fields: ClassVar = ("line",)

    paths: tuple[str, ...]
    environment: str = "default"
    categories: tuple[str, ...] = ("main",)
    line: int = 1


def parse_source(
    data: bytes,
    where: str,
    source: Source,
    platforms: tuple[str, ...],
    check_spec: Callable[[str], str | None],
) -> LockedPackages:
    """Read a lock or environment file of any kind repack knows.

    Args:
        data: the file.
        where: its name, for messages.
        source: what the label says of it.
        platforms: the label's platforms; the rest of a lock is not looked at.
        check_spec: says why a text is no MatchSpec, or None when it is one.

    Raises:
        LabelError: it is none of these files, or holds what conda has no package for; all of it
            at once.
    """
    # Each format is imported when it is met: a label has one of them at most.
    findings = ProblemList(where)
    if _EXPLICIT.search(data[:MAX_SOURCE]):
        from repack.inputs.explicit import read_explicit

        wanted = read_explicit(decode_text(data, findings, MAX_SOURCE), findings, platforms)
        findings.end()
        return wanted
    tree = parse_document(data, where, MAX_SOURCE)
    table = tree if isinstance(tree, Table) else Table(1, ())
    if table.get("environments") is not None:
        from repack.inputs.pixi_lock import read_pixi_lock

        wanted = read_pixi_lock(table, findings, source.environment, platforms)
    elif table.get("package") is not None:
        from repack.inputs.conda_lock import read_conda_lock

        wanted = read_conda_lock(table, findings, source.categories, platforms)
    elif table.get("dependencies") is not None:
        from repack.inputs.environment_yml import read_environment

        wanted = read_environment(table, findings, check_spec)
    else:
        findings.add(
            1,
            "neither pixi.lock, conda-lock.yml, explicit list nor environment.yml",
            "an explicit list has a line '@EXPLICIT'; `conda list --explicit --sha256` writes one",
        )
        raise findings.error()
    findings.end()
    return wanted


def join_sources(
    parts: Sequence[LockedPackages], where: str, platforms: tuple[str, ...]
) -> LockedPackages:
    """What several files ask for together.

    Raises:
        LabelError: they are of different kinds, say different things of one platform, or lack one
            of the label's ``platforms``.
    """
    findings = ProblemList(where)
    kind = parts[0].kind
    has = sorted({platform for part in parts for platform in part.platforms})
    pins: dict[str, tuple[Pin, ...]] = {}
    for part in parts:
        if part.kind != kind:
            findings.add(1, f"{kind} and {part.kind} cannot be mixed")
        for platform, found in part.pins.items():
            if platform in pins:
                findings.add(1, f"two of the files are for {platform}")
            pins[platform] = found
    for platform in platforms if kind != "environment" else ():
        if platform not in pins:
            findings.add(1, f"nothing is locked for {platform}", f"for: {', '.join(has) or 'none'}")
    findings.end()
    return LockedPackages(
        kind,
        specs=tuple(dict.fromkeys(spec for part in parts for spec in part.specs)),
        pins=pins,
        platforms=tuple(has),
        notes=tuple(note for part in parts for note in part.notes),
    )
