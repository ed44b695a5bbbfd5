"""Who repack says it is to a host: rattler's auth store and ``.netrc``.

Sources: rattler's ``authentication_storage`` (file back end: ``RATTLER_AUTH_FILE``, then
``~/.rattler/credentials.json``; keys are hosts, ``*.example.org`` stands for the host and all below
it) and the GNU inetutils description of ``.netrc``. The keyring is not asked: a build must not wait
for somebody to unlock one.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from repack.errors import UsageError
from repack.fs import atomic
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMIT: Final = 4 << 20


class Credential(Value, frozen=True):
    """What one host is shown.

    Attributes:
        source: the file it was found in, for messages.
        header: the value of ``Authorization``, if one is sent.
        token: what goes into the path as ``/t/TOKEN``, if anything.
        secrets: every form of it that must not turn up anywhere.
    """

    hidden_fields: ClassVar = (
        "header",
        "token",
        "secrets",
    )

    source: str
    header: str | None = None
    token: str | None = None
    secrets: tuple[str, ...] = ()


def basic(user: str, password: str, source: str) -> Credential:
    """Access by user name and password (RFC 7617)."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    # A user name without a password is a token, as some servers want it.
    return Credential(source, header=f"Basic {encoded}", secrets=(password or user, encoded))


class Credentials(Value, frozen=True):
    """Access by host pattern; the first source that knows a host wins."""

    hidden_fields: ClassVar = ("sources",)

    sources: tuple[Mapping[str, Credential], ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> Credentials:
        """Read the files that rattler and requests would read.

        Raises:
            UsageError: one of them is not what it should be.
        """
        stores = [home / ".rattler" / "credentials.json"]
        if named := environ.get("RATTLER_AUTH_FILE"):
            stores.insert(0, Path(named))
        netrcs = [Path(environ["NETRC"])] if environ.get("NETRC") else []
        netrcs = netrcs or [home / ".netrc", home / "_netrc"]
        found = [_rattler(path) for path in stores if path.is_file()]
        found += [_netrc(path) for path in netrcs if path.is_file()]
        return cls(tuple(found))

    def of(self, host: str) -> Credential | None:
        """What to show ``host``, or None."""
        for source in self.sources:
            for pattern in _patterns(host.lower()):
                if pattern in source:
                    return source[pattern]
        return None


def _patterns(host: str) -> Iterator[str]:
    """``a.b.c``, ``*.a.b.c``, ``*.b.c``, ``*.c``, and netrc's default."""
    yield host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        yield from ("*." + ".".join(labels[n:]) for n in range(len(labels)))
    yield ""


def _rattler(path: Path) -> dict[str, Credential]:
    try:
        entries = json.loads(atomic.read(path, _LIMIT))
        known = ((host, _rattler_entry(entry, str(path))) for host, entry in entries.items())
        return {host.lower(): access for host, access in known if access}
    except (ValueError, TypeError, KeyError, AttributeError):
        # The fault may quote the file, and the file holds secrets.
        raise UsageError(
            "not a credentials file", where=path, expected='JSON like {"host": {"BearerToken": …}}'
        ) from None


def _rattler_entry(entry: Mapping[str, object], source: str) -> Credential | None:
    """One entry; S3 and OAuth ones are none that a plain HTTP request can show."""
    if isinstance(token := entry.get("BearerToken"), str):
        return Credential(source, header=f"Bearer {token}", secrets=(token,))
    if isinstance(token := entry.get("CondaToken"), str):
        return Credential(source, token=token, secrets=(token,))
    if isinstance(pair := entry.get("BasicHTTP"), dict):
        return basic(str(pair["username"]), str(pair["password"]), source)
    return None


def _netrc(path: Path) -> dict[str, Credential]:
    import netrc

    try:
        hosts = netrc.netrc(str(path)).hosts
    except netrc.NetrcParseError as error:
        # Its message quotes a word of the file, which may be the password.
        raise UsageError("not a .netrc file", where=f"{path}:{error.lineno}") from None
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            "cannot be read", where=path, hint="set NETRC to another file, or repair it"
        ) from None
    return {
        "" if host == "default" else host.lower(): basic(login, password or "", str(path))
        for host, (login, _, password) in hosts.items()
    }
