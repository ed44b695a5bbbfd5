"""``${NAME}`` in a label: where values and secrets come in from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec import Struct

from repack.urls import secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_AUTHORITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*\Z")
_END_OF_USER: Final = re.compile(r"[^/]*@")
_SAFE_IN_USER: Final = "%!$&'()*+,;="
# A shorter value, such as the `3` of a path, stands in any file by chance.
_SHORTEST_SECRET: Final = 6


class FilledText(Struct, frozen=True):
    """A text with its variables filled in.

    Attributes:
        text: may hold secrets.
        secrets: the values that were filled in, but for hosts and values too short to hide.
        faults: what is wrong, in pairs of what and hint; then ``text`` is of no use.
    """

    text: str
    secrets: frozenset[str]
    faults: tuple[tuple[str, str | None], ...]


def fill(text: str, environment: Mapping[str, str]) -> FilledText:
    """Replace every ``${NAME}`` by the value of NAME in ``environment``.

    A user or password is percent-encoded where it would tear the URL. NAME is a variable, or ``env:VARIABLE``, or ``file:PATH`` where ``environment`` knows such keys.
    """
    faults: list[tuple[str, str | None]] = []
    secrets: set[str] = set()
    parts: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        name = match[1].removeprefix("env:")
        if not (_NAME.match(name) or name.startswith("file:")):
            faults.append((f"'{match.group()[:60]}' names no variable", "write ${NAME}"))
            continue
        value = environment.get(name)
        if not value or not value.isprintable() or value != value.strip():
            faults.append(_fault(name, value))
            continue
        before, after = "".join(parts), text[end:]
        if not _AUTHORITY.match(before):
            secrets |= _secrets_of(value)
        elif _END_OF_USER.match(after):
            secrets |= {value, value := quote(value, safe=_SAFE_IN_USER)}
        parts.append(value)
    if "${" in text[end:]:
        faults.append(("'${' is not closed", "write ${NAME}"))
    return FilledText("".join(parts) + text[end:], frozenset(secrets), tuple(faults))


def _fault(name: str, value: str | None) -> tuple[str, str | None]:
    if name.startswith("file:"):
        what = (
            "is empty" if value == "" else "cannot be read" if value is None else "is no one word"
        )
        return f"the file of '${{{name}}}' {what}", "it should hold the secret and nothing else"
    if value is None:
        return f"variable {name} is not set", f"export {name}=…"
    if value == "":
        return f"variable {name} is empty", f"export {name}=…"
    return f"variable {name} holds white space or control characters at its ends or within", None


def _secrets_of(value: str) -> set[str]:
    """What of ``value``, which is no host, must not be seen."""
    if "://" in value:
        return set(secrets_in_url(value))
    return {value} if len(value) >= _SHORTEST_SECRET else set()
