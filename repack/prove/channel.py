"""Prove a staged release: install every subdir of it, and read what is in it to the last byte."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.conda.subdir import NOARCH, host_subdir
from repack.errors import RepackError
from repack.label.label import package_names
from repack.prove.prove import prove
from repack.store.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.archive.facts import Depth
    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.prove.proof import Proof
    from repack.prove.prove import ProofContext
    from repack.solve.solution import SolveRequest


@contextlib.contextmanager
def reading_archives(contents: ChannelContents, context: ProofContext) -> Iterator[None]:
    """Read archives to the last byte while the block runs, which leaves the processors time.

    The block ends when all are read. Where both fail, the archive's error is raised: it is the
    cause of the other.

    Raises:
        IntegrityError: an archive is damaged or hostile.
    """
    pool = ThreadPoolExecutor(1)
    try:
        depths: list[tuple[Record, Depth]] = [(r, "whole") for r in read_whole(contents, context)]
        reading = pool.submit(inspect, depths, context.store)
        try:
            yield
        except RepackError:
            reading.result()
            raise
        with context.progress.phase("reading archives", None, "packages"):
            reading.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def prove_channel(
    requests: Mapping[str, SolveRequest],
    contents: ChannelContents,
    requested: Mapping[str, tuple[Record, ...]],
    staged: Path,
    context: ProofContext,
) -> dict[str, Proof]:
    """Prove every subdir of the staged channel, by linking where it is this machine's.

    Args:
        requests: what the label asks for, per subdir.
        contents: the packages that must come out.
        requested: per subdir the packages that carry the release, which a target asks for too.
        staged: the channel.
        context: how to prove.

    Raises:
        ProofError: the channel alone does not give these packages, or they do not install.
    """
    proofs = {}
    for subdir in context.modes:
        pins = tuple(f"{r.name} =={r.version} {r.build}" for r in requested[subdir])
        request = replace(
            requests[subdir], specs=(*requests[subdir].specs, *pins), exclude_newer=None
        )
        proofs[subdir] = prove(staged, request, contents.records_by_subdir[subdir], context)
        for path in proofs[subdir].clobbered:
            context.progress.note(f"{subdir}: several packages bring {path}")
    return proofs


def read_whole(contents: ChannelContents, context: ProofContext) -> tuple[Record, ...]:
    """Upstream's packages whose archives are read to the last byte before they are published.

    What this machine does not install is read instead. Linking does not find what an archive hides
    beside its list of files, so with the full proof everything is.
    """
    here = {NOARCH, host_subdir()} if not context.reads_everything else set()
    own = package_names(context.label) - {context.label.name}
    records = (item.record for item in contents.items.values())
    return tuple(r for r in records if r.name not in own and r.subdir not in here)
