"""Reference pages made from the program: commands from click, keys from the label's schema."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

import click

import repack as api
from repack.cli.main import COMMANDS, repack
from repack.label.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.label.schema import Schema

_WORDS: Final[dict[str, str]] = {"array": "list", "object": "table"}
# Too common to be worth a row at each command.
_EVERYWHERE: Final = {"--json", "--help"}


def python_page() -> str:
    """The Python API: every public name, with its text and its fields."""
    lines = [
        "# Python",
        "",
        "Made from the program by `python -m scripts.docs`. All names are typed (`py.typed`) and those",
        "of the package itself: `from repack import build, RepackError`. Every other module may change",
        "with any version.",
        "",
    ]
    errors = []
    for name in sorted(set(api.__all__) - {"__version__"}, key=str.lower):
        value = getattr(api, name)
        if inspect.isclass(value) and issubclass(value, api.RepackError):
            first = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
            bases = ", ".join(base.__name__ for base in value.__bases__)
            errors.append(f"| `{name}` | `{bases}` | {value.exit_code} | {first} |")
            continue
        signature = f"{name}(label: str, **options: Unpack[Options]) -> Outcome"
        lines += [f"## `{name}`", ""]
        lines += [f"    {signature}", ""] * (name == "build")
        lines += _sections(inspect.getdoc(value) or "")
    lines += ["## Errors", "", "| class | is a | exit code | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *errors, ""])


def _sections(text: str) -> list[str]:
    """A docstring in Google's form as Markdown: its sections become lists."""
    text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text).replace("``", "`")
    lines: list[str] = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        item = re.fullmatch(r"    (\w+): (.*)", line)
        if indent == 0 and line.endswith(":") and " " not in line:
            lines += [f"**{line}**", ""]
        elif item:
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif indent > 4:
            lines.append(f"  {line.strip()}")
        else:
            lines.append(line.strip())
    return [*lines, ""]


def commands_page() -> str:
    """Every command with its arguments and options."""
    context = click.Context(repack, info_name="repack")
    lines = [
        "# Commands",
        "",
        "Made from the program by `python -m scripts.docs`.",
        "",
        "Every command takes `--json` (results on stdout, progress on stderr) and `--help`.",
        "What the exit codes mean stands in [errors](../errors.md).",
        "",
    ]
    for name in COMMANDS:
        found = repack.get_command(context, name)
        assert found is not None
        lines += _command(found, name, context)
    return "\n".join(lines)


def label_page() -> str:
    """Every key of a label file, nested ones by their path."""
    return "\n".join(
        [
            "# Keys of a label file",
            "",
            "Made from the label's schema by `python -m scripts.docs`. What the keys do is told in",
            "[label files](../label.md); editors take [label.schema.json](../label.schema.json),",
            "which `repack schema` prints too.",
            "",
            "| key | value | |",
            "|---|---|---|",
            *(
                f"| `{path}` | {_cell(_value(inner))} | {_cell(inner.get('description', ''))} |"
                for path, inner in _keys(SCHEMA, "")
            ),
            "",
        ]
    )


def _command(found: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(found, info_name=name, parent=parent)
    children = found.list_commands(context) if isinstance(found, click.Group) else []
    level = "##" if parent.parent is None else "###"
    usage = " ".join(found.collect_usage_pieces(context))
    yield from (f"{level} {context.command_path}", "", *_prose(found.help or ""))
    yield from ("```", f"{context.command_path} {usage}", "```", "")
    yield from _options(found, context)
    yield from _prose(found.epilog or "")
    for child in children:
        inner = found.get_command(context, child) if isinstance(found, click.Group) else None
        if inner is not None and not inner.hidden:
            yield from _command(inner, child, context)


def _prose(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        # click's own mark: a paragraph that begins with a backspace keeps its lines
        if paragraph.startswith("\b"):
            yield from ("```", paragraph.removeprefix("\b").strip("\n"), "```", "")
        elif paragraph:
            yield from (paragraph.replace("\\", "\\\\"), "")


def _options(found: click.Command, context: click.Context) -> Iterator[str]:
    records = [one.get_help_record(context) for one in found.get_params(context)]
    kept = [
        (flags, text)
        for flags, text in filter(None, records)
        # an argument says its name in the usage already
        if not _EVERYWHERE & set(flags.split(", ")) and (text or flags.startswith("-"))
    ]
    if kept:
        yield from ("| option | |", "|---|---|")
        # No two renderers agree on how a bar is written in code in a table.
        yield from (f"| `{flags.replace('|', ',')}` | {_cell(text)} |" for flags, text in kept)
        yield ""


def _keys(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    inside = schema.get("properties", {})
    if len(inside) > 2 and all(one == next(iter(inside.values())) for one in inside.values()):
        inside = {f"{{{','.join(inside)}}}": next(iter(inside.values()))}
    for name, inner in inside.items():
        yield f"{path}{name}", inner
        yield from _keys(inner, f"{path}{name}.")
    for key, step in (("items", "[]."), ("additionalProperties", ".NAME.")):
        if isinstance(schema.get(key), dict):
            yield from _keys(schema[key], path.removesuffix(".") + step)


def _value(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    types: list[str] = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    said = " or ".join(_WORDS.get(one, one) for one in types)
    if "form" in schema:
        said = schema["form"]
    if "minimum" in schema:
        said += f", {schema['minimum']} to {schema['maximum']}"
    return said


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
