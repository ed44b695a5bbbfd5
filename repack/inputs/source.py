"""``from:`` in a label: a lock or environment file that says which packages, instead of a solve.

Of a lock, file names and hashes count alone. The hosts in its URLs do not: the packages come from
the label's channels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from repack.codec.document import decode_text, parse_document
from repack.codec.tree import ProblemList, Table
from repack.inputs.pins import LockedPackages, Pin, WheelPin
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SOURCE: Final = 32 << 20
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
# Comments, then a line with two equals signs.
_EXPORTED: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s*#[^\n]*\n)*\s*[^\s=]+=[^\s=]+=[^\s=]+")
_EXPLICIT: Final = re.compile(rb"^(?:\xef\xbb\xbf)?\s*@EXPLICIT\s*$", re.MULTILINE)


class Source(Value, frozen=True):
    """The ``from:`` of a label.

    Attributes:
        paths: absolute; several when there is a list per platform.
        environment: the environment to take from a pixi.lock.
        categories: the categories to take from a conda-lock.yml.
        line: of ``from:`` in the label, for messages.
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
    """Read a lock or environment file of any format that repack knows.

    Args:
        data: the file.
        where: its name, for messages.
        source: the ``from:`` of the label.
        platforms: the label's platforms; other platforms of a lock are not read.
        check_spec: returns why a text is no MatchSpec, or None when it is one.

    Raises:
        LabelError: its format is unknown, or it holds packages that are not conda's; lists all
            mistakes.
    """
    # Each reader is imported when it is needed: a label has one format at most.
    problems = ProblemList(where)
    data = as_utf8(data)
    if _EXPLICIT.search(data[:MAX_SOURCE]):
        from repack.inputs.explicit import read_explicit

        locked = read_explicit(decode_text(data, problems, MAX_SOURCE), problems, platforms)
        problems.end()
        return locked
    if _EXPORTED.match(data[:MAX_SOURCE]):
        from repack.inputs.export_list import is_export_list, read_export_list

        text = decode_text(data, problems, MAX_SOURCE)
        if is_export_list(text):
            return read_export_list(text, platforms)
    tree = parse_document(data, where, MAX_SOURCE)
    table = tree if isinstance(tree, Table) else Table(1, ())
    if table.get("environments") is not None:
        from repack.inputs.pixi_lock import read_pixi_lock

        locked = read_pixi_lock(table, problems, source.environment, platforms)
    elif table.get("package") is not None:
        from repack.inputs.conda_lock import read_conda_lock

        locked = read_conda_lock(table, problems, source.categories, platforms)
    elif table.get("dependencies") is not None:
        from repack.inputs.environment_yml import read_environment

        locked = read_environment(table, problems, check_spec)
    else:
        problems.add(
            1,
            "neither pixi.lock, conda-lock.yml, explicit list nor environment.yml",
            "an explicit list has a line '@EXPLICIT'; `conda list --explicit --sha256` writes one",
        )
        raise problems.error()
    problems.end()
    return locked


def as_utf8(data: bytes) -> bytes:
    """A file in UTF-8 where it is UTF-16 with a byte order mark, as PowerShell's ``>`` writes it."""
    if not data.startswith(_UTF16):
        return data
    try:
        return data.decode("utf-16").encode()
    except UnicodeDecodeError:
        # Left for whoever decodes it, who names the file.
        return data


def join_sources(
    parts: Sequence[LockedPackages], where: str, platforms: tuple[str, ...]
) -> LockedPackages:
    """Join what several files ask for.

    Raises:
        LabelError: they are of different kinds, two are for one platform, or none is for one of the
            label's ``platforms``.
    """
    problems = ProblemList(where)
    kind = parts[0].kind
    locked = sorted({platform for part in parts for platform in part.platforms})
    pins: dict[str, tuple[Pin, ...]] = {}
    wheels: dict[str, tuple[WheelPin, ...]] = {}
    for part in parts:
        if part.kind != kind:
            problems.add(1, f"{kind} and {part.kind} cannot be mixed")
        for platform in sorted(pins.keys() & part.pins.keys()):
            problems.add(1, f"two of the files are for {platform}")
        pins |= part.pins
        wheels |= part.wheels
    for platform in platforms if kind != "environment" else ():
        if platform not in pins:
            problems.add(
                1, f"nothing is locked for {platform}", f"for: {', '.join(locked) or 'none'}"
            )
    problems.end()
    return LockedPackages(
        kind,
        specs=tuple(dict.fromkeys(spec for part in parts for spec in part.specs)),
        pins=pins,
        platforms=tuple(locked),
        notes=tuple(note for part in parts for note in part.notes),
        wheels=wheels,
        requirements=tuple(dict.fromkeys(text for part in parts for text in part.requirements)),
    )
