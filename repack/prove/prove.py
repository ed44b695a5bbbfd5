"""Prove: what the target will do must work, and give exactly the lock, before anyone sees it.

The proof reads the staged channel and nothing else, with the target profile. On the host's own
subdir it also links every package into a scratch prefix and runs the label's health check there
without network. A foreign subdir's archives are read whole instead, which is done where archives
are inspected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import IntegrityError, ProofError, UnsolvableError
from repack.prefix import sandbox
from repack.prefix.link import link
from repack.progress import SILENT, Progress
from repack.prove.proof import Proof
from repack.solve.solver import solve_folder
from repack.urls import folder_url, package_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.conda.record import Record
    from repack.solve.solution import SolveRequest


class Scratch(Struct, frozen=True):
    """Where and how to try an installation.

    Attributes:
        prefix: a folder that may be removed.
        cache: rattler's package cache, shared by all labels.
        health_check: command to run in the prefix; may be empty.
        environment: variables to start the command from.
    """

    prefix: Path
    cache: Path
    health_check: tuple[str, ...]
    environment: Mapping[str, str]


def prove(
    channel: Path,
    question: SolveRequest,
    expected: Sequence[Record],
    scratch: Scratch | None,
    progress: Progress = SILENT,
) -> Proof:
    """Prove one subdir of a staged channel.

    Args:
        channel: the staged channel.
        question: what the target will ask for.
        expected: the records that must come out, no more and no less.
        scratch: where to link; None leaves linking out.

    Raises:
        ProofError: the channel alone does not give exactly these packages, or they do not install,
            or the health check fails.
    """
    subdir = question.profile.subdir
    try:
        found = solve_folder(channel, question)
    except UnsolvableError as error:
        raise ProofError(
            f"the finished channel cannot be installed from for {subdir}",
            got=error.explanations[subdir],
        ) from None
    _compare(subdir, found, expected)
    if scratch is None:
        return Proof("solved")
    return _link(channel, expected, scratch, progress)


def _compare(subdir: str, found: Sequence[Record], expected: Sequence[Record]) -> None:
    got = {record.path: record.sha256 for record in found}
    want = {record.path: record.sha256 for record in expected}
    if got != want:
        missing = sorted(path for path, sha in want.items() if got.get(path) != sha)
        extra = sorted(path for path, sha in got.items() if want.get(path) != sha)
        raise ProofError(
            f"solving from the finished channel for {subdir} does not give the lock",
            expected=", ".join(missing) or "nothing else",
            got=", ".join(extra) or "nothing in its place",
            hint="build with --update; if it stays, constrain the package that changes",
        )


def _link(channel: Path, expected: Sequence[Record], scratch: Scratch, progress: Progress) -> Proof:
    base = folder_url(channel)
    local = [replace(r, url=package_url(base, r.subdir, r.fn)) for r in expected]
    prefix = sandbox.fresh(scratch.prefix)
    try:
        with progress.phase("link", len(local), "packages") as done:
            link(local, prefix, scratch.cache, done)
        clobbered = sandbox.clobbered(prefix)
        if not scratch.health_check:
            return Proof("linked", clobbered=clobbered)
        network = sandbox.run_in(prefix, scratch.health_check, scratch.environment)
        return Proof("linked", network, clobbered)
    except IntegrityError as error:
        raise ProofError("the packages do not install", got=error.got) from None
    finally:
        sandbox.discard(prefix)
