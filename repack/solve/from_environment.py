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
    from repack.label.label import Label
    from repack.progress import Progress
    from repack.store.store import Store


def solution_of_environment(
    env_file: Path, label: Label, store: Store, progress: Progress
) -> Solution:
    """Exactly the packages of the environment that ``env_file`` describes.

    Archives found in its package caches go into the store; the rest is left to be fetched.

    Raises:
        LabelError: the label is for other platforms than the environment.
        UsageError: the file is no ``conda info --json``.
        FetchError: packages can neither be found nor fetched.
    """
    taken = harvest(env_file, progress)
    profile = _profile(taken.subdir, env_file, label)
    for sha256, archive in taken.archives.items():
        if not store.contains(sha256, archive.stat().st_size):
            store.add(archive, sha256)
    specs = tuple(f"{r.name} =={r.version} {r.build}" for r in taken.records)
    add_pip = label.add_pip and any(record.name == "pip" for record in taken.records)
    request = SolveRequest(profile, specs, add_pip=add_pip)
    records = {taken.subdir: taken.records}
    lock = lockfile.write_lock(label.channels, {profile: taken.records})
    warnings = (*label.notes, *taken.warnings)
    return Solution({taken.subdir: request}, records, lock, "harvested", warnings, taken.secrets)


def _profile(subdir: str, env_file: Path, label: Label) -> TargetProfile:
    platforms = label.platforms
    if tuple(platforms) != (subdir,):
        what = f"the environment is for {subdir}, the label for {', '.join(platforms)}"
        hint = f"let `platforms` of the label be {subdir} alone"
        raise LabelError([Problem(str(env_file), what, hint)], where=label.name)
    return platforms[subdir]
