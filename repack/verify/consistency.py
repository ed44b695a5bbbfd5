"""Whether the folders of a channel say one thing: repodata in all its forms, and the archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.channel.layout import is_unlisted
from repack.codec.canonical import loads
from repack.conda.repodata import SECTIONS, read_rows
from repack.display import printable
from repack.errors import IntegrityError
from repack.file_entry import UNKNOWN_SIZE
from repack.fs.inventory import compare
from repack.trust.selection import target_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from repack.channel.manifest import Artifact
    from repack.file_entry import FileEntry
    from repack.fs.inventory import Inventory
    from repack.names import RelPath

MAX_REPODATA: Final = 256 << 20
Kind = Literal["missing", "extra", "changed", "contradiction", "signature", "malformed"]


class Finding(Struct, frozen=True):
    """One thing that is wrong."""

    kind: Kind
    path: str
    what: str
    expected: str | None = None
    got: str | None = None

    def __str__(self) -> str:
        details = [
            f"{name} {value}"
            for name, value in (("expected", self.expected), ("got", self.got))
            if value is not None
        ]
        return f"{printable(self.path)}: {self.what}" + (
            f" ({', '.join(details)})" if details else ""
        )

    def to_json(self) -> dict[str, object]:
        """The row for ``--json``."""
        details = {"expected": self.expected, "got": self.got}
        return {
            "kind": self.kind,
            "path": self.path,
            "what": self.what,
            **{name: value for name, value in details.items() if value is not None},
        }


class Subdir(Struct, frozen=True):
    """One folder of a channel.

    Attributes:
        variants: file name -> its content, unpacked, or None when it is missing.
        archives: package file name -> what is there.
    """

    name: str
    variants: Mapping[str, bytes | None]
    archives: Mapping[str, FileEntry]


def check_subdir(subdir: Subdir) -> Iterator[Finding]:
    """Everything in which the folder contradicts itself."""
    data = None
    for name, content in subdir.variants.items():
        path = f"{subdir.name}/{name}"
        if content is None:
            yield Finding("missing", path, "missing")
        elif data is None:
            data = content
        elif content != data:
            yield Finding("contradiction", path, "differs from repodata.json")
    if data is None:
        return
    path = f"{subdir.name}/repodata.json"
    try:
        records = _records(loads(data, path, MAX_REPODATA), subdir.name, path)
    except IntegrityError as error:
        yield Finding("malformed", path, error.what, error.expected, error.got)
        return
    for name, record in records.items():
        yield from _check_record(f"{subdir.name}/{name}", record, subdir.archives.get(name))
    for name in sorted(set(subdir.archives) - set(records)):
        yield Finding("extra", f"{subdir.name}/{name}", "the repodata has no record of it")


def _records(document: object, subdir: str, where: str) -> dict[str, dict[str, object]]:
    if not isinstance(document, dict):
        raise IntegrityError("repodata is no object", where=where)
    info = document.get("info")
    if not isinstance(info, dict) or info.get("subdir") != subdir:
        raise IntegrityError("repodata of another subdir", where=where, expected=subdir)
    rows = read_rows(document, where)
    for section, suffix in SECTIONS.items():
        for name in document.get(section, ()):
            if "/" in name or not name.endswith(suffix):
                raise IntegrityError(f"{section} holds an odd name", where=where, got=name[:120])
    return rows


def _check_record(
    path: str, record: Mapping[str, object], entry: FileEntry | None
) -> Iterator[Finding]:
    if entry is None:
        yield Finding("missing", path, "the repodata names it, and it is not there")
        return
    sha256, size = record.get("sha256"), record.get("size")
    if sha256 is not None and sha256 != entry.sha256:
        yield Finding(
            "changed", path, "is not what its record says", str(sha256)[:64], entry.sha256
        )
    elif size is not None and size != entry.size:
        yield Finding(
            "changed", path, "has another size than its record", str(size), str(entry.size)
        )
    elif sha256 is None:
        yield Finding("malformed", path, "its record has no SHA-256")


def compare_release(
    entries: Mapping[RelPath, FileEntry], inventory: Inventory, release: int
) -> Iterator[Finding]:
    """What differs between a release's integrity list and the channel folder.

    Files with a signature of their own are no findings, but for a copy of another release's
    manifest.
    """
    copy = f"repack/{target_path(release)}"
    for difference in compare(entries, inventory):
        path, what = difference.path, difference.what
        if difference.kind == "extra":
            is_foreign = "/releases/" in path and path != copy
            if is_unlisted(path) and not is_foreign and path not in inventory.odd:
                continue
            what = "is not part of the release"
        yield Finding(difference.kind, path, what, difference.expected, difference.got)


def compare_artifacts(
    artifacts: Iterable[Artifact], entries: Mapping[RelPath, FileEntry]
) -> Iterator[Finding]:
    """What differs between the manifest and the integrity list that it names."""
    for artifact in artifacts:
        entry = entries.get(artifact.path)
        if entry is None or artifact.sha256 not in {None, entry.sha256}:
            yield Finding("contradiction", artifact.path, "manifest and integrity list differ")
        elif entry.size not in {UNKNOWN_SIZE, artifact.size}:
            yield Finding("contradiction", artifact.path, "the manifest states another size")
