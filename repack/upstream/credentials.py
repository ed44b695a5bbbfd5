"""Who repack says it is to a host: rattler's auth store, ``.netrc`` and the keyring.

Sources: rattler's ``authentication_storage`` (file back end: ``RATTLER_AUTH_FILE``, then
``~/.rattler/credentials.json``; keys are hosts, ``*.example.org`` stands for the host and all below
it; keyring back end: service ``rattler``, the host as user name, the same JSON as password), the
GNU inetutils description of ``.netrc``, and pip's use of the keyring (the host as service).
"""

from __future__ import annotations

import base64
import ipaddress
import json
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from repack.errors import UsageError
from repack.fs import atomic
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMIT: Final = 4 << 20
_KEYRING: Final = "the keyring"


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


class Keyring:
    """The user's keyring, asked once for each host and never waited for long.

    It may be locked, and then it asks a person who may not be there: after the first question
    without an answer in time, there is no second one.

    Args:
        patience: seconds to wait for an answer.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self._patience = patience
        self._answers: dict[str, Credential | None] = {}
        self._lock = threading.Lock()
        self.is_silent = False

    def of(self, host: str) -> Credential | None:
        """What it holds for ``host``, if it answers in time."""
        with self._lock:
            if host not in self._answers and not self.is_silent:
                answer: queue.SimpleQueue[Credential | None] = queue.SimpleQueue()
                # A daemon: the process must be able to end while the keyring still asks.
                ask = threading.Thread(
                    target=lambda: answer.put(_ask_keyring(host)), name="keyring", daemon=True
                )
                ask.start()
                try:
                    self._answers[host] = answer.get(timeout=self._patience)
                except queue.Empty:
                    self.is_silent = True
            return self._answers.get(host)


def _ask_keyring(host: str) -> Credential | None:
    try:
        import keyring

        for pattern in filter(None, _patterns(host)):
            if text := keyring.get_password("rattler", pattern):
                return _rattler_entry(json.loads(text), _KEYRING)
        if pair := keyring.get_credential(host, None):
            return basic(pair.username, pair.password, _KEYRING)
    except Exception:  # noqa: BLE001 - back ends raise what they like; none of it may stop a build
        return None
    return None


class Credentials(Value, frozen=True):
    """Access by host pattern; the first source that knows a host wins.

    Attributes:
        sources: of files, in order.
        keyring: asked last.
    """

    hidden_fields: ClassVar = ("sources", "keyring")

    sources: tuple[Mapping[str, Credential], ...] = ()
    keyring: Keyring | None = None

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], home: Path, auth_file: Path | None = None
    ) -> Credentials:
        """Read the files that rattler and requests would read.

        Args:
            auth_file: one that rattler's configuration names.

        Raises:
            UsageError: one of them is not what it should be.
        """
        stores = [home / ".rattler" / "credentials.json"]
        if path := environ.get("RATTLER_AUTH_FILE") or auth_file:
            stores.insert(0, Path(path))
        netrcs = [Path(environ["NETRC"])] if environ.get("NETRC") else []
        netrcs = netrcs or [home / ".netrc", home / "_netrc"]
        sources = [_read_rattler(path) for path in stores if path.is_file()]
        sources += [_read_netrc(path) for path in netrcs if path.is_file()]
        return cls(tuple(sources), Keyring())

    def of(self, host: str, *, ask_keyring: bool = True) -> Credential | None:
        """What to show ``host``, or None."""
        host = host.lower()
        for source in self.sources:
            for pattern in _patterns(host):
                if pattern in source:
                    return source[pattern]
        return self.keyring.of(host) if self.keyring and ask_keyring else None


def _patterns(host: str) -> Iterator[str]:
    """``a.b.c``, ``*.a.b.c``, ``*.b.c``, ``*.c``, and netrc's default."""
    yield host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        yield from ("*." + ".".join(labels[n:]) for n in range(len(labels)))
    yield ""


def _read_rattler(path: Path) -> dict[str, Credential]:
    try:
        entries = json.loads(atomic.read(path, _LIMIT))
        pairs = ((host, _rattler_entry(entry, str(path))) for host, entry in entries.items())
        return {host.lower(): credential for host, credential in pairs if credential}
    except (ValueError, TypeError, KeyError, AttributeError):
        # The error may quote the file, and the file holds secrets.
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


def _read_netrc(path: Path) -> dict[str, Credential]:
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
