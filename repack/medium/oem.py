"""Writes an OEM medium: a medium, and what a site needs that has a stick and a phone.

In this order: choose the release, read its notarisation, write bundles, deltas and checklist, write
the medium, copy the rest beside it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.channel.layout import MANIFEST_PATH
from repack.channel.manifest import parse
from repack.delta.create import DeltaRequest, create_delta
from repack.errors import UsageError
from repack.fs.digests import file_entry
from repack.medium import oem_bundle
from repack.medium.contents import NOTARY
from repack.medium.oem_bundle import OemChecklist, OemFiles
from repack.medium.top import put_sums
from repack.medium.write import find_release, write_medium
from repack.names import Digest, LabelName, RelPath
from repack.provenance.notarize import read_release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.keys.shared_key import SharedKey
    from repack.license.fingerprint import Fingerprint
    from repack.medium.contents import MediumResult, ReleaseChoice
    from repack.medium.write import MediumContext
    from repack.progress import Progress
    from repack.provenance.statement import PublicHalf
    from repack.sync.plan import ReleaseFiles


class OemSite(Struct, frozen=True):
    """The site that a medium is for.

    Attributes:
        fingerprint: the device that the checklist is for; None for any.
        has: the releases that devices there have; none: any earlier one that is kept.
        platforms: those of the devices; none: all of the release.
        notary: the folder of the notarisations.
        known: public keys that the notarisations may be signed with.
        key: gives the key that the label signs deltas with; asked only when it is signed.
    """

    fingerprint: Fingerprint | None
    has: tuple[int, ...]
    platforms: tuple[str, ...]
    notary: Path
    known: Sequence[PublicHalf]
    key: Callable[[], SharedKey | None]


class OemWritten(Struct, frozen=True):
    """What was written to a medium for an OEM site.

    Attributes:
        files: paths on the medium; with ``--dry-run`` those that would be written.
    """

    written: MediumResult
    fingerprint: Fingerprint | None
    files: tuple[RelPath, ...]

    def to_json(self) -> dict[str, object]:
        """The document ``repack medium --oem --json`` prints."""
        return {
            **self.written.to_json(),
            "oem": {"fingerprint": self.fingerprint, "files": list(self.files)},
        }


def write_oem(
    name: str, root: Path, choice: ReleaseChoice, site: OemSite, context: MediumContext
) -> OemWritten:
    """Put a release on the medium ``root`` with everything an OEM site needs.

    Everything is made and checked before the first byte goes to the medium.

    Raises:
        UsageError: no such release or platform, or the release was not notarised.
        IntegrityError: the notarisation is about something else, or a source is damaged.
        RepackError: as :func:`write_medium` and :func:`repack.delta.create.create_delta` say.
    """
    label, options = LabelName(name), context.options
    with context.channels.exclusive(label):
        release, tree = find_release(context, label, choice)
    number = release.release
    choice = replace(choice, release=number)
    platforms, bases = _platforms(release, site), _base_releases(context, release, site)
    digest = Digest(hashlib.sha256(release.texts[MANIFEST_PATH]).hexdigest())
    notarized = read_release(site.notary, f"{label}-{number}", digest, site.known)
    texts = {RelPath(f"{NOTARY}/{file}"): data for file, data in notarized.documents.items()}
    checklist = RelPath(f"{oem_bundle.folder(label)}/{oem_bundle.CHECKLIST}")
    if options.dry_run:
        paths = [oem_bundle.bundle_path(label, number, platform) for platform in platforms]
        paths += _delta_paths(release, platforms) if bases else []
        written = write_medium(name, root, choice, context)
        return OemWritten(written, site.fingerprint, (*paths, checklist, *texts))
    with context.store.scratch_folder() as folder:
        sources = _write_bundles(release, tree, platforms, folder, options.progress)
        if bases:
            file = _write_delta(release, bases, site, folder, context)
            sources |= {file_entry(path, file): file for path in _delta_paths(release, platforms)}
        time = f"{context.now:%Y-%m-%d %H:%M} UTC"
        texts[checklist] = OemChecklist(
            label, number, platforms, site.fingerprint, digest, [*sources], time
        ).render()
        files = OemFiles(sources, texts)
        beside = [entry for entry in files.entries if not _has_size(root, entry)]
        counted = replace(context, options=replace(options, extra_files=beside))
        written = write_medium(name, root, choice, counted)
        files.put(root, label, context.rate, keep_others=choice.keep_others)
        put_sums(root)
    paths = [entry.path for entry in sources]
    return OemWritten(written, site.fingerprint, (*paths, *texts))


def _has_size(root: Path, entry: FileEntry) -> bool:
    path = root / entry.path
    return path.is_file() and path.stat().st_size == entry.size


def _platforms(release: ReleaseFiles, site: OemSite) -> tuple[str, ...]:
    """The platforms that a bundle is written for.

    Raises:
        UsageError: the release is not for one of the site's.
    """
    platform = parse(release.texts[MANIFEST_PATH], MANIFEST_PATH).platform
    names = [platform] if isinstance(platform, str) else platform
    offered = [name for name in names if name != "noarch"]
    if unknown := sorted(set(site.platforms) - set(offered)):
        raise UsageError(
            f"release {release.release} is not for that platform",
            where=release.label,
            expected=", ".join(offered),
            got=", ".join(unknown),
        )
    return tuple(dict.fromkeys(site.platforms or offered))


def _base_releases(context: MediumContext, release: ReleaseFiles, site: OemSite) -> list[int]:
    """The releases that deltas lead from."""
    kept = context.channels.releases(release.label)
    numbers = site.has or [number for number in kept if number < release.release]
    return sorted(set(numbers) - {release.release})


def _write_bundles(
    release: ReleaseFiles,
    tree: Mapping[RelPath, Path],
    platforms: Sequence[str],
    scratch: Path,
    progress: Progress,
) -> dict[FileEntry, Path]:
    sources = {}
    for platform in platforms:
        path = oem_bundle.bundle_path(release.label, release.release, platform)
        file = scratch / path.rpartition("/")[2]
        oem_bundle.write_bundle(release, tree, platform, file, progress)
        sources[file_entry(path, file)] = file
    return sources


def _delta_paths(release: ReleaseFiles, platforms: Sequence[str]) -> list[RelPath]:
    """Where the delta lies: under the name of every system that the stick is for.

    It holds the packages of all platforms whatever it is called, because ``tar`` unpacks it over a
    channel whose metadata names them.
    """
    paths = [oem_bundle.delta_path(release.label, release.release, name) for name in platforms]
    return list(dict.fromkeys(paths))


def _write_delta(
    release: ReleaseFiles,
    bases: Sequence[int],
    site: OemSite,
    scratch: Path,
    context: MediumContext,
) -> Path:
    """One plain delta that fits every base, so that nobody can unpack the wrong one."""
    file = scratch / "core-oem.delta.tar.gz"
    *others, old = bases
    request = DeltaRequest(
        release.label, old, release.release, "plain", None, site.key, tuple(others)
    )
    create_delta(request, context.channels, context.store, file, context.options.progress)
    return file
