"""URLs of channels: how a folder becomes one, and how one loses its secrets.

This is the only place that makes a ``file://`` URL. Rules:

- Everything but RFC 3986's unreserved characters is percent-encoded, ``+``, ``!`` and ``~`` of
  foreign path rules included: conda decodes some URLs with ``unquote_plus``.
- conda looks for tokens (``/t/TOKEN``), subdirs (``/linux-64/``) and archive suffixes anywhere in
  a URL *before* it decodes it, and cuts them out. A folder that is called like one of these gets
  one more character encoded, which means the same folder to every client and nothing to conda.
- UNC is ``file://server/share``, as in RFC 8089, appendix E.3.1: conda, mamba and rattler agree on
  this one; they don't on four or five slashes.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


# conda.base.constants.KNOWN_SUBDIRS; conda matches them without case.
_SUBDIR: Final = re.compile(
    r"(noarch|emscripten-wasm32|wasi-wasm32|zos-z|freebsd-64|(linux|osx|win)-[a-z0-9]+)\Z",
    re.IGNORECASE,
)
_ARCHIVE: Final = (".conda", ".tar.bz2", ".json")
_DRIVE: Final = re.compile(r"[A-Za-z]:\Z")
_SERVER: Final = re.compile(r"[A-Za-z0-9._-]+\Z")

_AUTHORITY: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?//")
_TOKEN: Final = re.compile(r"/t/([^/?#]*)")
_SECRET_KEY: Final = re.compile(
    r"token|secret|passw|pwd|auth|credential|session|sig\Z|signature|"
    r"(api|access|private|account|subscription)[-_.]?key|\A(key|sas|jwt|code|x-amz-.*)\Z",
    re.IGNORECASE,
)
# No scheme is that long, and without a bound one long line of a log takes hours
_URL_IN_TEXT: Final = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s"'<>`]+""")
HIDDEN: Final = "***"


def channel_url(path: str, *, windows: bool) -> str:
    r"""The URL of the channel in the folder ``path``.

    Args:
        path: an absolute path without ``.`` and ``..``; on Windows also ``\\server\share\folder``
            and the ``\\?\`` forms of both.
        windows: by which rules to read ``path``; the host's don't matter.

    Raises:
        UsageError: ``path`` is relative, or nothing a URL can say.
    """
    root, parts = _windows_parts(path) if windows else _posix_parts(path)
    if root is None or "\x00" in path or {".", ".."} & set(parts):
        raise UsageError("a channel needs an absolute path", where=path)
    try:
        return "/".join([f"file://{root}", *(_encode(part) for part in parts or [""])])
    except UnicodeEncodeError as error:
        raise UsageError("the path is not Unicode", where=repr(path)) from error


def _posix_parts(path: str) -> tuple[str | None, list[str]]:
    return ("" if path.startswith("/") else None), [part for part in path.split("/") if part]


def _windows_parts(path: str) -> tuple[str | None, list[str]]:
    path = path.replace("/", "\\")
    if path.startswith("\\\\?\\"):
        path = path[4:]
        if path[:4].upper() == "UNC\\":
            path = "\\\\" + path[4:]
    parts = [part for part in path.split("\\") if part]
    if path.startswith("\\\\"):
        if len(parts) < 2 or not _SERVER.match(parts[0]) or parts[0] in {".", ".."}:
            return None, parts
        return parts[0], parts[1:]
    if parts and path[2:3] == "\\" and _DRIVE.match(parts[0]):
        return "/" + parts[0].upper(), parts[1:]
    return None, parts


def _encode(part: str) -> str:
    encoded = quote(part, safe="", errors="surrogateescape").replace("~", "%7E")
    if part == "t" or _SUBDIR.match(part):
        return f"%{ord(part[0]):02X}{encoded[1:]}"
    if part.lower().endswith(_ARCHIVE):
        return encoded.replace(".", "%2E")
    return encoded


def folder_fault(name: str) -> str | None:
    """Say why conda cannot have a channel in a folder called ``name``, or None when it can.

    It decodes the last folder of a channel's URL and parses the result anew, so no encoding helps.
    """
    if name == "t":
        return "is what stands before a token in a channel's URL"
    if _SUBDIR.match(name):
        return "is what conda takes for a platform"
    if name.lower().endswith(_ARCHIVE):
        return "ends like a package, and conda takes it for one"
    return None


