"""Makes packages out of patches: two at a time."""

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
    from collections.abc import Sequence
    from pathlib import Path

    from repack.delta.manifest import Patched
    from repack.names import Digest

# Each may take the memory that one patch takes.
_AT_ONCE: Final = 2


class RebuildJob(Struct, frozen=True):
    """A package to be made.

    Attributes:
        base: where the package lies that it is made from.
        patch: the patch's file.
        sha256: of the package.
    """

    row: Patched
    base: Path
    patch: Path
    sha256: Digest


def rebuild(
    due: Sequence[RebuildJob], work: Path, tools: tuple[tuple[str, str], ...]
) -> list[Path]:
    """Make packages, each in ``work`` by its SHA-256; what is there and right is kept.

    Args:
        tools: versions of what the patches were tried out with.

    Raises:
        IntegrityError: a base is damaged, a patch is, or the package comes out with other bytes.
        SpaceError: the disk is full.
    """
    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda one: _one(one, work, tools), due))


def _one(due: RebuildJob, work: Path, tools: tuple[tuple[str, str], ...]) -> Path:
    made = work / due.sha256
    if made.is_file() and digests.digest(made)[0] == due.sha256:
        return made
    scratch = work / f"{atomic.TEMP_PREFIX}base-{due.sha256}"
    try:
        got = _apply(due, scratch, made)
    finally:
        atomic.remove(scratch)
    if got != due.sha256:
        atomic.remove(made)
        raise IntegrityError(
            "made again from its patch, the package has other bytes",
            where=due.row.path,
            expected=f"as with {_words(tools)}",
            got=f"with {_words(recompress.tools())}",
            hint="take the same versions here, or a delta made with --carry 0",
        )
    return made


def _apply(due: RebuildJob, scratch: Path, made: Path) -> str:
    """Make the package; the SHA-256 of what came out.

    The base is hashed beside. If it is damaged, that is what is said, whatever else went wrong.
    """
    if not due.base.is_file():
        raise _damaged(due)
    with ThreadPoolExecutor(1) as beside:
        hashed = beside.submit(digests.digest, due.base)
        try:
            with atomic.writing(made) as out:
                patch.apply_patch(due.patch, _base(due, scratch), out)
        except IntegrityError:
            if hashed.result()[0] != due.row.base_sha256:
                raise _damaged(due) from None
            raise
        got = digests.digest(made)[0]
        if hashed.result()[0] != due.row.base_sha256:
            atomic.remove(made)
            raise _damaged(due)
    return got


def _base(due: RebuildJob, scratch: Path) -> Payload:
    if patch.is_raw(due.patch):
        return Payload.raw(due.base)
    return unpack(due.base, due.row.base.rpartition("/")[2], scratch, due.row.unpacked)


def _damaged(due: RebuildJob) -> IntegrityError:
    return IntegrityError(
        "a package of the channel is missing or damaged",
        where=due.base,
        expected=due.row.base_sha256,
        hint="copy the channel again; a delta needs the whole of its base",
    )


def _words(tools: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name} {version}" for name, version in tools)
