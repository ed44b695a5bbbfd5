"""The programs that are measured, each with what it needs before a run and how it is called.

Everything lies below one work folder; what a run must find empty is removed before it, outside
the clock.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
LABEL: Final = "bench"


@dataclass(frozen=True, slots=True)
class Arena:
    """Where a run takes place.

    Attributes:
        work: the folder everything is made in.
        url: the upstream channel.
        specs: what is asked for.
    """

    work: Path
    url: str
    specs: tuple[str, ...]

    def run(self, name: str, command: Sequence[object]) -> measure.Sample:
        """Run a command with caches of its own."""
        variables = {
            "PYTHONPATH": str(ROOT),
            "BENCH_REPODATA_CACHE": str(self.work / "yardstick-repodata"),
            "XDG_CACHE_HOME": str(self.work / "cache"),
        }
        logs = self.work / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return measure.run(command, logs / f"{name}.log", variables)

    def clean(self, *names: str) -> None:
        """Remove what earlier runs left."""
        for name in names:
            path = self.work / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def native(self, what: str, *arguments: object) -> measure.Sample:
        """py-rattler alone."""
        return self.run(what, [sys.executable, "-m", "benchmarks.native", what, *arguments])


class Repack:
    """``repack label``, with its own store and channels."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena

    def write_label(self, name: str, specs: Sequence[str], url: str | None = None) -> None:
        """Write ``NAME.yaml``; JSON is YAML too."""
        labels = self.arena.work / "labels"
        labels.mkdir(parents=True, exist_ok=True)
        profile = {"__glibc": "2.28", "__linux": "5.10"}
        text = {
            "label": name,
            "channels": [url or self.arena.url],
            "packages": list(specs),
            "platforms": {"linux-64": profile},
        }
        (labels / f"{name}.yaml").write_text(json.dumps(text), "utf-8")

    def forget(self) -> None:
        """Make the next build a cold one."""
        self.arena.clean("store", "channels", "cache", f"labels/{LABEL}.lock")

    def build(self, name: str = LABEL, *flags: str) -> measure.Sample:
        """Run ``repack label NAME``."""
        command = [sys.executable, "-m", "repack", "label", name, "--json", *flags]
        for option, folder in (("labels-dir", "labels"), ("channels-dir", "channels")):
            command += [f"--{option}", str(self.arena.work / folder)]
        return self.arena.run("repack", [*command, "--store", str(self.arena.work / "store")])

    def disk(self) -> int:
        """Bytes taken by the store and all channels, linked files once."""
        return measure.disk_usage(self.arena.work / "store", self.arena.work / "channels")

    def extracted(self, names: Iterable[str]) -> int:
        """Bytes that packages take in the store's package cache."""
        cache = self.arena.work / "store" / "pkgs"
        return measure.disk_usage(*(cache / name for name in names))


def floor(arena: Arena) -> measure.Sample:
    """(b) The least work that ends with a channel."""
    arena.clean("floor", "yardstick-repodata")
    command = [sys.executable, "-m", "benchmarks.floor", arena.url, arena.work / "floor"]
    return arena.run("floor", [*command, *arena.specs])


def install(arena: Arena) -> measure.Sample:
    """``rattler.install`` of the same records with an empty package cache."""
    arena.clean("installed", "yardstick-repodata")
    prefix, cache = arena.work / "installed/prefix", arena.work / "installed/pkgs"
    return arena.native("install", arena.url, prefix, cache, *arena.specs)


def solve(arena: Arena, url: str, specs: Sequence[str]) -> measure.Sample:
    """The solver of repack, alone."""
    command = [sys.executable, "-m", "benchmarks.solving", url, arena.work / "solver-repodata"]
    return arena.run("solver", [*command, *specs])


def ship(arena: Arena, tools: Path) -> measure.Sample:
    """(c) conda-ship's external layout, on a lock that is there already."""
    arena.clean("ship")
    project = arena.work / "ship"
    project.mkdir()
    arena.native("lock", arena.url, project / "pixi.lock", *arena.specs)
    wanted = "".join(f'{spec} = "*"\n' for spec in arena.specs)
    (project / "pixi.toml").write_text(
        f'[workspace]\nname = "bench"\nchannels = ["{arena.url}"]\nplatforms = ["linux-64"]\n'
        f"[dependencies]\n{wanted}[tool.conda-ship]\n"
        'runtime-name = "bench"\nruntime-version = "1"\ndelegate-executable = "python"\n'
        'source-environment = "default"\n',
        "utf-8",
    )
    command = [tools / "conda-ship" / "bin" / "cs", "build", "--artifact-layout", "external"]
    command += ["--root", project, "--out-dir", project / "dist", "--platform", "linux-64"]
    return arena.run("ship", command)


def mirror(arena: Arena, tools: Path) -> measure.Sample:
    """(d) conda-mirror, both subdirs one after the other; it takes everything, solving nothing."""
    arena.clean("mirror", "mirror-temp")
    for folder in ("mirror", "mirror-temp"):
        (arena.work / folder).mkdir()
    program = tools / "conda-mirror" / "bin" / "conda-mirror"
    shell = f'"{program}" --upstream-channel "$0" --target-directory "$1" --temp-directory "$2"'
    shell += " --num-threads 0 --no-progress --platform"
    places = [arena.url, arena.work / "mirror", arena.work / "mirror-temp"]
    return arena.run("mirror", ["sh", "-ec", f"{shell} linux-64\n{shell} noarch", *places])


def index(arena: Arena) -> measure.Sample:
    """(e) ``rattler.index.index_fs(force=True)`` on the folder that :func:`floor` left."""
    return arena.native("index", arena.work / "floor")


def old_procedure(arena: Arena) -> measure.Sample | None:
    """(a) ``conda create``, copy from the cache, ``conda index``; None without a conda."""
    conda = os.environ.get("CONDA_EXE") or shutil.which("conda")
    if not conda:
        return None
    arena.clean("old")
    old = arena.work / "old"
    for subdir in ("noarch", "linux-64"):
        (old / "channel" / subdir).mkdir(parents=True)
    rc = old / "condarc.yml"
    rc.write_text(f"channels: [{arena.url}]\ndefault_channels: []\npkgs_dirs: [{old}/pkgs]\n")
    script = (
        f'export CONDARC="{rc}"\n"{conda}" create -y -q -p "{old}/prefix" --override-channels'
        f' -c "{arena.url}" {" ".join(arena.specs)}\n'
        f'for each in "{old}"/pkgs/*.conda "{old}"/pkgs/*.tar.bz2; do [ -e "$each" ] || continue\n'
        f'case "$each" in *-py_*) to=noarch;; *) to=linux-64;; esac\n'
        f'cp "$each" "{old}/channel/$to/"; done\n"{conda}" index "{old}/channel"\n'
    )
    return arena.run("old", ["bash", "-ec", script])


def said(sample: measure.Sample) -> dict[str, Any]:
    """What ``--json`` printed."""
    result: dict[str, Any] = json.loads(sample.output)
    return result