def package_url(channel: str, subdir: str, fn: str) -> str:
    """The URL of one archive of a channel; ``!`` of an epoch and ``+`` are encoded."""
    return f"{channel.rstrip('/')}/{subdir}/{quote(fn, safe='')}"


# Every secret that came in by a variable or a credential store. It may stand where no rule looks
# for one, as in `https://host/TOKEN/channel`, and who writes an error does not know that.
_KNOWN: Final[set[str]] = set()
# A shorter value, such as the `3` of a path, stands in any text by chance.
_SHORTEST_KNOWN: Final = 6


def remember_secrets(secrets: Iterable[str]) -> None:
    """Hide ``secrets`` from now on in all texts and URLs that this process redacts."""
    for secret in secrets:
        forms = (secret, unquote(secret), quote(secret, safe=""))
        _KNOWN.update(form for form in forms if len(form) >= _SHORTEST_KNOWN)


def hide_known(text: str) -> str:
    """``text`` with three stars for every secret that is remembered; nothing else is changed."""
    for secret in sorted(_KNOWN, key=len, reverse=True) if _KNOWN else ():
        text = text.replace(secret, HIDDEN)
    return text


def redact_url(url: str) -> str:
    """``url`` without user, password, ``/t/TOKEN``, secret-looking parameters and known secrets.

    What is left still names the same place. Takes any text; only a ``file:`` URL may hold a folder
    called ``t``.
    """
    return hide_known(_take_apart(url)[0])


def secrets_in_url(url: str) -> tuple[str, ...]:
    """Every secret :func:`scrub` would take out, as written and percent-decoded, sorted.

    A user name counts only when no password follows: then it is a token.
    """
    found = _take_apart(url)[1] + [secret for secret in _KNOWN if secret in url]
    return tuple(sorted({form for raw in found for form in (raw, unquote(raw)) if form}))


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """A message of any program: every URL in it scrubbed, every one of ``secrets`` hidden."""
    text = _URL_IN_TEXT.sub(lambda match: redact_url(match.group()), text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return hide_known(text)


def _take_apart(url: str) -> tuple[str, list[str]]:
    found: list[str] = []
    match = _AUTHORITY.match(url)
    start = match.group() if match else ""
    rest = _without_user(url[len(start) :], found) if match else url
    cut = re.search(r"[?#]", rest)
    place, tail = (rest[: cut.start()], rest[cut.start() :]) if cut else (rest, "")
    if start.lower() != "file://":
        while token := _TOKEN.search(place):
            found.append(token.group(1))
            place = place[: token.start()] + place[token.end() :]
    return start + place + _without_parameters(tail, found), found


def _without_user(rest: str, found: list[str]) -> str:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    _, _, port = authority.partition(":")
    # A password with a bare `/`, `?` or `#` ends the authority early and looks like a port.
    torn = bool(port) and not port.isdigit() and not authority.startswith("[")
    user, at, host = (rest if torn else authority).rpartition("@")
    if not at:
        return rest
    name, colon, password = user.partition(":")
    found.append(password if colon and password else name)
    # What follows could look like another user; there is none in a host.
    return _without_user(host if torn else host + rest[len(authority) :], found)


def _without_parameters(tail: str, found: list[str]) -> str:
    if not tail:
        return ""
    mark, parameters = tail[0], tail[1:]
    inner, hash_mark, fragment = parameters.partition("#") if mark == "?" else (parameters, "", "")
    kept: list[str] = []
    for parameter in inner.split("&"):
        key, equals, value = parameter.partition("=")
        if equals and _SECRET_KEY.search(unquote(key)):
            found.append(value)
        else:
            kept.append(parameter)
    left = mark + "&".join(kept) if any(kept) else ""
    return left + (_without_parameters("#" + fragment, found) if hash_mark else "")


def folder_url(folder: Path) -> str:
    """The ``file://`` URL of a channel in ``folder``, by this host's rules."""
    return channel_url(str(folder.absolute()), windows=sys.platform == "win32")
