"""Label files on disk: which there are, and reading one with all it names.

Rules of this module: variables come from a given mapping, never from the process; a relative path
in a label means the file beside the label, or, if there is none, the one in the working folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.codec.schema import suggest
from repack.errors import IntegrityError, LabelError, PlaceError, Problem, RepackError, UsageError
from repack.fs import atomic, beneath
from repack.label.reader import MAX_LABEL, LabelContext, parse_label
from repack.label.without_file import label_without_file
from repack.names import LabelName

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.inputs.pins import LockedPackages
    from repack.inputs.source import Source
    from repack.label.label import Label
    from repack.label.reader import PackagesFrom
    from repack.label.without_file import UnwrittenLabel

SUFFIXES: Final = (".yaml", ".yml", ".json")
_MAX_SECRET: Final = 64 << 10


class Variables(Mapping[str, str]):
    """Variables, and ``file:PATH`` as one more, whose value is the file's text.

    A trailing line break of such a file is dropped: editors and ``echo`` add it.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def __getitem__(self, name: str) -> str:
        """The value of ``name``; KeyError when it is not set or its file cannot be read."""
        if not name.startswith("file:"):
            return self._environment[name]
        path = self._folder / name.removeprefix("file:")
        try:
            return atomic.read(path, _MAX_SECRET).decode("utf-8").rstrip("\r\n")
        except (RepackError, UnicodeDecodeError, ValueError):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        """The variables; the files are not known beforehand."""
        return iter(self._environment)

    def __len__(self) -> int:
        """How many variables there are."""
        return len(self._environment)


def names(folder: Path) -> tuple[LabelName, ...]:
    """The labels that have a file in ``folder``, sorted.

    Raises:
        PlaceError: the folder cannot be read.
    """
    with atomic.os_errors_at(folder):
        stems = {Path(e.name).stem for e in beneath.scan(folder) if e.name.endswith(SUFFIXES)}
    labels = []
    for stem in stems:
        with contextlib.suppress(UsageError):
            labels.append(LabelName(stem))
    return tuple(sorted(labels))


def find(folder: Path, name: str) -> Path:
    """The file of label ``name`` in ``folder``.

    Raises:
        UsageError: the name is no label's, there is no such file, or there are two.
        PlaceError: the folder cannot be read.
    """
    LabelName(name)
    paths = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(paths) > 1:
        both = ", ".join(path.name for path in paths)
        raise UsageError(f"label {name!r} is defined twice: {both}", where=folder)
    if not paths:
        if not folder.is_dir():
            raise UsageError(
                "there is no such folder of labels",
                where=folder,
                hint=f"say --labels-dir, or begin: repack init {name} -c CHANNEL PACKAGE…",
            )
        labels = names(folder)
        listing = (
            f"labels here: {', '.join(labels[:20])}"
            if labels
            else (f"the folder has no labels; begin: repack init {name} -c CHANNEL PACKAGE…")
        )
        raise UsageError(
            f"unknown label {name!r}", where=folder, hint=suggest(name, labels) or listing
        )
    return paths[0]


def load(
    path: Path,
    environment: Mapping[str, str],
    check_spec: Callable[[str], str | None],
    packages_from: PackagesFrom = "label",
    folder_fault: Callable[[str], str | None] = lambda _path: None,
) -> Label:
    """Read the label file ``path``.

    Args:
        path: the file; the label must be called like it.
        environment: the variables it may name.
        check_spec: says why a text is no MatchSpec, or None when it is one.
        packages_from: ``env`` when a prepared environment brings the packages.
        folder_fault: says why a bundle's folder cannot be packed; not asked if not given.

    Raises:
        LabelError: the file has mistakes; holds all of them.
        PlaceError: it cannot be read.
    """
    context = LabelContext(
        environment=Variables(environment, path.parent),
        check_spec=check_spec,
        locate=lambda text: locate(text, path.parent),
        expect_name=path.stem,
        packages_from=packages_from,
        folder_fault=folder_fault,
    )
    return parse_label(_read(path, MAX_LABEL), str(path), context)


def has_file(folder: Path, name: str) -> bool:
    """Whether label ``name`` has a file in ``folder``, which need not exist."""
    LabelName(name)
    return any((folder / f"{name}{suffix}").is_file() for suffix in SUFFIXES)


def compose(
    request: UnwrittenLabel,
    environment: Mapping[str, str],
    check_spec: Callable[[str], str | None],
    packages_from: PackagesFrom = "label",
) -> Label:
    """A label that no file defines; its relative paths start in the working folder.

    Raises:
        LabelError: the request has mistakes; holds all of them.
    """
    here = Path.cwd()
    context = LabelContext(
        environment=Variables(environment, here),
        check_spec=check_spec,
        locate=lambda text: locate(text, here),
        expect_name=request.name,
        packages_from=packages_from,
    )
    return label_without_file(request, context)


def folder_fault(folder: str) -> str | None:
    """Why ``folder`` cannot be packed, as far as a look at it tells; None when it can."""
    path = Path(folder)
    try:
        if not path.is_dir():
            return f"{folder} is {'no folder' if path.exists() else 'not there'}"
        return None if beneath.scan(path) else f"{folder} is empty"
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}"


def locate(text: str, folder: Path) -> str:
    """The absolute path that ``text``, in a label of ``folder``, means."""
    beside = folder / text
    chosen = beside if os.path.lexists(beside) else Path(text)
    return os.path.abspath(chosen)  # noqa: PTH100 - must not follow links as resolve() does


def read_source(source: Source, platforms: tuple[str, ...]) -> LockedPackages:
    """Read what a label's ``from:`` names.

    Args:
        source: what the label says.
        platforms: the label's platforms.

    Raises:
        LabelError: a file is no lock or environment file, or not one of this label's platforms.
        PlaceError: one cannot be read.
    """
    from repack.conda.match_spec import spec_fault
    from repack.inputs.source import MAX_SOURCE, join_sources, parse_source

    parts = []
    problems: list[Problem] = []
    for name in source.paths:
        try:
            data = _read(Path(name), MAX_SOURCE)
            parts.append(parse_source(data, name, source, platforms, spec_fault))
        except LabelError as error:
            problems.extend(error.problems)
        except PlaceError as error:
            problems.append(Problem(name, error.what, "'from' of the label names it"))
    if problems:
        raise LabelError(problems)
    return join_sources(parts, ", ".join(source.paths), platforms)


def survey_source(
    path: Path, platforms: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channels and the platforms that a lock or environment file names; either may be none.

    Raises:
        LabelError: it is no such file.
        PlaceError: it cannot be read.
    """
    from repack.conda.match_spec import spec_fault
    from repack.inputs.source import MAX_SOURCE, Source, parse_source
    from repack.inputs.source_channels import read_source_channels

    data, where = _read(path, MAX_SOURCE), str(path)
    locked = parse_source(data, where, Source((where,)), platforms, spec_fault)
    return read_source_channels(data, where), locked.platforms


def _read(path: Path, limit: int) -> bytes:
    try:
        return atomic.read(path, limit)
    except IntegrityError:
        problem = Problem(str(path), f"the file is too large; at most {limit >> 20} MiB are read")
        raise LabelError([problem], where=path) from None
