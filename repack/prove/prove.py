"""Prove: what the target will do must work, and give exactly the lock, before anyone sees it.

The proof reads the staged channel and nothing else, with the target profile. On the host's own
subdir it also links every package into a scratch prefix and runs the label's health check there
in a sandbox. Every archive was read to its last byte before, where archives are inspected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from repack.errors import IntegrityError, ProofError, UnsolvableError
from repack.prefix import sandbox
from repack.prefix.link import link
from repack.prove.proof import Proof
from repack.solve.solver import solve_folder
from repack.solve.wheels import machine_of
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
    from repack.wheels.requirements import Machine


class ProofContext(Struct, frozen=True):
    """What a proof works with.

    Attributes:
        modes: how each subdir is proved.
        scratch: the folder of the scratch prefix.
        hidden: folders that the health check must not see.
        wheels: per subdir the distributions that come as wheels.
    """

    label: Label
    store: Store
    modes: Mapping[str, Mode]
    scratch: Path
    hidden: tuple[Path, ...]
    progress: Progress
    wheels: Mapping[str, frozenset[str]] = field(default_factory=dict)


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
    return _link(channel, expected, context, subdir)


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


def _link(channel: Path, expected: CheckedEnvironment, context: ProofContext, subdir: str) -> Proof:
    """Install everything into a scratch prefix, check it, and run the label's health check there."""
    base = folder_url(channel)
    packages = expected.at(lambda record: package_url(base, record.subdir, record.fn))
    prefix, health_check = sandbox.fresh(context.scratch), context.label.health_check
    try:
        with context.progress.phase("link", len(packages.records), "packages") as done:
            link(packages, prefix, context.store.package_cache, done)
        clobbered = sandbox.clobbered(prefix)
        if wheels := context.wheels.get(subdir):
            _check_distributions(prefix, machine_of(expected.records, subdir), wheels, context)
        if not health_check:
            return Proof("linked", clobbered=clobbered)
        isolation = sandbox.run_in(prefix, health_check, context.hidden)
        return Proof("linked", isolation, clobbered)
    except IntegrityError as error:
        raise ProofError("the packages do not install", got=error.got or error.what) from None
    finally:
        sandbox.discard(prefix)


def _check_distributions(
    prefix: Path, machine: Machine, wheels: frozenset[str], context: ProofContext
) -> None:
    """Check what ``pip check`` checks, by the metadata alone; code of a package runs in a sandbox only.

    What conda packages say of each other is upstream's and only told.
    """
    from repack.prefix.distributions import installed_distributions
    from repack.wheels.consistency import find_conflicts

    conflicts = find_conflicts(installed_distributions(prefix), machine)
    for conflict in conflicts:
        if not conflict.names & wheels:
            context.progress.note(f"{machine.subdir}: `pip check` will say: {conflict.text}")
    texts = [conflict.text for conflict in conflicts if conflict.names & wheels]
    if texts:
        raise ProofError(
            f"`pip check` would fail in the environment for {machine.subdir}",
            got="".join(f"\n    {text}" for text in texts),
            hint="name what is missing, or versions that fit, in `packages` or `wheels.packages`;"
            " where conda's package is another one, say so in `wheels.names`",
        )
