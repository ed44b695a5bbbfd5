"""The files that tell a person or another tool what a channel holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.names import LabelName
    from repack.solve.solution import Solution, SolveRequest


def describe(
    name: LabelName, solution: Solution, contents: ChannelContents
) -> dict[RelPath, bytes]:
    """Lock, environment file, explicit lists and target profile, by path in the channel."""
    requests = tuple(solution.requests.values())
    specs = sorted({spec for request in requests for spec in request.specs})
    texts = {
        RelPath("repack/lock.yml"): solution.lock,
        RelPath("repack/environment.yml"): _environment(name, specs),
        RelPath("repack/profile.json"): _profile(requests, contents),
    }
    for subdir, records in contents.records_by_subdir.items():
        texts[RelPath(f"repack/explicit-{subdir}.txt")] = _explicit(subdir, records)
    return texts


def _environment(name: str, specs: Sequence[str]) -> bytes:
    # Wherever the folder is copied, the channel is the parent of this file's folder; conda takes
    # channels of an environment file as they stand, so the one to use is named when it is called.
    lines = [
        "# conda env create --offline -f environment.yml, with CONDARC as install.sh writes it",
        f"name: {name}",
        "channels: [nodefaults]",
        "dependencies:",
        *(f"  - {json.dumps(spec)}" for spec in specs),
    ]
    return "\n".join(lines).encode() + b"\n"


def _explicit(subdir: str, records: Sequence[Record]) -> bytes:
    # conda takes paths relative to where it is run, and SHA-256 since 23.1; before that only md5,
    # which is all that conda below 4.7, the reader of .tar.bz2 channels, knows.
    lines = [
        "# conda create --prefix PREFIX --offline --file repack/explicit-SUBDIR.txt",
        "# run inside the channel's folder",
        f"# platform: {subdir}",
        "@EXPLICIT",
    ]
    for record in records:
        md5 = record.md5 if record.fn.endswith(".tar.bz2") else None
        if md5:
            lines.append(f"# sha256 {record.sha256} {record.path}")
        lines.append(f"{record.path}#{md5 or record.sha256}")
    return "\n".join(lines).encode() + b"\n"


def _profile(requests: Sequence[SolveRequest], contents: ChannelContents) -> bytes:
    document: dict[str, dict[str, object]] = {
        request.profile.subdir: {
            "virtual_packages": [str(package) for package in request.profile.virtual_packages],
            "conda": request.profile.conda,
            "specs": list(request.specs),
            "constraints": list(request.constraints),
            "add_pip": request.add_pip,
        }
        for request in requests
    }
    for subdir, profile in document.items():
        if lengths := contents.reach(subdir):
            profile["paths"] = asdict(lengths)
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
