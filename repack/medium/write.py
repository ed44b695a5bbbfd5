"""Medium: what a stick needs besides a channel, and how several releases share one."""

from __future__ import annotations

import hashlib
import time
from importlib import resources
from typing import TYPE_CHECKING, Final

from repack.channel.folder import read_or_none
from repack.channel.integrity import SUMS
from repack.channel.sync_scripts import sync_scripts
from repack.errors import FetchError, IntegrityError, UsageError
from repack.fs import atomic
from repack.medium import folder
from repack.medium.contents import CHECKLIST, INSTALLERS, checklist
from repack.names import RelPath
from repack.progress import SILENT, Progress
from repack.sync.copy import Brake, copy
from repack.sync.plan import Cargo, Piece
from repack.sync.staging import right
from repack.upstream.errors import PassingError
from repack.upstream.response import Pace
from repack.urls import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.label.label import Installer
    from repack.medium.folder import Held
    from repack.upstream.client import Upstream

_DATA: Final = "repack.shipped"


def joined(cargo: Cargo, others: list[Held]) -> tuple[Cargo, set[str]]:
    """``cargo`` with the texts of ``others`` beside it, and all their packages' paths."""
    texts = dict(cargo.texts)
    for other in others:
        texts |= other.beside(cargo.texts)
    stays = {str(row.path) for other in others for row in other.manifest.artifacts}
    return Cargo(cargo.label, cargo.release, cargo.packages, texts), stays


def staying(channel: Path, release: int, progress: Progress) -> list[Held]:
    """The other releases on a medium, as they are; one that is damaged does not stay."""
    found = []
    for one in folder.held(channel):
        if one.manifest.release == release:
            continue
        if one.whole:
            found.append(one)
        else:
            progress.note(f"release {one.manifest.release} on the medium is damaged; it goes")
    return found


def fetch_installers(
    named: Mapping[str, Installer], cache: Path, upstream: Upstream, progress: Progress = SILENT
) -> dict[str, Piece]:
    """Bring the installers of a label into ``cache``, each under its SHA-256.

    Raises:
        FetchError: one cannot be had.
        IntegrityError: one is not the file that the label names.
        SpaceError: the disk is full.
    """
    pieces = {}
    for name, installer in named.items():
        place = cache / installer.sha256
        if not place.is_file() or atomic.digest(place)[0] != installer.sha256:
            progress.note(f"fetching {name}")
            _fetch(installer, place, upstream)
        size = atomic.digest(place)[1]
        pieces[name] = Piece(RelPath(f"{INSTALLERS}/{name}"), installer.sha256, size)
    return pieces


def _fetch(installer: Installer, place: Path, upstream: Upstream) -> None:
    faults: list[FetchError] = []
    for url in upstream.places(installer.url):
        for failed in range(1, upstream.patience.tries + 1):
            try:
                _take(url, installer, place, upstream)
            except PassingError as error:
                faults.append(error)
                pause = upstream.patience.pause(failed, error.retry_after)
                if pause is None:
                    break
                time.sleep(pause)
            except FetchError as error:
                faults.append(error)
                break
            else:
                return
    raise faults[-1]


def _take(url: str, installer: Installer, place: Path, upstream: Upstream) -> None:
    pace, sha, size = Pace(), hashlib.sha256(), 0
    with upstream.open(url) as answer, atomic.writing(place) as out:
        while data := pace.read(answer):
            sha.update(data)
            size += len(data)
            out.write(data)
        if answer.length is not None and size != answer.length:
            raise PassingError("less came than there should be", where=scrub(url))
        if sha.hexdigest() != installer.sha256:
            raise IntegrityError(
                "an installer is not the file that the label names",
                where=scrub(url),
                expected=installer.sha256,
                got=sha.hexdigest(),
            )


def put_installers(root: Path, pieces: Mapping[str, Piece], cache: Path) -> None:
    """Copy installers to the medium, and list all that are there.

    Raises:
        UsageError: another file of that name is there for another label.
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    listed = folder.installers(root)
    for name, piece in pieces.items():
        if listed.get(name, piece.sha256) != piece.sha256:
            raise UsageError(
                "another label on this medium brings another installer of that name",
                where=root / piece.path,
                hint="take a medium of its own, or give both labels the same installer",
            )
    for name, piece in pieces.items():
        if not right(root, [piece], lambda _count: None):
            temp = root / INSTALLERS / f"{atomic.TEMP_PREFIX}{name}"
            copy(cache / piece.sha256, temp, piece, Brake(None), lambda _count: None)
            atomic.flush([temp])
            with atomic.faults_at(root / piece.path):
                atomic.rename(temp, root / piece.path)
    if pieces:
        listed |= {name: piece.sha256 for name, piece in pieces.items()}
        rows = [f"{digest}  {name}\n" for name, digest in sorted(listed.items())]
        atomic.write(root / INSTALLERS / SUMS, "".join(rows).encode())


def put_papers(root: Path, made: str) -> None:
    """Write what stands at the top of a medium: checklist, verifier, the plain ways to copy.

    Raises:
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    put_checklist(root, made)
    texts = {RelPath("verify.py"): _data("verify_medium.py"), **sync_scripts()}
    for name, data in texts.items():
        atomic.write(root / name, data, 0o755 if name.endswith(".sh") else 0o644)


def put_checklist(root: Path, made: str) -> None:
    """Write the checklist of what is on a medium now. Raises as :func:`put_papers` does.

    Args:
        made: when, for people.
    """
    releases, installers = folder.inventory(root), folder.installers(root)
    text = checklist(_data(CHECKLIST).decode(), releases, installers, made)
    atomic.write(root / CHECKLIST, text.encode())


def is_medium(root: Path) -> bool:
    """Whether a folder has the checklist that repack writes at the top of a medium."""
    title = _data(CHECKLIST).split(b"\n", 1)[0]
    return (read_or_none(root / CHECKLIST) or b"").startswith(title)


def _data(name: str) -> bytes:
    return resources.files(_DATA).joinpath(name).read_bytes()
