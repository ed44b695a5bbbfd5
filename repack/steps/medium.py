"""Medium: what a stick needs besides a channel, and how several releases share one."""

from __future__ import annotations

import hashlib
import time
from importlib import resources
from typing import TYPE_CHECKING, Final

from repack.errors import FetchError, IntegrityError, UsageError
from repack.model.cargo import Cargo, Piece
from repack.model.integrity import SUMS
from repack.model.medium import CHECKLIST, INSTALLERS, checklist
from repack.model.names import RelPath
from repack.model.progress import SILENT, Progress
from repack.model.urls import scrub
from repack.places import files, medium_folder
from repack.places.answer import Pace
from repack.places.carrier import Brake, copy
from repack.places.channel import read_or_none
from repack.places.faults import PassingError
from repack.places.stage import right
from repack.places.sync_scripts import sync_scripts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.label import Installer
    from repack.places.medium_folder import Held
    from repack.places.upstream import Upstream

_DATA: Final = "repack.data"


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
    for one in medium_folder.held(channel):
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
        if not place.is_file() or files.digest(place)[0] != installer.sha256:
            progress.note(f"fetching {name}")
            _fetch(installer, place, upstream)
        size = files.digest(place)[1]
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
    with upstream.open(url) as answer, files.writing(place) as out:
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
    listed = medium_folder.installers(root)
    for name, piece in pieces.items():
        if listed.get(name, piece.sha256) != piece.sha256:
            raise UsageError(
                "another label on this medium brings another installer of that name",
                where=root / piece.path,
                hint="take a medium of its own, or give both labels the same installer",
            )
    for name, piece in pieces.items():
        if not right(root, [piece], lambda _count: None):
            temp = root / INSTALLERS / f"{files.TEMP_PREFIX}{name}"
            copy(cache / piece.sha256, temp, piece, Brake(None), lambda _count: None)
            files.flush([temp])
            with files.faults_at(root / piece.path):
                files.rename(temp, root / piece.path)
    if pieces:
        listed |= {name: piece.sha256 for name, piece in pieces.items()}
        rows = [f"{digest}  {name}\n" for name, digest in sorted(listed.items())]
        files.write(root / INSTALLERS / SUMS, "".join(rows).encode())


def put_papers(root: Path, made: str) -> None:
    """Write what stands at the top of a medium: checklist, verifier, the plain ways to copy.

    Raises:
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    put_checklist(root, made)
    texts = {RelPath("verify.py"): _data("medium.py"), **sync_scripts()}
    for name, data in texts.items():
        files.write(root / name, data, 0o755 if name.endswith(".sh") else 0o644)


def put_checklist(root: Path, made: str) -> None:
    """Write the checklist of what is on a medium now. Raises as :func:`put_papers` does.

    Args:
        made: when, for people.
    """
    releases, installers = medium_folder.inventory(root), medium_folder.installers(root)
    text = checklist(_data(CHECKLIST).decode(), releases, installers, made)
    files.write(root / CHECKLIST, text.encode())


def is_medium(root: Path) -> bool:
    """Whether a folder has the checklist that repack writes at the top of a medium."""
    title = _data(CHECKLIST).split(b"\n", 1)[0]
    return (read_or_none(root / CHECKLIST) or b"").startswith(title)


def _data(name: str) -> bytes:
    return resources.files(_DATA).joinpath(name).read_bytes()
