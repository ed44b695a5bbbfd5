"""An entry of ``channels:`` becomes the URL of a channel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from repack.errors import UsageError
from repack.urls import channel_url, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/label/[A-Za-z0-9_.-]+)?\Z")
_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_DRIVE_IN_URL: Final = re.compile(r"/[A-Za-z]:(/|\Z)")
_SUBDIR: Final = re.compile(r"/(noarch|(linux|osx|win)-[a-z0-9]+)(/[^/]*)?\Z")
_RELATIVE: Final = re.compile(r"\.\.?([\\/]|\Z)")
# Where conda looks for a channel of which only the name is given.
_ALIAS: Final = "https://conda.anaconda.org"
_META: Final = {
    "defaults": "write what it stands for, such as https://repo.anaconda.com/pkgs/main",
    "nodefaults": "leave it out: only the channels of the label are ever used",
    "local": "write the path of your conda-bld folder",
}


class ChannelFault(Exception):  # noqa: N818 - caught by the reader, never seen outside
    """Why an entry is no channel, and what to write; holds no secret."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def read_channel(text: str, locate: Callable[[str], str]) -> str:
    """The URL of the channel that ``text`` means, without a slash at its end.

    Args:
        text: a URL, a path, or the name of a channel; its variables are filled in.
        locate: makes a relative path absolute.

    Raises:
        ChannelFault: it means none.
    """
    text = text.strip()
    scheme = _SCHEME.match(text)
    if scheme:
        return _from_url(text, scheme[1].lower())
    if text in _META:
        raise ChannelFault(f"channel '{text}' has no place of its own", _META[text])
    if _RELATIVE.match(text):
        text = locate(text)
    if _WINDOWS_PATH.match(text) or text.startswith("/"):
        return _from_path(text, windows=not text.startswith("/"))
    if _NAME.match(text):
        return f"{_ALIAS}/{text}"
    raise ChannelFault(
        f"{redact_url(text)[:80]!r} is no channel",
        "write a URL, an absolute path, a path that starts with './', or a name like conda-forge",
    )


def _from_path(path: str, *, windows: bool) -> str:
    try:
        return channel_url(path, windows=windows)
    except UsageError as error:
        raise ChannelFault(f"channel {path[:120]!r}: {error.what}") from None


def _from_url(text: str, scheme: str) -> str:
    shown = repr(redact_url(text)[:120])
    if scheme not in {"http", "https", "file"}:
        raise ChannelFault(
            f"channel {shown} is not http, https or file", "mirror it to one of them"
        )
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ChannelFault(f"channel {shown} is no URL: {error}"[:200]) from None
    if parts.query or parts.fragment:
        raise ChannelFault(
            f"channel {shown} has a query or fragment", "no conda client adds a path to such a URL"
        )
    path = parts.path.rstrip("/")
    if _SUBDIR.search(path):
        above = _SUBDIR.sub("", redact_url(text.rstrip("/")))
        raise ChannelFault(
            f"channel {shown} ends in a platform",
            f"name the folder above, which holds all platforms: {above[:120]}",
        )
    if scheme == "file":
        return _from_file_url(parts.netloc, unquote(path))
    if not parts.hostname or not port_is_fine:
        raise ChannelFault(f"channel {shown} has no host")
    if any(char.isspace() for char in text):
        raise ChannelFault(f"channel {shown} holds white space", "write %20 for a space")
    return f"{scheme}://{parts.netloc}{path}"


def _from_file_url(host: str, path: str) -> str:
    if host and host != "localhost":
        return _from_path("\\\\" + host + path.replace("/", "\\"), windows=True)
    if _DRIVE_IN_URL.match(path):
        return _from_path(path[1:], windows=True)
    return _from_path(path or "/", windows=False)
