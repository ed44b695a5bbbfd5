"""Prove: what the target will do must work, and give exactly the lock, before anyone sees it.

The proof reads the staged channel and nothing else, with the target profile. On the host's own
subdir it also links every package into a scratch prefix and runs the label's health check there
in a sandbox. Every archive was read to its last byte before, where archives are inspected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from repack.errors import IntegrityError, ProofError, UnsolvableError
from repack.prefix import sandbox
from repack.prefix.link import link
from repack.prove.proof import Proof
from repack.solve.solver import solve_folder
from repack.urls import folder_url, package_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.archive.installed_paths import CheckedEnvironment
    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.progress import Progress
    from repack.settings import Mode
    from repack.solve.solution import SolveRequest
    from repack.store.store import Store


class ProofContext(Struct, frozen=True):
    """What a proof works with.

    Attributes:
        modes: how each subdir is proved.
        scratch: the folder of the scratch prefix.
        hidden: folders that the health check must not see.
    """

    label: Label
    store: Store
    modes: Mapping[str, Mode]
    scratch: Path
    hidden: tuple[Path, ...]
    progress: Progress


def prove(
    channel: Path, request: SolveRequest, expected: CheckedEnvironment, context: ProofContext
) -> Proof:
    """Prove one subdir of a staged channel.

    Args:
        channel: the staged channel.
        request: what the target will ask for.
        expected: the packages that must come out, no more and no less.
        context: whether to link, and where.

    Raises:
        ProofError: the channel alone does not give exactly these packages, or they do not install,
            or the health check fails.
    """
    subdir = request.profile.subdir
    try:
        records = solve_folder(channel, request)
    except UnsolvableError as error:
        raise ProofError(
            f"the finished channel cannot be installed from for {subdir}",
            got=error.explanations[subdir],
            hint=error.hint if error.advice else None,
        ) from None
    _compare(subdir, records, expected.records)
    if context.modes[subdir] != "linked":
        return Proof("solved")
    return _link(channel, expected, context)


def _compare(subdir: str, records: Sequence[Record], expected: Sequence[Record]) -> None:
    got = {record.path: record.sha256 for record in records}
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


def _link(channel: Path, expected: CheckedEnvironment, context: ProofContext) -> Proof:
    """Install everything into a scratch prefix and run the label's health check there."""
    base = folder_url(channel)
    packages = expected.at(lambda record: package_url(base, record.subdir, record.fn))
    prefix, health_check = sandbox.fresh(context.scratch), context.label.health_check
    try:
        with context.progress.phase("link", len(packages.records), "packages") as done:
            link(packages, prefix, context.store.package_cache, done)
        clobbered = sandbox.clobbered(prefix)
        if not health_check:
            return Proof("linked", clobbered=clobbered)
        isolation = sandbox.run_in(prefix, health_check, context.hidden)
        return Proof("linked", isolation, clobbered)
    except IntegrityError as error:
        raise ProofError("the packages do not install", got=error.got or error.what) from None
    finally:
        sandbox.discard(prefix)
