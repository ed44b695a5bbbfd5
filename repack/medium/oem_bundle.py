"""What a medium carries besides channels for a site that has neither network nor conda at hand.

```
oem/LABEL/core-oem-RELEASE-PLATFORM.tar.gz   the channel for one platform, in one file
oem/LABEL/core-oem-RELEASE-linux.delta.tar.gz   plain, for devices that have an earlier release
oem/LABEL/oem_installation.md                the checklist for label, release and device
oem/LABEL/SHA256SUMS
notary/LABEL-RELEASE.json  .intoto.json      who built it from what, signed
```
"""

from __future__ import annotations

import gzip
from importlib import resources
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_writer import TarWriter
from repack.channel.layout import publish_rank
from repack.codec.sha256sums import SUMS, format_sums
from repack.conda.subdir import PLATFORMS
from repack.fs import atomic, beneath
from repack.medium.contents import OEM
from repack.medium.folder import check_written, put_file, read_sums
from repack.names import RelPath
from repack.progress import SILENT, Progress
from repack.sync.copy import RateLimit
from repack.sync.plan import text_entries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.license.fingerprint import Fingerprint
    from repack.names import Digest, LabelName
    from repack.sync.plan import ReleaseFiles


# Packages are compressed already; a higher level would only cost time.
_LEVEL: Final = 1
CHECKLIST: Final = "oem_installation.md"


def folder(label: LabelName) -> RelPath:
    """Where a label's files lie."""
    return RelPath(f"{OEM}/{label}")


def bundle_path(label: LabelName, release: int, platform: str) -> RelPath:
    """Where the whole release for one platform lies."""
    return RelPath(f"{folder(label)}/core-oem-{release}-{platform}.tar.gz")


def delta_path(label: LabelName, release: int, platform: str) -> RelPath:
    """Where the delta to a release lies, for devices of one system: ``linux`` or ``win``."""
    system = platform.partition("-")[0]
    return RelPath(f"{folder(label)}/core-oem-{release}-{system}.delta.tar.gz")


class OemChecklist(Struct, frozen=True):
    """What the checklist is filled in with.

    Attributes:
        fingerprint: of the device it is for; None where any will do.
        manifest: SHA-256 of the release's manifest.
        files: what lies beside the checklist.
        time: when it was written, for people.
    """

    label: LabelName
    release: int
    platforms: Sequence[str]
    fingerprint: Fingerprint | None
    manifest: Digest
    files: Sequence[FileEntry]
    time: str

    def render(self) -> bytes:
        """The checklist, from its template without the comment that it begins with."""
        marks = {
            "@LABEL@": self.label,
            "@RELEASE@": str(self.release),
            "@PLATFORMS@": ", ".join(self.platforms),
            "@FINGERPRINT@": self.fingerprint or "any device",
            "@MANIFEST@": self.manifest,
            "@MADE@": self.time,
            "@FILES@": "\n".join(
                f"| `{entry.path}` | {entry.size} | `{entry.sha256}` |" for entry in self.files
            ),
        }
        template = resources.files("repack.shipped").joinpath(CHECKLIST).read_text("utf-8")
        text = template.partition("-->\n")[2].lstrip()
        for mark, value in marks.items():
            text = text.replace(mark, value)
        return text.encode()


def write_bundle(
    release: ReleaseFiles,
    tree: Mapping[RelPath, Path],
    platform: str,
    out: Path,
    progress: Progress = SILENT,
) -> None:
    """Write a release's channel for one platform as a ``tar.gz``; the same release, the same bytes.

    Inside it is ``LABEL/``, as on a medium, so that the agent can read the folder it is unpacked in.
    Members come in the order of publishing: unpacking over a channel leaves no reader without a
    package that the metadata names.

    Raises:
        IntegrityError: a package is not what was released.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    foreign = {name for name in PLATFORMS if name != platform}
    packages = [
        entry
        for path, entry in sorted(release.packages.items())
        if path.partition("/")[0] not in foreign
    ]
    size = sum(entry.size for entry in packages)
    with (
        progress.phase(f"write {out.name}", size, "bytes") as advance,
        atomic.writing(out) as sink,
        gzip.GzipFile("", "wb", _LEVEL, sink, mtime=0) as zipped,
    ):
        tar = TarWriter(zipped, advance)
        for entry in packages:
            name = f"{release.label}/{entry.path}"
            tar.add(name, entry.size, str(tree[entry.path]), entry.sha256)
        for path in sorted(release.texts, key=publish_rank):
            mode = atomic.file_mode(path)
            tar.add_text(f"{release.label}/{path}", release.texts[path], mode=mode)
        tar.close()


class OemFiles(Struct, frozen=True):
    """What goes to a medium besides the channel.

    Attributes:
        sources: where the bytes of bundles and deltas lie.
        texts: checklist and notarisation.
    """

    sources: dict[FileEntry, Path]
    texts: dict[RelPath, bytes]

    @property
    def entries(self) -> list[FileEntry]:
        """Every file."""
        return [*self.sources, *text_entries(self.texts).values()]

    def put(self, root: Path, label: LabelName, rate: int | None, *, keep_others: bool) -> None:
        """Copy the files to their places on a medium, read them back, and list them.

        Args:
            keep_others: whether what other releases left in the label's folder stays.

        Raises:
            IntegrityError: the medium does not hold what is written to it.
            SpaceError: the medium is full.
            PlaceError: it cannot be written, or was pulled.
        """
        target, own = beneath.guard(root) / folder(label), f"{folder(label)}/"
        digests = {
            entry.path.removeprefix(own): entry.sha256
            for entry in self.entries
            if entry.path.startswith(own)
        }
        if not keep_others:
            with atomic.os_errors_at(target):
                present = beneath.scan_if_there(target)
            for entry in present:
                if entry.name not in {*digests, SUMS}:
                    atomic.remove(target / entry.name)
        limit = RateLimit(rate)
        for file, source in self.sources.items():
            put_file(root, file, source, limit)
        for name, data in self.texts.items():
            atomic.write(root / name, data)
        check_written(root, self.entries)
        listed = {
            n: sha256 for n, sha256 in read_sums(target).items() if beneath.is_file(target / n)
        }
        atomic.write(target / SUMS, format_sums(listed | digests))
