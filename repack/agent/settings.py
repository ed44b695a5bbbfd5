"""A target's settings: TOML snippets, later ones over earlier ones.

TOML 1.0 is read by the standard library, which does not say on which line a key stands; so the
lines are looked up in the text afterwards. All mistakes of all snippets are reported together.

The files may be shared with another updater: sections that are not ours are ignored with a note, and
its ``primary_ecu_hardware_id`` serves as the label where there is none. In our sections every key is
ours, so that a mistyped one is an error.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from msgspec import Struct

from repack.codec.document import decode_text
from repack.codec.schema import check_schema, suggest
from repack.codec.tree import Items, ProblemList, Scalar, Table, TableEntry
from repack.conda.subdir import PLATFORMS
from repack.errors import LabelError, Problem, SettingsError, UsageError
from repack.names import LabelName
from repack.trust.selection import CLOCK_STEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.codec.schema import Schema
    from repack.codec.tree import Node
    from repack.trust.selection import SignedFor

LIMIT: Final = 1 << 20
Engine = Literal["auto", "rattler", "conda"]
DEFAULT_KEEP: Final = 2
DEFAULT_TIMEOUT: Final = 600
_SECTION: Final = re.compile(r"""\s*\[\[?\s*["']?([A-Za-z0-9_-]+)["']?\s*[\].]""")
_KEY: Final = re.compile(
    r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*(?:\.\s*["']?([A-Za-z0-9_-]+)["']?\s*)?="""
)
_TOML_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")

_TEXT: Final[Schema] = {"type": "string", "pattern": r"\S", "form": "a text"}
# One command as its words, or several of them.
_COMMANDS: Final[Schema] = {
    "type": "array",
    "minItems": 1,
    "sample": 'write the words of the command: ["systemctl", "restart", "ratingpro"]',
    "items": {"type": ["string", "array"], "minItems": 1, "items": {"type": "string"}},
}


def _section(**keys: Schema) -> Schema:
    return {"type": "object", "properties": keys}


SCHEMA: Final[Schema] = _section(
    provision=_section(
        label=_TEXT,
        primary_ecu_hardware_id=_TEXT,
        platform={"type": "string", "enum": list(PLATFORMS)},
        tag=_TEXT,
        type={"type": "string", "enum": ["ci", "production"]},
        license_store=_TEXT,
    ),
    storage=_section(root=_TEXT, keep={"type": "integer", "minimum": 1, "maximum": 1000}),
    install=_section(engine={"type": "string", "enum": list(get_args(Engine))}),
    trust=_section(root=_TEXT, clock_step={"type": "integer", "minimum": 1, "maximum": 3650}),
    services=_section(restart=_COMMANDS, stop=_COMMANDS, start=_COMMANDS),
    log=_section(path=_TEXT),
    health=_section(
        command=_COMMANDS, timeout={"type": "integer", "minimum": 1, "maximum": 86_400}
    ),
)


# Settings that go into a field of TargetSettings as they are.
_FIELDS: Final = {
    ("provision", "label"): "label",
    ("provision", "platform"): "platform",
    ("provision", "tag"): "tag",
    ("provision", "type"): "type",
    ("provision", "license_store"): "license_store",
    ("storage", "root"): "root",
    ("storage", "keep"): "keep",
    ("install", "engine"): "engine",
    ("trust", "root"): "trust_root",
    ("trust", "clock_step"): "clock_step",
    ("log", "path"): "log_path",
}
_HARDWARE_ID: Final = ("provision", "primary_ecu_hardware_id")


_PATHS: Final = (
    ("provision", "license_store"), ("storage", "root"), ("trust", "root"), ("log", "path"),
)  # fmt: skip


class Snippet(Struct, frozen=True):
    """One file of settings; ``folder`` is what its relative paths start from."""

    name: str
    folder: str
    data: bytes


Command = tuple[str, ...]


class Services(Struct, frozen=True):
    """What uses the environment; with neither ``stop`` nor ``start``, ``restart`` follows a switch."""

    restart: tuple[Command, ...] = ()
    stop: tuple[Command, ...] = ()
    start: tuple[Command, ...] = ()


class Health(Struct, frozen=True):
    """The site's own health check, run after the label's."""

    commands: tuple[Command, ...] = ()
    timeout: int = DEFAULT_TIMEOUT


class PathIn(Struct, frozen=True):
    """A path as written, and the folder of the file it was written in."""

    folder: str
    text: str


class TargetSettings(Struct, frozen=True):
    """The merged settings of a target.

    Attributes:
        platform: None for this machine's own.
        license_store: the licences, for labels that ask for one; None where none was named.
        root: where labels are installed; None for this system's usual place.
        keep: how many releases that went well stay on the disk, the current one included.
        engine: what fills environments; ``auto`` is py-rattler where it runs, else conda.
        trust_root: the pinned ``root.json``; None for the usual places.
        clock_step: days that metadata may be ahead of clock and targets' signing time.
        log_path: the folder of the logs, or one file; None for this system's usual place.
        notes: what was ignored.
    """

    label: LabelName
    platform: str | None = None
    tag: str | None = None
    type: SignedFor = "production"
    license_store: PathIn | None = None
    root: PathIn | None = None
    keep: int = DEFAULT_KEEP
    engine: Engine = "auto"
    trust_root: PathIn | None = None
    clock_step: int = CLOCK_STEP.days
    log_path: PathIn | None = None
    services: Services = Services()
    health: Health = Health()
    notes: tuple[str, ...] = ()


def merge(snippets: Iterable[Snippet]) -> TargetSettings:
    """Read snippets in their order; a key of a later one replaces that of an earlier one.

    Raises:
        SettingsError: lists every mistake of every file; or no label is named.
    """
    values: dict[tuple[str, str], Any] = {}
    problems: list[Problem] = []
    names: list[str] = []
    notes: list[str] = []
    for snippet in snippets:
        names.append(snippet.name)
        try:
            values |= _read(snippet, notes)
        except LabelError as error:  # what the readers of hand-written files raise
            problems += error.problems
    if _HARDWARE_ID in values and ("provision", "label") not in values:
        name, line, text = values[_HARDWARE_ID]
        try:
            values["provision", "label"] = LabelName(text)
        except UsageError as error:
            what = f"'provision.primary_ecu_hardware_id' is no label's name: {error.what}"
            problems.append(Problem(f"{name}:{line}", what, '[provision] label = "NAME"'))
    if not problems and ("provision", "label") not in values:
        where = ", ".join(names) or "no settings were found"
        problems.append(
            Problem(where, "'provision.label' is missing", '[provision] label = "NAME"')
        )
    if problems:
        raise SettingsError(problems)
    return _settings(values, notes)


def _settings(values: Mapping[tuple[str, str], Any], notes: Iterable[str]) -> TargetSettings:
    def commands(section: str, key: str) -> tuple[Command, ...]:
        value = values.get((section, key), ())
        if value and isinstance(value[0], str):
            return (tuple(value),)
        return tuple(tuple(command) for command in value)

    return TargetSettings(
        **{
            field: values[section, key]
            for (section, key), field in _FIELDS.items()
            if (section, key) in values
        },
        services=Services(
            commands("services", "restart"),
            commands("services", "stop"),
            commands("services", "start"),
        ),
        health=Health(
            commands("health", "command"), values.get(("health", "timeout"), DEFAULT_TIMEOUT)
        ),
        notes=tuple(notes),
    )


def _read(snippet: Snippet, notes: list[str]) -> dict[tuple[str, str], Any]:
    problems = ProblemList(snippet.name)
    text = decode_text(snippet.data, problems, LIMIT)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_LINE.search(str(error))
        line = int(match[1]) if match else text.count("\n") + 1
        problems.add(line, f"not TOML: {_TOML_LINE.sub('', str(error)).strip()}"[:200])
        raise problems.error() from None
    lines = _lines(text)
    for name in _foreign_sections(document):
        near = suggest(name, SCHEMA["properties"])
        note = f"{snippet.name}:{lines.get((name,), 1)}: section [{name}] is not repack's: ignored"
        notes.append(f"{note} ({near})" if near else note)
        del document[name]
    check_schema(_table(document, lines, ()), SCHEMA, problems)
    values = {
        (section, key): value
        for section, table in document.items()
        if isinstance(table, dict)
        for key, value in table.items()
    }
    _check_values(values, lines, problems)
    problems.end()
    for key in _PATHS:
        if key in values:
            values[key] = PathIn(snippet.folder, values[key])
    if ("provision", "label") in values:
        values["provision", "label"] = LabelName(values["provision", "label"])
    if _HARDWARE_ID in values:
        values[_HARDWARE_ID] = (snippet.name, lines.get(_HARDWARE_ID, 1), values[_HARDWARE_ID])
    return values


def _foreign_sections(document: Mapping[str, Any]) -> list[str]:
    """Tables, and lists of tables, that have no name of ours."""
    return [
        name
        for name, value in document.items()
        if name.lower() not in SCHEMA["properties"]
        and (isinstance(value, dict) or (isinstance(value, list) and value and _is_tables(value)))
    ]


def _is_tables(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _check_values(
    values: Mapping[tuple[str, str], Any],
    lines: Mapping[tuple[str, ...], int],
    problems: ProblemList,
) -> None:
    """Check what the schema cannot say: the label's name; commands that mix words and lists."""
    label = values.get(("provision", "label"))
    if isinstance(label, str):
        try:
            LabelName(label)
        except UsageError as error:
            problems.add(lines.get(("provision", "label"), 1), f"'provision.label': {error.what}")
    for key, value in values.items():
        if isinstance(value, list) and len({type(item) for item in value}) > 1:
            what = f"'{'.'.join(key)}' mixes words and commands"
            problems.add(lines.get(key, 1), what, "one command is a list of words")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each section and key; the first place counts."""
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SECTION.match(line):
            section = (match[1],)
            lines.setdefault(section, number)
        elif match := _KEY.match(line):
            names = tuple(name for name in match.groups() if name)
            for end in range(1, len(names) + 1):
                lines.setdefault((*section, *names[:end]), number)
    return lines


_Kind = Literal["text", "int", "float", "bool", "date"]
_KINDS: Final[dict[type, _Kind]] = {str: "text", bool: "bool", int: "int", float: "float"}


def _table(
    document: Mapping[str, Any], lines: Mapping[tuple[str, ...], int], at: tuple[str, ...]
) -> Table:
    line = lines.get(at, lines.get(at[:1], 1))
    entries = []
    for key, value in document.items():
        path = (*at, key)
        entries.append(TableEntry(key, lines.get(path, line), _node(value, lines, path)))
    return Table(line, tuple(entries))


def _node(value: Any, lines: Mapping[tuple[str, ...], int], at: tuple[str, ...]) -> Node:
    if isinstance(value, dict):
        return _table(value, lines, at)
    line = lines.get(at, lines.get(at[:1], 1))
    if isinstance(value, list):
        return Items(line, tuple(_node(item, lines, at) for item in value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return Scalar(line, text, _KINDS.get(type(value), "date"))
