"""Prove a staged release: solve every subdir of it anew, and install this machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.prove.prove import prove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.prove.proof import Proof
    from repack.prove.prove import ProofContext
    from repack.solve.solution import SolveRequest


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
        proofs[subdir] = prove(staged, request, contents.checked(subdir), context)
        for path in proofs[subdir].clobbered:
            context.progress.note(f"{subdir}: several packages bring {path}")
    return proofs
