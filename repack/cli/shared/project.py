"""``repack.toml``: a project's defaults for options, read from the nearest folder upwards.

A path in it starts at the file's own folder. The command line comes first, then ``REPACK_*``, then
this file.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from repack.errors import DefaultsError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FILE: Final = "repack.toml"
_MAX: Final = 1 << 20
_FOLDERS: Final = (
    "labels_dir", "channels_dir", "store"
)  # fmt: skip
_LISTS: Final = ("channels", "platforms")
_CHOICES: Final = {"prove": ("linked", "solved")}
KEYS: Final = (*_FOLDERS, *_LISTS, *_CHOICES)


def find(folder: Path) -> Path | None:
    """The nearest ``repack.toml`` of ``folder`` and those above it."""
    places = (place / FILE for place in (folder, *folder.parents))
    return next((path for path in places if path.is_file()), None)


def read(path: Path) -> dict[str, Any]:
    """The defaults in ``path``, folders as absolute paths.

    Raises:
        DefaultsError: it is no TOML, or has unknown keys or values of another type; lists all.
        PlaceError: it cannot be read.
    """
    from repack.codec.schema import suggest
    from repack.fs import atomic

    text = ""
    try:
        text = atomic.read(path, _MAX).decode("utf-8")
        values = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        hint = "in double quotes a backslash must be doubled; single quotes take it as it is"
        problem = Problem(str(path), f"is no TOML: {error}", hint if "\\" in text else None)
        raise DefaultsError([problem], where=path) from None
    problems = []
    for key, value in values.items():
        place = f"{path}:{_line(text, key)}"
        if key not in KEYS:
            hint = suggest(key, KEYS) or f"known here: {', '.join(KEYS)}"
            problems.append(Problem(place, f"unknown key {key[:60]!r}", hint))
        elif fault := _fault(key, value):
            problems.append(Problem(place, *fault))
        elif key in _FOLDERS:
            values[key] = path.parent / value
    if problems:
        raise DefaultsError(problems, where=path)
    return values


def _fault(key: str, value: object) -> tuple[str, str] | None:
    if key in _LISTS:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return None
        sample = "conda-forge" if key == "channels" else "linux-64"
        return f"'{key}' must be a list of texts", f'write {key} = ["{sample}"]'
    choices = _CHOICES.get(key)
    if choices and value not in choices:
        return f"'{key}' must be one of {', '.join(choices)}", f'write {key} = "{choices[0]}"'
    if not isinstance(value, str):
        return f"'{key}' must be a text", f'write {key} = "{value}"'
    return None


def _line(text: str, key: str) -> int:
    form = re.compile(rf"""\s*\[*["']?{re.escape(key)}["']?\s*[\]=.]""")
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if form.match(line)), 1)


@cache
def _defaults(folder: Path) -> Mapping[str, Any]:
    path = find(folder)
    return {} if path is None else read(path)


def default(key: str, otherwise: Callable[[], Any]) -> Callable[[], Any]:
    """The default of an option: what ``repack.toml`` says of ``key``, else ``otherwise()``."""

    def look() -> Any:
        values = _defaults(Path.cwd())
        return values[key] if key in values else otherwise()

    return look


def explain(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Which defaults hold here and who says so, for ``repack doctor``."""
    path = find(Path.cwd())
    yield "defaults", str(path) if path else f"no {FILE} here or above"
    said = {key: (f"{FILE}: ", value) for key, value in _defaults(Path.cwd()).items()}
    for key in _FOLDERS:
        name = "REPACK_" + key.upper()
        if name in environment:
            said[key] = (f"{name}: ", environment[name])
    for key, (who, value) in said.items():
        yield f"defaults: {key}", f"{who}{value}"
