"""Prove a staged release: install every subdir of it, and read what is in it to the last byte."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.conda.subdir import NOARCH, host_subdir
from repack.errors import RepackError
from repack.label import label
from repack.prove.prove import Scratch, prove
from repack.store.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.archive.facts import Depth
    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.prove.proof import Proof
    from repack.release.context import BuildContext
    from repack.settings import Mode
    from repack.solve.solution import Solution, SolveRequest


@contextlib.contextmanager
def reading_archives(shipment: ChannelContents, bench: BuildContext) -> Iterator[None]:
    """Read archives to the last byte while the block runs, which leaves the processors time.

    The block ends when all are read; what is wrong with one says more than what came of it.

    Raises:
        IntegrityError: an archive is damaged or hostile.
    """
    aside = ThreadPoolExecutor(1)
    try:
        whole: list[tuple[Record, Depth]] = [(r, "whole") for r in read_whole(shipment, bench)]
        sound = aside.submit(inspect, whole, bench.store)
        try:
            yield
        except RepackError:
            sound.result()
            raise
        with bench.progress.phase("reading archives", None, "packages"):
            sound.result()
    finally:
        aside.shutdown(wait=False, cancel_futures=True)


def prove_channel(
    found: Solution,
    shipment: ChannelContents,
    tops: Mapping[str, tuple[Record, ...]],
    staged: Path,
    bench: BuildContext,
) -> dict[str, Proof]:
    """Prove every subdir of the staged channel, by linking where it is this machine's.

    Raises:
        ProofError: the channel alone does not give these packages, or they do not install.
    """
    proofs = {
        subdir: prove(
            staged,
            _asked(found.requests[subdir], tops[subdir]),
            shipment.records_by_subdir[subdir],
            _scratch(mode, bench),
            bench.progress,
        )
        for subdir, mode in bench.modes(found.requests).items()
    }
    for subdir, proof in proofs.items():
        for path in proof.clobbered:
            bench.progress.note(f"{subdir}: several packages bring {path}")
    return proofs


def read_whole(shipment: ChannelContents, bench: BuildContext) -> tuple[Record, ...]:
    """Upstream's packages whose archives are read to the last byte before they are published.

    What this machine does not install is read instead. Linking does not find what an archive hides
    beside its list of files, so with the full proof everything is.
    """
    here = {NOARCH, host_subdir()} if bench.settings.prove != "linked" else set()
    made = label.names(bench.label) - {bench.label.name}
    records = (item.record for item in shipment.items.values())
    return tuple(r for r in records if r.name not in made and r.subdir not in here)


def _asked(question: SolveRequest, tops: tuple[Record, ...]) -> SolveRequest:
    """What a target asks for: the label's question, and the packages that carry the release."""
    pins = tuple(f"{r.name} =={r.version} {r.build}" for r in tops)
    return replace(question, specs=(*question.specs, *pins), exclude_newer=None)


def _scratch(mode: Mode, bench: BuildContext) -> Scratch | None:
    if mode != "linked":
        return None
    return Scratch(
        prefix=bench.store.scratch(bench.key),
        cache=bench.store.package_cache,
        health_check=bench.label.health_check,
        environment=bench.settings.environment,
    )
