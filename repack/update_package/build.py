"""Build an update package: files copied and hashed, the manifest signed, all of it in one step."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import field

from repack.channel.manifest import Artifact, IntegrityRef, Manifest, build
from repack.errors import PlaceError, UsageError
from repack.fs import atomic, beneath, exchange
from repack.names import Digest, Digest384, RelPath
from repack.structs import Value
from repack.update_package.patch import make_patch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.keys.shared_key import SharedKey
    from repack.progress import Progress

MANIFEST: Final = RelPath("manifest.json")
# What the manifest itself says; metadata cannot take these names.
_RESERVED: Final = frozenset(
    {
        "id",
        "version",
        "platform",
        "runtime",
        "generated_at",
        "artifacts",
        "integrity_manifest",
        "signature",
    }
)


class BuildRequest(Value, frozen=True):
    """What goes into an update package.

    Attributes:
        payload: the new state, whole.
        patch: a patch that leads from ``base_id`` to it, made elsewhere.
        old_payload: the payload of ``base_id``, to make the patch from; not with ``patch``.
        base_id: ``ID@VERSION`` of the package that a patch starts from.
        integrity_list: the payload's files with their SHA-256.
        metadata: more fields of the manifest; they are signed too.
    """

    hidden_fields: ClassVar = ("key",)

    package_id: str
    version: str
    platform: str
    runtime: str
    payload: Path
    patch: Path | None = None
    old_payload: Path | None = None
    base_id: str | None = None
    integrity_list: Path | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    key: SharedKey | None = None

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            UsageError: a patch without its base, two patches, or metadata that says what the
                manifest says.
        """
        for option, text in (("--package-id", self.package_id), ("--version", self.version)):
            if not text.strip() or "@" in text:
                raise UsageError(f"{option} is no plain text without @", got=repr(text)[:80])
        if self.patch is not None and self.old_payload is not None:
            raise UsageError("--diff and --diff-from exclude each other", hint="give one of them")
        has_patch = self.patch is not None or self.old_payload is not None
        if has_patch and self.base_id is None:
            raise UsageError(
                "a patch needs its base", hint="give --base-id, such as desktop-shell@2024.04"
            )
        if self.base_id is not None and not has_patch:
            raise UsageError(
                "--base-id says where a patch starts, and there is none",
                hint="give --diff or --diff-from as well, or leave --base-id out",
            )
        if taken := sorted(_RESERVED & self.metadata.keys()):
            raise UsageError(
                "--metadata repeats fields of the manifest",
                got=", ".join(taken),
                hint="give them other names",
            )


def build_package(request: BuildRequest, folder: Path, progress: Progress) -> Manifest:
    """Write the update package ``folder``; it appears whole, or what was there stays.

    Raises:
        UsageError: two files have one name, or ``folder`` holds something else.
        IntegrityError: a name that no system takes.
        PlaceError: a file cannot be read or written.
        SpaceError: the disk is full.
    """
    _check_place(folder)
    staged = folder.with_name(f"{atomic.TEMP_PREFIX}{folder.name}.new")
    atomic.remove(staged)
    try:
        with atomic.os_errors_at(staged):
            beneath.make_folders(staged)
        artifacts = [_add(request.payload, staged, "full", None, progress)]
        if request.patch is not None:
            artifacts.append(_add(request.patch, staged, "diff", request.base_id, progress))
        elif request.old_payload is not None:
            made = staged / f"{request.payload.name.removesuffix('.tar')}.patch"
            make_patch(request.old_payload, request.payload, made, progress)
            artifacts.append(_describe(made, "diff", request.base_id))
        integrity = None
        if request.integrity_list is not None:
            row = _add(request.integrity_list, staged, "full", None, progress)
            assert row.sha256 is not None  # noqa: S101 - _describe makes both hashes
            integrity = IntegrityRef(row.path, row.sha256)
        manifest = build(
            Manifest(
                id=request.package_id,
                version=request.version,
                platform=request.platform,
                runtime=request.runtime,
                artifacts=(),
                extra=dict(request.metadata),
            ),
            tuple(artifacts),
            integrity,
        )
        if request.key is not None:
            manifest = manifest.signed(request.key)
        atomic.write(staged / MANIFEST, manifest.to_bytes())
        _publish(staged, folder)
    except BaseException:
        atomic.remove(staged)
        raise
    return manifest


def _check_place(folder: Path) -> None:
    """Only an update package, or nothing, is replaced."""
    with atomic.os_errors_at(folder):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UsageError("the output is no folder", where=folder, hint="name a new folder")
        if (
            beneath.is_folder(folder)
            and beneath.scan(folder)
            and not beneath.is_file(folder / MANIFEST)
        ):
            raise UsageError(
                "the folder holds something that is no update package",
                where=folder,
                hint="name a new or an empty folder",
            )


def _publish(staged: Path, folder: Path) -> None:
    """Let the new package take the place of the old one."""
    if not folder.exists():
        with atomic.os_errors_at(folder):
            atomic.rename(staged, folder)
            atomic.sync_folder(folder.parent)
        return
    if not exchange.exchange(staged, folder):
        aside = folder.with_name(f"{atomic.TEMP_PREFIX}{folder.name}.old")
        atomic.remove(aside)
        with atomic.os_errors_at(folder):
            atomic.rename(folder, aside)
            atomic.rename(staged, folder)
            atomic.sync_folder(folder.parent)
        atomic.remove(aside)
    atomic.remove(staged)


def _add(source: Path, folder: Path, kind: str, base_id: str | None, on: Progress) -> Artifact:
    """Copy a file into the package and say what it is."""
    name = RelPath(source.name)
    target = folder / name
    if target.exists() or name.casefold() == MANIFEST:
        raise UsageError("two files of the package have one name", where=source, got=name)
    with atomic.os_errors_at(source):
        if not source.is_file():
            raise PlaceError("there is no such file", where=source)
        size = source.stat().st_size
        with (
            beneath.reading(source) as stream,
            atomic.writing(target) as out,
            on.phase(f"adding {name}", size, "bytes") as advance,
        ):
            while chunk := stream.read(atomic.CHUNK):
                out.write(chunk)
                advance(len(chunk))
    return _describe(target, kind, base_id)


def _describe(path: Path, kind: str, base_id: str | None) -> Artifact:
    """The row of a file in the manifest, with both hashes, of what lies in the package."""
    sha256, sha384, size = hashlib.sha256(), hashlib.sha384(), 0
    with atomic.os_errors_at(path), beneath.reading(path) as stream:
        while chunk := stream.read(atomic.CHUNK):
            sha256.update(chunk)
            sha384.update(chunk)
            size += len(chunk)
    return Artifact(
        path=RelPath(path.name),
        size=size,
        sha256=Digest(sha256.hexdigest()),
        sha384=Digest384(sha384.hexdigest()),
        type="diff" if kind == "diff" else "full",
        base_id=base_id,
    )
