"""Check update packages, find them, and make a payload out of a base and a patch."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_reader import BLOCK, TarReader
from repack.channel import integrity
from repack.channel.manifest import MAX_BYTES, Manifest, parse
from repack.errors import (
    IntegrityError,
    PlaceError,
    RepackError,
    SignatureError,
    UsageError,
)
from repack.fs import atomic, beneath
from repack.names import RelPath
from repack.update_package.audit import Audit
from repack.update_package.build import MANIFEST
from repack.update_package.patch import apply_patch

if TYPE_CHECKING:
    from pathlib import Path

    from repack.channel.manifest import Artifact
    from repack.file_entry import FileEntry
    from repack.keys.shared_key import SharedKey

_MAX_PACKAGES: Final = 10_000


class FoundPackage(Struct, frozen=True):
    """An update package in a folder of packages."""

    folder: str
    manifest: Manifest


def is_update_package(folder: Path) -> bool:
    """Whether a folder is an update package: a manifest, and not the layout of a channel."""
    return (folder / MANIFEST).is_file() and not (folder / "repack").is_dir()


def verify_package(
    folder: Path, audit: Audit, key: SharedKey | None = None, base_id: str | None = None
) -> Manifest:
    """Check everything an update package says of itself; every check goes into ``audit``.

    Args:
        key: the signature is checked with it, and then there must be one.
        base_id: what is installed, as ``ID@VERSION``: the package's patches must start from it.

    Raises:
        IntegrityError: anything is wrong; all of it is in ``audit``.
        SignatureError: the signature is missing or wrong.
        PlaceError: the folder or the manifest cannot be read.
    """
    manifest = _read_manifest(beneath.guard(folder), audit)
    _check_signature(manifest, key, audit)
    for artifact in manifest.artifacts:
        _check_artifact(folder, artifact, base_id, audit)
    if base_id is not None and not any(row.type == "diff" for row in manifest.artifacts):
        audit.warn("base_id", MANIFEST, f"the package has no patch; {base_id} is replaced whole")
    files = _read_integrity_list(folder, manifest, audit)
    if files is not None:
        for artifact in manifest.artifacts:
            if artifact.type == "full" and artifact.path.endswith(".tar"):
                _check_tar(folder, artifact.path, files, audit)
    _check_rest(folder, manifest, audit)
    audit.end()
    return manifest


def scan_packages(folder: Path, audit: Audit) -> list[FoundPackage]:
    """Every update package in the folders below ``folder``, checked but for the signatures.

    Raises:
        RepackError: one of them is damaged; the others were checked all the same.
        PlaceError: ``folder`` cannot be read.
    """
    with atomic.os_errors_at(folder):
        if not beneath.is_folder(beneath.guard(folder)):
            raise PlaceError("there is no such folder", where=folder)
        inner = [e for e in beneath.scan(folder) if not e.name.startswith(".")]
    children = [folder / entry.name for entry in inner if entry.kind == "folder"]
    packages = []
    for child in children[:_MAX_PACKAGES]:
        if not is_update_package(child):
            audit.warn("manifest", child.name, "holds no update package")
            continue
        one = Audit()
        try:
            packages.append(FoundPackage(child.name, verify_package(child, one)))
        except RepackError as error:
            if error not in one.errors:
                one.fail("manifest", MANIFEST, error)
        audit.entries += [
            type(entry)(entry.check, f"{child.name}/{entry.target}", entry.ok, entry.detail)
            for entry in one.entries
        ]
        audit.warnings += [f"{child.name}/{text}" for text in one.warnings]
        audit.errors += one.errors
    audit.end()
    return packages


def apply_package(
    folder: Path, base: Path, output: Path, audit: Audit, key: SharedKey | None = None
) -> Manifest:
    """Make the package's payload out of a base and the package's patch.

    Of the package, the manifest and the patch must be there; the payload need not.

    Raises:
        IntegrityError: the patch is damaged, or ``base`` is not its base; ``output`` is as it was.
        SignatureError: the signature is missing or wrong.
        UsageError: the package has no patch, or several.
        PlaceError: a file cannot be read or written.
        SpaceError: the disk is full.
    """
    manifest = _read_manifest(beneath.guard(folder), audit)
    _check_signature(manifest, key, audit)
    patches = [row for row in manifest.artifacts if row.type == "diff"]
    payloads = [row for row in manifest.artifacts if row.type == "full"]
    if len(patches) != 1 or len(payloads) != 1:
        raise UsageError(
            "the package has not one patch for one payload",
            where=folder,
            got=f"{len(patches)} patches, {len(payloads)} payloads",
            hint="install the payload as it is",
        )
    _check_artifact(folder, patches[0], None, audit)
    audit.end()
    with audit.check("base", base.name, "can be read"), atomic.os_errors_at(base):
        if not base.is_file():
            raise PlaceError("there is no such file", where=base)
    audit.end()
    target = output.name
    try:
        digests = apply_patch(base, folder / patches[0].path, output, payloads[0], audit.progress)
    except RepackError as error:
        audit.fail("apply", target, error)
        raise
    audit.note("apply", target, f"{patches[0].base_id} to {manifest.id}@{manifest.version}")
    audit.note("size", target, f"{payloads[0].size} bytes")
    for name, digest in digests.items():
        audit.note(name, target, digest)
    return manifest


def _read_manifest(folder: Path, audit: Audit) -> Manifest:
    path = folder / MANIFEST
    try:
        with atomic.os_errors_at(folder):
            if not folder.is_dir():
                raise PlaceError("there is no such folder", where=folder)
        manifest = parse(_read_plain(path, MAX_BYTES), path)
        if not manifest.artifacts:
            raise IntegrityError("the manifest lists no artifact", where=path)
        for row in manifest.artifacts:
            if row.type == "diff" and not row.base_id:
                raise IntegrityError("a patch names no base", where=path, got=row.path)
    except RepackError as error:
        audit.fail("manifest", MANIFEST, error)
        raise
    name = f"{manifest.id}@{manifest.version}, {len(manifest.artifacts)} artifacts"
    audit.note("manifest", MANIFEST, name)
    return manifest


def _check_signature(manifest: Manifest, key: SharedKey | None, audit: Audit) -> None:
    if key is not None:
        try:
            manifest.check(key, MANIFEST)
        except SignatureError as error:
            audit.fail("signature", MANIFEST, error)
        else:
            audit.note("signature", MANIFEST, f"fits the key {key.key_id or 'given'}")
    elif manifest.signature is not None:
        audit.warn("signature", MANIFEST, "there is one; without a key it was not checked")
    else:
        audit.warn("signature", MANIFEST, "there is none")


def _check_artifact(folder: Path, artifact: Artifact, base_id: str | None, audit: Audit) -> None:
    """Check one file of the package: there, of the right size, and with every hash right."""
    name = artifact.path
    if artifact.type == "diff" and base_id is not None:
        audit.compare("base_id", name, base_id, artifact.base_id)
    sha256, sha384, size = hashlib.sha256(), hashlib.sha384(), 0
    try:
        with _open_plain(folder / name) as stream:
            while chunk := stream.read(atomic.CHUNK):
                sha256.update(chunk)
                sha384.update(chunk)
                size += len(chunk)
                if size > artifact.size:
                    break
    except (RepackError, OSError) as fault:
        path = folder / name
        error = fault if isinstance(fault, RepackError) else atomic.from_os_error(fault, path)
        audit.fail("exists", name, IntegrityError(error.what, where=path))
        return
    audit.note("exists", name, artifact.type)
    if size > artifact.size:
        what, got = "the size is wrong", f"more than {artifact.size}"
        error = IntegrityError(what, where=name, expected=artifact.size, got=got)
        audit.fail("size", name, error)
        return
    audit.compare("size", name, artifact.size, size)
    if artifact.sha384 is not None:
        audit.compare("sha384", name, artifact.sha384, sha384.hexdigest())
    if artifact.sha256 is not None:
        audit.compare("sha256", name, artifact.sha256, sha256.hexdigest())


def _read_integrity_list(
    folder: Path, manifest: Manifest, audit: Audit
) -> dict[RelPath, FileEntry] | None:
    """The payload's files by path; None where there is no list, or it is not to be trusted."""
    pinned = manifest.integrity
    if pinned is None:
        return None
    try:
        data = _read_plain(folder / pinned.path, integrity.MAX_BYTES)
    except RepackError as error:
        audit.fail("integrity_manifest", pinned.path, IntegrityError(error.what, where=error.where))
        return None
    got = hashlib.sha256(data).hexdigest()
    audit.compare("sha256", pinned.path, pinned.sha256, got)
    if got != pinned.sha256:
        return None
    with audit.check("integrity_manifest", pinned.path, "a list of files"):
        return integrity.parse(data, folder / pinned.path)
    return None


