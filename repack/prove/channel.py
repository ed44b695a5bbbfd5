"""Prove a staged release: install every subdir of it, and read what is in it to the last byte."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.conda.subdir import NOARCH, host_subdir
from repack.errors import RepackError
from repack.label.label import names as label_packages
from repack.prove.prove import Scratch, prove
from repack.store.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.archive.facts import Depth
    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.progress import Progress
    from repack.prove.proof import Proof
    from repack.settings import Mode
    from repack.solve.solution import Solution, SolveRequest
    from repack.store.store import Store


class ProofContext(Struct, frozen=True):
    """What a proof works with.

    Attributes:
        modes: how each subdir is proved.
        reads_everything: also read archives of this machine's subdir whole, beside linking them.
        scratch: the folder of the scratch prefix.
        environment: variables for the health check.
    """

    label: Label
    store: Store
    modes: Mapping[str, Mode]
    reads_everything: bool
    scratch: Path
    environment: Mapping[str, str]
    progress: Progress


@contextlib.contextmanager
def reading_archives(shipment: ChannelContents, context: ProofContext) -> Iterator[None]:
    """Read archives to the last byte while the block runs, which leaves the processors time.

    The block ends when all are read; what is wrong with one says more than what came of it.

    Raises:
        IntegrityError: an archive is damaged or hostile.
    """
    aside = ThreadPoolExecutor(1)
    try:
        whole: list[tuple[Record, Depth]] = [(r, "whole") for r in read_whole(shipment, context)]
        sound = aside.submit(inspect, whole, context.store)
        try:
            yield
        except RepackError:
            sound.result()
            raise
        with context.progress.phase("reading archives", None, "packages"):
            sound.result()
    finally:
        aside.shutdown(wait=False, cancel_futures=True)


def prove_channel(
    found: Solution,
    shipment: ChannelContents,
    tops: Mapping[str, tuple[Record, ...]],
    staged: Path,
    context: ProofContext,
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
            _scratch(mode, context),
            context.progress,
        )
        for subdir, mode in context.modes.items()
    }
    for subdir, proof in proofs.items():
        for path in proof.clobbered:
            context.progress.note(f"{subdir}: several packages bring {path}")
    return proofs


def read_whole(shipment: ChannelContents, context: ProofContext) -> tuple[Record, ...]:
    """Upstream's packages whose archives are read to the last byte before they are published.

    What this machine does not install is read instead. Linking does not find what an archive hides
    beside its list of files, so with the full proof everything is.
    """
    here = {NOARCH, host_subdir()} if not context.reads_everything else set()
    made = label_packages(context.label) - {context.label.name}
    records = (item.record for item in shipment.items.values())
    return tuple(r for r in records if r.name not in made and r.subdir not in here)


def _asked(question: SolveRequest, tops: tuple[Record, ...]) -> SolveRequest:
    """What a target asks for: the label's question, and the packages that carry the release."""
    pins = tuple(f"{r.name} =={r.version} {r.build}" for r in tops)
    return replace(question, specs=(*question.specs, *pins), exclude_newer=None)


def _scratch(mode: Mode, context: ProofContext) -> Scratch | None:
    if mode != "linked":
        return None
    return Scratch(
        prefix=context.scratch,
        cache=context.store.package_cache,
        health_check=context.label.health_check,
        environment=context.environment,
    )
