"""TUF's client workflow on a folder of signed metadata, carried out by python-tuf's client.

The client keeps the metadata it trusts in a state folder and thereby notices older metadata
(specification 5.4.3, 5.5.5). A check without memory gives it an empty folder.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote

from msgspec import Struct
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from repack.errors import (
    MetadataExpiredError,
    MetadataInvalidError,
    MetadataNotFoundError,
    MixAndMatchError,
    RepackError,
    RollbackError,
    RootChainError,
    ThresholdError,
)
from repack.fs import atomic, beneath
from repack.fs.walk import entries, read_or_none
from repack.trust import metadata
from repack.trust.metadata import DELEGATED, LABEL, MAX_BYTES, ROLES_BELOW_ROOT, MetadataSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repack.trust.selection import SignedRelease


_BASE: Final = "folder:///"
# No release has this path, but both delegated roles match it: the search for it (specification
# 5.6.7) makes the client load and verify both.
_NO_RELEASE: Final = "releases/0/manifest.json"


class FolderFetcher(FetcherInterface):
    """Gives python-tuf the files of a folder, each parsed strictly before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = unquote(url.removeprefix(_BASE))
        role = name.removesuffix(".json").rpartition(".")[2]
        if "/" in name or role not in {"root", *ROLES_BELOW_ROOT}:
            raise DownloadHTTPError(f"no such file: {name}", 404)
        path = self._folder / name
        with atomic.os_errors_at(path):
            is_there = beneath.is_file(path)
        if not is_there:
            raise DownloadHTTPError(f"no such file: {name}", 404)
        with atomic.os_errors_at(path), beneath.reading(path) as stream:
            # One byte more than there may be: what is longer is refused by whoever parses it
            data = stream.read(MAX_BYTES + 1)
        metadata.parse_metadata(data, role, path)
        yield data


def refresh_once(folder: Path, pinned: bytes) -> TrustedMetadata:
    """:func:`refresh` without a memory. Raises as that does."""
    with tempfile.TemporaryDirectory(prefix="repack-trust-") as state:
        return refresh(folder, Path(state) / "trust", pinned)


class TrustedMetadata(Struct, frozen=True):
    """The metadata that the client accepted, and the releases that it signs."""

    metadata: MetadataSet
    releases: tuple[SignedRelease, ...]


def refresh(
    folder: Path,
    state: Path,
    pinned: bytes,
    check: Callable[[TrustedMetadata], None] = lambda _: None,
) -> TrustedMetadata:
    """Carry out TUF's client workflow (specification 5.2 to 5.6) on ``folder``.

    Args:
        folder: holds ``N.root.json``, ``timestamp.json`` and so on.
        state: the metadata trusted before; created when it is not there. It is replaced only when
            everything was accepted: a refused medium leaves no trace in it, or versions that a
            stolen key made up would lock the target against the vendor's own.
        pinned: the root this target was given when it was set up.
        check: what else must hold before the metadata is remembered; raises if it does not.

    Raises:
        MetadataNotFoundError: a file is missing.
        RootChainError: the pinned root does not lead to the newest.
        ThresholdError: signed by too few of the right keys.
        MetadataExpiredError: expired by this machine's clock.
        RollbackError: older than the metadata trusted before.
        MixAndMatchError: files that were never signed together.
        MetadataInvalidError: malformed.
        MetadataUnsupportedError: of a later specification.
    """
    with tempfile.TemporaryDirectory(prefix="repack-trust-") as folder_of_copy:
        copy = Path(folder_of_copy) / "trust"
        with atomic.os_errors_at(copy):
            copy.mkdir()
        for path, entry in entries(state) if beneath.is_folder(state) else ():
            if entry.kind == "file":
                atomic.write_new(copy / path, atomic.read(state / path, MAX_BYTES))
        trusted = _refresh_copy(folder, copy, pinned)
        check(trusted)
        _save(copy, state)
    return trusted


