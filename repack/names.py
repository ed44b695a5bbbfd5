"""Strings that were checked once and carry that in their type."""

from __future__ import annotations

import re
from typing import Final, Self

from repack.errors import IntegrityError, UsageError
from repack.urls import folder_fault

_WINDOWS_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}
)
_WINDOWS_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\\x00-\x1f]')


def windows_fault(part: str) -> str | None:
    """Say why Windows cannot hold a file called ``part``, or None when it can.

    Source: Microsoft, "Naming Files, Paths, and Namespaces".
    """
    if part.split(".", maxsplit=1)[0].rstrip().lower() in _WINDOWS_RESERVED:
        return "is a reserved name on Windows"
    if part.endswith((".", " ")):
        return "ends in a dot or a space, which Windows drops"
    if _WINDOWS_FORBIDDEN.search(part):
        return "holds a character that Windows forbids"
    return None


class LabelName(str):
    """The name of a label: lower-case letters, digits, ``.``, ``_``, ``-``; safe as a folder."""

    __slots__ = ()
    _PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")

    def __new__(cls, text: str) -> Self:
        """Check ``text``.

        Raises:
            UsageError: the name is no plain folder name on every system.
        """
        fault = None if cls._PATTERN.match(text) else "is not made of a-z, 0-9, '.', '_' and '-'"
        fault = fault or windows_fault(text) or folder_fault(text)
        if fault:
            raise UsageError(
                f"label name {text!r} {fault}", hint="take a short lower-case word, like 'halkbank'"
            )
        return super().__new__(cls, text)


class Digest(str):
    """A SHA-256 as 64 lower-case hex digits."""

    __slots__ = ()
    _PATTERN: Final = re.compile(r"[0-9a-f]{64}\Z")

    def __new__(cls, text: str) -> Self:
        """Check ``text``.

        Raises:
            IntegrityError: it is not 64 hex digits.
        """
        lower = text.lower()
        if not cls._PATTERN.match(lower):
            raise IntegrityError("not a SHA-256", expected="64 hex digits", got=text[:80])
        return super().__new__(cls, lower)


class Digest384(str):
    """A SHA-384 as 96 lower-case hex digits."""

    __slots__ = ()
    _PATTERN: Final = re.compile(r"[0-9a-f]{96}\Z")

    def __new__(cls, text: str) -> Self:
        """Check ``text``.

        Raises:
            IntegrityError: it is not 96 hex digits.
        """
        lower = text.lower()
        if not cls._PATTERN.match(lower):
            raise IntegrityError("not a SHA-384", expected="96 hex digits", got=text[:120])
        return super().__new__(cls, lower)


class RelPath(str):
    """A path inside a channel or archive: relative, ``/``-separated, no ``..``, no drive."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check ``text``.

        Raises:
            IntegrityError: the path could lead out of the folder it is joined to.
        """
        parts = text.split("/")
        if (
            not text
            or "\\" in text
            or "\x00" in text
            or any(part in {"", ".", ".."} for part in parts)
            or re.match(r"[A-Za-z]:", text)
        ):
            raise IntegrityError("path leads out of its folder", got=repr(text[:200]))
        return super().__new__(cls, text)
