"""Take secrets out of foreign text: logs and reports that leave a site.

What a secret is: every value of a variable that is named like one; user names, passwords and tokens
in URLs; private keys in PEM; what follows ``Authorization`` or stands behind a name such as
``password``. Better a word too many is hidden than one too few.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from repack.model.urls import HIDDEN, scrub_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME: Final = re.compile(
    r"token|secret|passw|passphrase|pwd|credential|(hmac|api|access|private|sign\w*|license)[-_.]?key"
    r"|cookie|\bauth\b|_auth\b|authorization",
    re.IGNORECASE,
)
# `password = "…"`, `API_KEY: …`, `--token …`; the value ends where a value ends
_ASSIGNED: Final = re.compile(
    r"""(?P<name>[\w.-]*(?:token|secret|passw\w*|passphrase|pwd|credentials?
        |(?:hmac|api|access|private|signing|license)[-_.]?key|cookie)[\w.-]*["']?
        (?:\s*[=:]\s*|\s+(?=["']))["']?)
        (?P<value>[^\s"',;&}\])]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_AUTHORIZATION: Final = re.compile(
    r"""(?P<name>authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|token|digest)\s+)?)"""
    r"""(?P<value>[^\s"',;]+)""",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"(?P<name>\bbearer\s+)(?P<value>[\w.~+/=-]{8,})", re.IGNORECASE)
_OPTION: Final = re.compile(
    r"(?P<name>--(?:[\w-]*(?:token|password|secret|key))[ =])(?P<value>\S+)", re.IGNORECASE
)
_KEY_SYNTAX: Final = re.compile(r"(?P<name>\b(?:hex|base64):)(?P<value>[\w+/=]{8,})")
# Where a key is to be had is no secret, and support must see it
_REFERENCE: Final = re.compile(
    r"(?:[\w.@:-]+=)?(?:env|file):\S+|null|none|true|false|\*+", re.IGNORECASE
)
_BEGIN: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_END: Final = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")
_BASE64_LINE: Final = re.compile(r"[\w+/=\s]*")
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
    text = scrub_text(text, secrets)
    for pattern in (_AUTHORIZATION, _BEARER, _OPTION, _KEY_SYNTAX, _ASSIGNED):
        text = pattern.sub(_hide, text)
    return text


def _hide(match: re.Match[str]) -> str:
    value = match["value"]
    return match["name"] + (value if _REFERENCE.fullmatch(value) else HIDDEN)


def _without_pem(text: str) -> str:
    """Without private keys in PEM, those included whose begin or end was cut off."""
    if "PRIVATE KEY-----" not in text:
        return text
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if _BEGIN.search(line):
            inside = not _END.search(line)
            kept.append(f"{HIDDEN}\n")
        elif _END.search(line):
            # Lines back to where the key must have begun
            while not inside and kept and _BASE64_LINE.fullmatch(kept[-1]):
                kept.pop()
            if not inside:
                kept.append(f"{HIDDEN}\n")
            inside = False
        elif inside and not _BASE64_LINE.fullmatch(line) and ":" not in line:
            inside = False
            kept.append(line)
        elif not inside:
            kept.append(line)
    return "".join(kept)
