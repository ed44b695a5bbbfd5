"""What becomes of a channel when a customer runs his own ``conda index`` over it.

A copy is indexed, its records are compared one by one with the release's, and every platform is
solved again from it: the hot-fixes of upstream, which the archives do not have, must be there still.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.conda.record import ARCHIVE_SUFFIXES
from repack.conda.repodata import read_rows
from repack.conda.subdir import NOARCH
from repack.conda.virtual_packages import TargetProfile, VirtualPackage
from repack.errors import IntegrityError, ProofError, UnsolvableError, UsageError
from repack.fs import atomic, beneath, links
from repack.fs.walk import walk
from repack.solve.solution import SolveRequest
from repack.solve.solver import solve_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMIT: Final = 1 << 30
_SHOWN: Final = 10


class Reindexed(Struct, frozen=True):
    """A copy that was indexed and is the same.

    Attributes:
        program: the conda-index that did it.
        records: how many are in each subdir.
        platforms: those that were solved again, with the number of packages that came out.
    """

    program: str
    records: dict[str, int]
    platforms: dict[str, int]


def reindex(channel: Path, environment: Mapping[str, str]) -> Reindexed:
    """Index a copy of ``channel`` as a customer would, and compare.

    Args:
        environment: variables; CONDA_INDEX_EXE names the program, else it is looked for on PATH.

    Raises:
        UsageError: there is no conda-index here.
        ProofError: it fails, records differ, or a platform cannot be solved as before.
        IntegrityError: the channel's own files cannot be read.
    """
    program = environment.get("CONDA_INDEX_EXE") or shutil.which("conda-index")
    if program is None or shutil.which(program) is None:
        raise UsageError(
            "conda-index is not here",
            where=program,
            hint="put it on PATH, or set CONDA_INDEX_EXE to it",
        )
    profiles, plans = _read(channel, "profile.json"), _read(channel, "install.json")["subdirs"]
    with tempfile.TemporaryDirectory(prefix="repack-reindex-", ignore_cleanup_errors=True) as name:
        copy = Path(name, "channel")
        subdirs = (NOARCH, *profiles)
        for path in walk(channel):
            if path.split("/", 1)[0] in subdirs:
                beneath.make_folders((copy / path).parent)
                # The indexer may write over what it finds, so only archives may share their bytes.
                put = links.place if path.endswith(ARCHIVE_SUFFIXES) else shutil.copyfile
                put(channel / path, copy / path)
        _run(program, copy, {**environment, "HOME": name})
        faults = [fault for subdir in subdirs for fault in _differences(channel, copy, subdir)]
        for subdir in profiles:
            faults += _solve(copy, _request(subdir, profiles, plans), plans[subdir]["packages"])
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise ProofError(
            "the channel is another one after a customer's own `conda index`",
            where=channel,
            got="".join(f"\n    {line}" for line in (*faults[:_SHOWN], *more)),
        )
    return Reindexed(
        program,
        {subdir: len(_rows(channel, subdir)) for subdir in subdirs},
        {subdir: len(plans[subdir]["packages"]) for subdir in profiles},
    )


def _run(program: str, folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [program, str(folder)],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise ProofError("conda-index fails on the channel", where=program, got=said)


def _read(channel: Path, name: str) -> dict[str, Any]:
    path = channel / "repack" / name
    try:
        document = json.loads(atomic.read(path, _LIMIT))
    except (ValueError, RecursionError) as error:
        raise IntegrityError("not JSON", where=path, got=error) from None
    if not isinstance(document, dict):
        raise IntegrityError("not a JSON object", where=path)
    return document


def _rows(channel: Path, subdir: str) -> dict[str, dict[str, Any]]:
    path = channel / subdir / "repodata.json"
    try:
        return read_rows(json.loads(atomic.read(path, _LIMIT)), path)
    except ValueError as error:
        raise IntegrityError("not JSON", where=path, got=error) from None


def _differences(channel: Path, copy: Path, subdir: str) -> Iterator[str]:
    ours, theirs = _rows(channel, subdir), _rows(copy, subdir)
    for fn in sorted({*ours, *theirs}):
        if fn not in theirs or fn not in ours:
            yield f"{subdir}/{fn}: {'is gone' if fn in ours else 'was not there'}"
        elif ours[fn] != theirs[fn]:
            keys = {*ours[fn], *theirs[fn]}
            changed = sorted(key for key in keys if ours[fn].get(key) != theirs[fn].get(key))
            yield f"{subdir}/{fn}: another {', '.join(changed)}"


def _request(subdir: str, profiles: Mapping[str, Any], plans: Mapping[str, Any]) -> SolveRequest:
    profile = profiles[subdir]
    packages = [VirtualPackage(*text.split("=", 2)) for text in profile["virtual_packages"]]
    return SolveRequest(
        TargetProfile(subdir, tuple(packages), profile["conda"]),
        tuple(map(_spec, plans[subdir]["specs"])),
        add_pip=profile["add_pip"],
    )


def _spec(text: str) -> str:
    """``NAME=VERSION=BUILD``, as conda's command line has it, as a strict MatchSpec."""
    name, version, build = text.split("=")
    return f"{name} =={version} {build}"


def _solve(copy: Path, request: SolveRequest, expected: list[str]) -> Iterator[str]:
    """Why the solution is another one than the release's, if it is."""
    subdir = request.profile.subdir
    try:
        dists = {record.dist for record in solve_folder(copy, request)}
    except UnsolvableError as error:
        yield f"{subdir}: cannot be solved: {error.explanations[subdir]}"
        return
    if wrong := sorted(dists ^ set(expected)):
        yield f"{subdir}: solved to other packages: {', '.join(wrong)}"
