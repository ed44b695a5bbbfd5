"""The line of an OEM medium: a medium, and what a site needs that has a stick and a phone.

choose -> papers -> bundles -> deltas -> checklist -> medium -> extras
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.channel import manifest
from repack.channel.layout import MANIFEST_PATH
from repack.codec.sha256sums import SUMS
from repack.delta.create import DeltaRequest, create_delta
from repack.errors import UsageError
from repack.fs import atomic
from repack.medium import oem_bundle
from repack.medium.contents import NOTARY
from repack.medium.oem_bundle import OemChecklist, OemWritten
from repack.medium.write import chosen, write_medium
from repack.names import Digest, LabelName, RelPath
from repack.provenance.notarize import read_release
from repack.sync.plan import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.keys.shared_key import SharedKey
    from repack.license.fingerprint import Fingerprint
    from repack.medium.contents import ReleaseChoice
    from repack.medium.write import MediumContext
    from repack.provenance.statement import PublicHalf
    from repack.sync.plan import ReleaseFiles
    from repack.sync.sync import SyncOptions


class OemSite(Struct, frozen=True):
    """What is known of the site.

    Attributes:
        fingerprint: the device that the checklist is for; None for any.
        has: the releases that devices there have; none: any earlier one that is kept.
        platforms: those of the devices; none: all of the release.
        notary: the folder of the notarisations.
        known: public keys that they may be signed with.
        key: gives the key that the label signs deltas with; asked only when it is signed.
    """

    fingerprint: Fingerprint | None
    has: tuple[int, ...]
    platforms: tuple[str, ...]
    notary: Path
    known: Sequence[PublicHalf]
    key: Callable[[], SharedKey | None]


def write_oem(
    name: str,
    root: Path,
    wish: ReleaseChoice,
    site: OemSite,
    places: tuple[MediumContext, SyncOptions],
) -> OemWritten:
    """Put a release on the medium ``root`` with everything an OEM site needs.

    Everything is made and checked before the first byte goes to the medium.

    Raises:
        UsageError: no such release or platform, or the release was not notarised.
        IntegrityError: the notarisation is about something else, or a source is damaged.
        RepackError: as :func:`write_medium` and :func:`repack.delta.apply.create` say.
    """
    (desk, terms), label = places, LabelName(name)
    with desk.channels.exclusive(label):
        cargo, tree = chosen(desk, label, wish)
    wish = replace(wish, release=cargo.release)
    platforms, old = _platforms(cargo, site), _old(desk, cargo, site)
    digest = Digest(hashlib.sha256(cargo.texts[MANIFEST_PATH]).hexdigest())
    notarized = read_release(site.notary, f"{label}-{cargo.release}", digest, site.known)
    texts = {RelPath(f"{NOTARY}/{file}"): data for file, data in notarized.documents.items()}
    if terms.dry_run:
        names = [oem_bundle.bundle_path(label, cargo.release, one) for one in platforms]
        names += [oem_bundle.delta_path(label, one, cargo.release) for one in old]
        names += [RelPath(f"{oem_bundle.folder(label)}/{oem_bundle.CHECKLIST}"), *texts]
        return OemWritten(write_medium(name, root, wish, desk, terms), site.fingerprint, (*names,))
    with desk.store.scratch_folder() as folder:
        bulk = _bundles(cargo, tree, platforms, folder, terms)
        bulk |= _deltas(cargo, old, site, folder, (desk, terms))
        made = f"{desk.now:%Y-%m-%d %H:%M} UTC"
        sheet = OemChecklist(
            label, cargo.release, platforms, site.fingerprint, digest, [*bulk], made
        )
        texts[RelPath(f"{oem_bundle.folder(label)}/{oem_bundle.CHECKLIST}")] = oem_bundle.checklist(
            sheet
        )
        beside = [one for one in [*bulk, *pieces_of(texts).values()] if _lacks(root, one)]
        written = write_medium(name, root, wish, desk, replace(terms, beside=beside))
        _put(root, label, wish, (bulk, texts), desk.rate)
    names = [*(one.path for one in bulk), *texts]
    return OemWritten(written, site.fingerprint, tuple(names))


def _put(
    root: Path,
    label: LabelName,
    wish: ReleaseChoice,
    extras: tuple[Mapping[FileEntry, Path], Mapping[RelPath, bytes]],
    rate: int | None,
) -> None:
    bulk, texts = extras
    base = oem_bundle.folder(label)
    listed = {one.path: one for one in [*bulk, *pieces_of(texts).values()]}
    if not wish.keep_others:
        oem_bundle.drop_others(root, label, frozenset({*listed, f"{base}/{SUMS}"}))
    own = {path: one for path, one in listed.items() if path.startswith(f"{base}/")}
    oem_bundle.put(root, bulk, texts, rate)
    atomic.write(root / base / SUMS, oem_bundle.sums(root, label, own))


def _lacks(root: Path, piece: FileEntry) -> bool:
    place = root / piece.path
    return not place.is_file() or place.stat().st_size != piece.size


def _platforms(cargo: ReleaseFiles, site: OemSite) -> tuple[str, ...]:
    """The platforms whose bundles are wanted."""
    found = manifest.parse(cargo.texts[MANIFEST_PATH], MANIFEST_PATH).platform
    there = [one for one in ([found] if isinstance(found, str) else found) if one != "noarch"]
    if strange := sorted(set(site.platforms) - set(there)):
        raise UsageError(
            f"release {cargo.release} is not for that platform",
            where=cargo.label,
            expected=", ".join(there),
            got=", ".join(strange),
        )
    return tuple(dict.fromkeys(site.platforms or there))


def _old(desk: MediumContext, cargo: ReleaseFiles, site: OemSite) -> list[int]:
    """The releases that deltas lead from."""
    kept = desk.channels.releases(cargo.label)
    wanted = site.has or [number for number in kept if number < cargo.release]
    return sorted(set(wanted) - {cargo.release})


def _bundles(
    cargo: ReleaseFiles,
    tree: Mapping[RelPath, Path],
    platforms: Sequence[str],
    scratch: Path,
    terms: SyncOptions,
) -> dict[FileEntry, Path]:
    made = {}
    for platform in platforms:
        path = oem_bundle.bundle_path(cargo.label, cargo.release, platform)
        file = scratch / path.rpartition("/")[2]
        oem_bundle.bundle(cargo, tree, platform, file, terms.progress)
        made[oem_bundle.piece(path, file)] = file
    return made


def _deltas(
    cargo: ReleaseFiles,
    old: Sequence[int],
    site: OemSite,
    scratch: Path,
    places: tuple[MediumContext, SyncOptions],
) -> dict[FileEntry, Path]:
    desk, terms = places
    made = {}
    for number in old:
        path = oem_bundle.delta_path(cargo.label, number, cargo.release)
        file = scratch / path.rpartition("/")[2]
        leap = DeltaRequest(cargo.label, number, cargo.release, "patched", None, site.key)
        create_delta(leap, desk.channels, desk.store, file, terms.progress)
        made[oem_bundle.piece(path, file)] = file
    return made