def seen_versions(state: Path) -> dict[str, int]:
    """The versions of the metadata in ``state``, by role; what is not there or damaged is left out."""
    versions: dict[str, int] = {}
    for role in ("root", *ROLES_BELOW_ROOT):
        with contextlib.suppress(RepackError):
            data = _read_state(state, f"{role}.json")
            versions[role] = metadata.parse_metadata(data, role, state).signed.version
    return versions


def _refresh_copy(folder: Path, state: Path, pinned: bytes) -> TrustedMetadata:
    """Refresh ``state``, which is a copy."""
    label = metadata.parse_metadata(pinned, "root", "pinned root").signed.unrecognized_fields.get(
        LABEL
    )
    had_state = beneath.is_file(state / "timestamp.json")
    with atomic.os_errors_at(state):
        try:
            updater = Updater(
                str(state),
                _BASE,
                fetcher=FolderFetcher(folder),
                config=UpdaterConfig(targets_max_length=MAX_BYTES),
                bootstrap=pinned,
            )
            updater.get_targetinfo(_NO_RELEASE)
        except (RepositoryError, DownloadError, ValueError) as error:
            _refuse(error, folder, had_state=had_state)
    return _read_back(folder, state, str(label))


def _save(copy: Path, state: Path) -> None:
    """Write what changed in ``copy`` to ``state``: roots first, as a client takes them.

    Cut off in between, the next refresh finds metadata that is older than it could be, and takes
    the rest again.
    """
    files = [path for path in copy.rglob("*.json") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.parent == copy, "root" not in path.name)):
        data, place = path.read_bytes(), state / path.relative_to(copy)
        if read_or_none(place) != data:
            atomic.write(place, data)


def _refuse(error: Exception, folder: Path, *, had_state: bool) -> NoReturn:
    """Raise python-tuf's error as one of ours; its text names file and version and is kept."""
    got = str(error)[:300]
    match error:
        case DownloadHTTPError():
            raise MetadataNotFoundError(
                "signed metadata is missing", where=folder, got=got
            ) from error
        case ExpiredMetadataError():
            raise MetadataExpiredError(
                "the metadata has expired",
                where=folder,
                got=got,
                hint="bring a newer medium; is the clock right?",
            ) from error
        case UnsignedMetadataError() if got.startswith("root "):
            raise RootChainError(
                "a root is not signed by the one that is pinned", where=folder, got=got
            ) from error
        case UnsignedMetadataError():
            raise ThresholdError(
                "signed by too few of the right keys", where=folder, got=got
            ) from error
        case BadVersionNumberError() if had_state:
            raise RollbackError(
                "the metadata is older than what was seen before", where=folder, got=got
            ) from error
        case BadVersionNumberError() | LengthOrHashMismatchError() | DownloadError():
            raise MixAndMatchError(
                "metadata files that were not signed together", where=folder, got=got
            ) from error
        case _:
            raise MetadataInvalidError(
                "the metadata is malformed", where=folder, got=got
            ) from error


def _read_back(folder: Path, state: Path, label: str) -> TrustedMetadata:
    """The metadata that the client verified: from its state, not from the folder a second time."""
    raw = {f"{role}.json": _read_state(state, f"{role}.json") for role in ROLES_BELOW_ROOT}
    root = metadata.parse_metadata(_read_state(state, "root.json"), "root", folder)
    if root.signed.unrecognized_fields.get(LABEL) != label:
        raise MixAndMatchError("the newest root is another label's", where=folder, expected=label)
    roles = {
        role: metadata.parse_metadata(raw[f"{role}.json"], role, folder)
        for role in ROLES_BELOW_ROOT
    }
    trusted = MetadataSet(label, (root,), roles, raw)
    releases = tuple(release for role in DELEGATED for release in trusted.releases(role))
    return TrustedMetadata(trusted, releases)


def _read_state(state: Path, name: str) -> bytes:
    path = state / name
    # python-tuf keeps root.json as a link to root_history/N.root.json.
    with atomic.os_errors_at(path), beneath.reading_inside(path, state) as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise MetadataInvalidError("the metadata is too large", where=path)
    return data