def _check_tar(folder: Path, name: RelPath, files: dict[RelPath, FileEntry], audit: Audit) -> None:
    """Check every file of a payload against the list, and that none is missing or too many."""
    due = dict(files)
    try:
        with _open_plain(folder / name) as stream:
            size = os.fstat(stream.fileno()).st_size
            tar = TarReader(iter(lambda: stream.read(atomic.CHUNK), b""), size + BLOCK)
            for member in tar:
                if member.kind == "folder":
                    continue
                target = f"{name}:{member.name}"
                entry = due.pop(RelPath(member.name.removeprefix("./")), None)
                if entry is None:
                    what = (
                        "stands twice in the payload" if member.name in files else "is not listed"
                    )
                    audit.fail("file", target, IntegrityError(f"a file {what}", where=target))
                    continue
                if member.kind != "file":
                    what = f"a {member.kind} stands where a file is listed"
                    audit.fail("file", target, IntegrityError(what, where=target))
                    continue
                hasher = hashlib.sha256()
                while chunk := tar.read(atomic.CHUNK):
                    hasher.update(chunk)
                audit.compare("file", target, entry.sha256, hasher.hexdigest())
            tar.finish()
    except (RepackError, OSError) as fault:
        error = fault if isinstance(fault, RepackError) else atomic.from_os_error(fault, folder)
        audit.fail("payload", name, error)
        return
    for path in sorted(due):
        target = f"{name}:{path}"
        audit.fail("file", target, IntegrityError("a listed file is missing", where=target))


def _check_rest(folder: Path, manifest: Manifest, audit: Audit) -> None:
    """Files that the manifest does not list are no part of the package, and are said."""
    listed = {MANIFEST, *(row.path for row in manifest.artifacts)}
    if manifest.integrity is not None:
        listed.add(manifest.integrity.path)
    with atomic.os_errors_at(folder):
        names = [entry.name for entry in beneath.scan(folder)]
    for name in names:
        if not any(path == name or path.startswith(f"{name}/") for path in listed):
            audit.warn("unlisted", name, "is not listed in the manifest and was not checked")


def _read_plain(path: Path, limit: int) -> bytes:
    with atomic.os_errors_at(path), _open_plain(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise IntegrityError("file is too large", where=path, expected=f"at most {limit} bytes")
    return data


def _open_plain(path: Path) -> IO[bytes]:
    """Open a regular file; a link, a pipe or a device is none.

    Raises:
        OSError: it cannot be opened.
        IntegrityError: it is something else.
    """
    try:
        stream: IO[bytes] = beneath.reading(path)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EINVAL}:
            raise IntegrityError("this is no regular file", where=path) from error
        raise
    return stream
