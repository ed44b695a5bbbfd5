"""Take secrets out of foreign text: logs and reports that leave a site.

What a secret is: every value of a variable that is named like one; user names, passwords and tokens
in URLs; private keys in PEM; what follows ``Authorization`` or stands behind a name such as
``password``. Better a word too many is hidden than one too few.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from repack.urls import HIDDEN, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_NAME: Final = re.compile(
    r"token|secret|passw|passphrase|pwd|credential|(hmac|api|access|private|sign\w*|license)[-_.]?key"
    r"|cookie|\bauth\b|_auth\b|authorization",
    re.IGNORECASE,
)
# `password = "…"`, `API_KEY: …`; the value ends where a value ends. Every repetition before a value
# is bounded: a log may be one line of megabytes, and must not take minutes.
_ASSIGNED: Final = re.compile(
    r"""(?P<name>(?:token|secret|passw|passphrase|pwd|credential|cookie
        |(?:hmac|api|access|private|signing|license)[-_.]?key)[\w.-]{0,40}["']?
        (?:\s{0,9}[=:]\s{0,9}|\s(?=["']))["']?)
        (?P<value>(?<=")[^"\n]{1,4096}(?=")|(?<=')[^'\n]{1,4096}(?=')|[^\s"',;&}\])]+)""",
    re.IGNORECASE | re.VERBOSE,
)
# curl's and wget's: `-u user:password`, `--user user:password`, `--proxy-user=…`.
_USER: Final = re.compile(
    r"""(?P<name>(?<![\w-])(?:-u|--(?:proxy-)?user)(?:\s{1,9}|=)?["']?[^\s"':]{1,200}:)"""
    r"""(?P<value>[^\s"']+)"""
)
# By their form: GitHub, GitLab, npm, PyPI, Slack, AWS, Google, anaconda.org; then JSON Web Tokens.
_TOKEN: Final = re.compile(
    r"(?P<name>)(?P<value>(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{16,255}|github_pat_\w{20,255}"
    r"|glpat-[\w-]{16,255}|npm_[A-Za-z0-9]{16,255}|pypi-[\w-]{16,255}|xox[abprs]-[\w-]{10,255}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,255}"
    r"|[a-z]{2}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|eyJ[\w-]{5,8192}\.[\w-]{2,8192}(?:\.[\w-]{0,8192}){0,3}))"
)
_AUTHORIZATION: Final = re.compile(
    r"""(?P<name>authorization["']?\s{0,9}[:=]\s{0,9}["']?(?:(?:basic|bearer|token|digest)\s{1,9})?)"""
    r"""(?P<value>[^\s"',;]+)""",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"(?P<name>\bbearer\s{1,9})(?P<value>[\w.~+/=-]{8,})", re.IGNORECASE)
_OPTION: Final = re.compile(
    r"(?P<name>--[\w-]{0,40}(?:token|password|secret|key)[ =])(?P<value>\S+)", re.IGNORECASE
)
_KEY_SYNTAX: Final = re.compile(r"(?P<name>\b(?:hex|base64):)(?P<value>[\w+/=]{8,})")
# Where a key is to be had is no secret, and support must see it
_REFERENCE: Final = re.compile(
    r"(?:[\w.@:-]+=)?(?:env|file):\S+|null|none|true|false|\*+", re.IGNORECASE
)
_BEGIN: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_END: Final = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")
# A line of a key, perhaps with a log's time stamp before it, or a header of RFC 1421
_KEY_LINE: Final = re.compile(r"(?:.*\s)?[\w+/=]{16,}\s*|[\w+/=]*\s*|(?:Proc-Type|DEK-Info):.*\s*")
_LONGEST_PEM: Final = 200  # lines
_SHORTEST: Final = 6


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The values of all variables that are named like a secret, in every form they may show up in.

    A value of fewer than six characters is none: hiding ``true`` everywhere would hide the log.
    """
    found: set[str] = set()
    for name, value in environment.items():
        if not _NAME.search(name) or value.startswith("file:"):
            continue
        plain = value.partition("=")[2] if "=" in value.rstrip("=") else value
        bare = re.sub(r"^(?:hex|base64):", "", plain)
        found |= {value, bare}
        try:
            found.add(base64.b64decode(bare, validate=True).hex())
        except ValueError:
            found.add(base64.b64encode(bare.encode("utf-8", "surrogateescape")).decode("ascii"))
    return frozenset(secret for secret in found if len(secret) >= _SHORTEST)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with every secret in it replaced by three stars."""
    text = _without_pem(text)
    text = redact_text(text, secrets)
    for pattern in (_TOKEN, _USER, _AUTHORIZATION, _BEARER, _OPTION, _KEY_SYNTAX, _ASSIGNED):
        text = pattern.sub(_hide, text)
    return text


def _hide(match: re.Match[str]) -> str:
    value = match["value"]
    return match["name"] + (value if _REFERENCE.fullmatch(value) else HIDDEN)


def _without_pem(text: str) -> str:
    """Without private keys in PEM, those included whose begin or end was cut off."""
    if "PRIVATE KEY-----" not in text:
        return text
    lines = text.splitlines(keepends=True)
    hidden: set[int] = set()
    for at, line in enumerate(lines):
        if at in hidden:
            continue
        if _BEGIN.search(line):
            ends = (
                n for n in range(at, min(at + _LONGEST_PEM, len(lines))) if _END.search(lines[n])
            )
            end = next(ends, None)
            hidden |= (
                set(range(at, end + 1)) if end is not None else {at, *_key_lines(lines, at, 1)}
            )
        elif _END.search(line):
            hidden |= {at, *_key_lines(lines, at, -1)}
    kept = [
        (f"{HIDDEN}\n" if at - 1 not in hidden else "") if at in hidden else line
        for at, line in enumerate(lines)
    ]
    return "".join(kept)


def _key_lines(lines: Sequence[str], at: int, step: int) -> Iterator[int]:
    """The lines next to ``at`` that look like the inside of a key."""
    for number in range(at + step, at + step * _LONGEST_PEM, step):
        if not (0 <= number < len(lines) and _KEY_LINE.fullmatch(lines[number])):
            return
        yield number
