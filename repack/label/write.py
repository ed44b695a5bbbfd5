"""The text of a new label file, with a comment for each thing that is likely to be changed next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from msgspec import field

from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repack.names import LabelName


class LabelText(Value, frozen=True):
    """What a new label file says, as it is spelt there.

    Attributes:
        channels: with ``${NAME}`` where a secret belongs.
        source: a lock or environment file, relative to the label's folder, instead of ``packages``.
        notes: why the profiles are not the defaults, a line each.
    """

    hidden_fields: ClassVar = ("channels",)

    name: LabelName
    channels: tuple[str, ...]
    packages: tuple[str, ...] = ()
    platforms: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    source: str | None = None
    notes: tuple[str, ...] = ()


def write_label(text: LabelText) -> str:
    """The file, as YAML. Every text is in double quotes, which JSON and YAML read alike."""
    return "".join(f"{line}\n" for line in _lines(text))


def _lines(text: LabelText) -> Iterator[str]:
    name = text.name
    yield f"# What {name} gets. Build it:  repack label {name}"
    yield "# Every key: docs/label.md; for editors: repack schema"
    yield f"label: {_quoted(name)}"
    yield "# In priority order. A secret is named, never written: https://host/t/${TOKEN}/channel"
    yield "channels:"
    yield from (f"  - {_quoted(channel)}" for channel in text.channels)
    if text.source is not None:
        yield "# The packages are those of this file; or list them: packages: [python]"
        yield f"from: {_quoted(text.source)}"
    else:
        yield "packages:"
        yield from (f"  - {_quoted(spec)}" for spec in text.packages)
    yield "# What the targets have; {} is the oldest supported machine (glibc 2.17, any Windows)."
    yield from (f"# {note}" for note in text.notes)
    yield "platforms:"
    for subdir, values in text.platforms.items():
        yield f"  {profile_line(subdir, values)}"
    yield "# One line for people, on the page:"
    yield f"# description: {name}"
    yield "# Run in the environment after each installation; it must end with 0:"
    yield '# health_check: [python, -c, "import sys"]'
    yield "# Folders that are packed along, each a package NAME-models and so on:"
    yield '# bundles: {models: {path: data/models, version: "2024.10.0"}}'
    yield f"# Signing keys, after `repack key new {name}`:"
    yield f"# signing: {{keys: keys/{name}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def profile_line(subdir: str, values: Mapping[str, str | None], *, as_json: bool = False) -> str:
    """The line of a label file that gives ``subdir`` a profile, such as ``win-64: {}``."""
    quote = '"' if as_json else ""
    pairs = (
        f"{quote}{name}{quote}: " + ("null" if value is None else f'"{value}"')
        for name, value in values.items()
    )
    return f"{quote}{subdir}{quote}: {{{', '.join(pairs)}}}"
