"""Numbers, paths and lists as people read them."""

from __future__ import annotations

from typing import Final

_SHOWN: Final = 20


def amount(size: int) -> str:
    """Bytes in powers of 1000, as disks are sold."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def counted(number: int, noun: str) -> str:
    """``1 package``, ``2 packages``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(path: str) -> str:
    """A path that no terminal chokes on."""
    text = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def terminal(text: str) -> str:
    """``text`` for a terminal: line ends stay, all else that is not printable becomes an escape.

    File names and what others wrote may hold control sequences and marks of direction. What must
    not even start a line of its own goes through :func:`printable`.
    """
    if text.isprintable():
        return text
    return "\n".join(map(printable, text.split("\n")))


def visible(text: str) -> str:
    """``text`` in ASCII: controls, marks of direction and look-alike letters as their escapes."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")


def shown(value: object, limit: int = 200) -> str:
    """``value`` as a short line of text; empty when it is none.

    What is not printable becomes a space: line ends, controls, and the marks that turn the
    direction of writing, with which a text can make its surroundings say something else.
    """
    if not isinstance(value, str):
        return ""
    text = "".join(c if c.isprintable() else " " for c in value[: 4 * limit])
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def some(rows: list[str]) -> str:
    """The rows, a line each; the first ones when there are many."""
    more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "\n    ".join(["", *rows[:_SHOWN], *more]) if len(rows) > 1 else "".join(rows)
