"""Packages of a prepared environment, in place of a solved label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.errors import LabelError, Problem
from repack.inputs.prepared_environment import harvest
from repack.solve import lockfile
from repack.solve.solution import Solution, SolveRequest

if TYPE_CHECKING:
    from pathlib import Path

    from repack.conda.virtual_packages import TargetProfile
    from repack.release.context import BuildContext


def harvested(env_file: Path, bench: BuildContext) -> Solution:
    """Exactly the packages of the environment that ``env_file`` describes.

    Archives found in its package caches go into the store; the rest is left to be fetched.

    Raises:
        LabelError: the label is for other platforms than the environment.
        UsageError: the file is no ``conda info --json``.
        FetchError: packages can neither be found nor fetched.
    """
    taken = harvest(env_file, bench.progress)
    profile = _profile(taken.subdir, env_file, bench)
    for sha256, archive in taken.found.items():
        if not bench.store.holds(sha256, archive.stat().st_size):
            bench.store.admit(archive, sha256)
    specs = tuple(f"{r.name} =={r.version} {r.build}" for r in taken.records)
    add_pip = bench.label.add_pip and any(record.name == "pip" for record in taken.records)
    question = SolveRequest(profile, specs, add_pip=add_pip)
    records = {taken.subdir: taken.records}
    lock = lockfile.write_lock(bench.label.channels, {profile: taken.records})
    warnings = (*bench.label.notes, *taken.warnings)
    return Solution({taken.subdir: question}, records, lock, "harvested", warnings, taken.secrets)


def _profile(subdir: str, env_file: Path, bench: BuildContext) -> TargetProfile:
    platforms = bench.label.platforms
    if tuple(platforms) != (subdir,):
        what = f"the environment is for {subdir}, the label for {', '.join(platforms)}"
        hint = f"let `platforms` of the label be {subdir} alone"
        raise LabelError([Problem(str(env_file), what, hint)], where=bench.lock.stem)
    return platforms[subdir]
