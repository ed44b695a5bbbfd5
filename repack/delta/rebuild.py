"""Rebuilds packages from patches, two at a time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.delta import patch, recompress
from repack.delta.payload import Payload, unpack
from repack.errors import IntegrityError
from repack.fs import atomic, digests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.delta.manifest import Patched
    from repack.names import Digest

# Each worker takes the memory of one patch.
_WORKERS: Final = 2


class RebuildJob(Struct, frozen=True):
    """A package to be rebuilt.

    Attributes:
        row: what the delta's manifest says of it.
        base: where the package lies that it is rebuilt from.
        patch: the patch's file.
        sha256: of the package.
    """

    row: Patched
    base: Path
    patch: Path
    sha256: Digest


def rebuild(jobs: Sequence[RebuildJob], work: Path, tools: Mapping[str, str]) -> list[Path]:
    """Rebuild packages, each in ``work`` under its SHA-256; one that lies there and is right is kept.

    Args:
        tools: versions of the libraries that the patches were tried out with.

    Raises:
        IntegrityError: a base is damaged, a patch is, or the package comes out with other bytes.
        SpaceError: the disk is full.
    """
    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: _rebuild_one(job, work, tools), jobs))


def _rebuild_one(job: RebuildJob, work: Path, tools: Mapping[str, str]) -> Path:
    package = work / job.sha256
    if package.is_file() and digests.digest(package)[0] == job.sha256:
        return package
    scratch = work / f"{atomic.TEMP_PREFIX}base-{job.sha256}"
    try:
        sha256 = _apply(job, scratch, package)
    finally:
        atomic.remove(scratch)
    if sha256 != job.sha256:
        atomic.remove(package)
        raise IntegrityError(
            "made again from its patch, the package has other bytes",
            where=job.row.path,
            expected=f"as with {_words(tools)}",
            got=f"with {_words(recompress.tools())}",
            hint="take the same versions here, or a delta made with --carry 0",
        )
    return package


def _apply(job: RebuildJob, scratch: Path, package: Path) -> str:
    """Write the package, and return the SHA-256 of what came out.

    The base is hashed in another thread meanwhile. A damaged base is reported as such, whatever
    error it led to.
    """
    if not job.base.is_file():
        raise _damaged(job)
    with ThreadPoolExecutor(1) as pool:
        base_digest = pool.submit(digests.digest, job.base)
        try:
            with atomic.writing(package) as out:
                patch.apply_patch(job.patch, _base_payload(job, scratch), out)
        except IntegrityError:
            if base_digest.result()[0] != job.row.base_sha256:
                raise _damaged(job) from None
            raise
        sha256 = digests.digest(package)[0]
        if base_digest.result()[0] != job.row.base_sha256:
            atomic.remove(package)
            raise _damaged(job)
    return sha256


def _base_payload(job: RebuildJob, scratch: Path) -> Payload:
    if patch.is_raw(job.patch):
        return Payload.raw(job.base)
    return unpack(job.base, job.row.base.rpartition("/")[2], scratch, job.row.unpacked)


def _damaged(job: RebuildJob) -> IntegrityError:
    return IntegrityError(
        "a package of the channel is missing or damaged",
        where=job.base,
        expected=job.row.base_sha256,
        hint="copy the channel again; a delta needs the whole of its base",
    )


def _words(tools: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(tools.items()))
