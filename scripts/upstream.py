"""Makes a real upstream channel: wheels from the package index, the running CPython, hot-fixes.

``build(folder, request)`` leaves ``folder/{noarch,linux-64,win-64}`` with packages and repodata and
does nothing when the same request was built there before. Hot-fixes are what public channels do
to mend a package that is out already: the record in ``repodata.json`` says something else than
the archive. Here the archive gets the wrong dependency and the repodata the right one, so a
channel made by re-reading archives cannot be installed from.

Run as a program it makes the small upstream: ``python -m scripts.upstream FOLDER``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repack.codec import zstd
from repack.wheels.requirements import Machine, needed
from scripts import cpython
from scripts.wheels import SUBDIRS, Wheel, convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scripts.archives import Kind, Recipe

# Raise it when the same request gives other bytes.
PACKER: Final = 3
_INSTALLERS: Final = ("pip", "setuptools", "wheel")
_MANYLINUX: Final = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
)
_PLATFORMS: Final = {"linux-64": _MANYLINUX, "win-64": ("win_amd64",)}

Record = dict[str, Any]


class DownloadError(Exception):
    """pip could not fetch the wheels; the text is pip's."""


@dataclass(frozen=True, slots=True)
class Hotfix:
    """One package whose archive has ``wrong`` where its repodata has what the wheel says.

    Args:
        package: the package to mend.
        wrong: the MatchSpec in the archive, in place of the dependency of the same name.
    """

    package: str
    wrong: str

    def spoil(self, depends: Iterable[str]) -> tuple[str, ...]:
        """The dependencies as they are in the archive."""
        name = self.wrong.split()[0]
        return tuple(self.wrong if spec.split()[0] == name else spec for spec in depends)


@dataclass(frozen=True, slots=True)
class Request:
    """What an upstream is to hold."""

    requirements: tuple[str, ...]
    hotfixes: tuple[Hotfix, ...] = ()
    subdirs: tuple[str, ...] = SUBDIRS
    kinds: dict[str, Kind] = field(default_factory=dict)

    def key(self) -> str:
        """A name for the result: the same request on the same CPython has the same one."""
        kinds = sorted(self.kinds.items())
        said = (PACKER, cpython.version(), sys.base_prefix, *self.requirements, *self.subdirs)
        text = repr((said, self.hotfixes, kinds))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


SMALL: Final = Request(
    requirements=("requests", "tqdm", "six", "markupsafe"),
    hotfixes=(
        Hotfix("requests", wrong="urllib3 <1.0"),
        Hotfix("markupsafe", wrong="python 3.0.*"),
    ),
    kinds={"six": ".tar.bz2"},
)


def cache() -> Path:
    """Where upstreams are kept between runs: ``REPACK_UPSTREAMS``, else the user's cache."""
    if named := os.environ.get("REPACK_UPSTREAMS"):
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "repack" / "upstreams"


def cached(request: Request = SMALL) -> Path:
    """The channel of a request, built on first use. Copy it before changing it."""
    folder = cache() / request.key()
    build(folder, request)
    return folder


def build(folder: Path, request: Request) -> bool:
    """Make the channel ``folder``; False if it was there already. Wheels are kept beside it.

    Raises:
        DownloadError: pip found no wheels for a requirement.
        CannotPackError: the running CPython cannot be packed.
    """
    done = folder / "request.txt"
    if done.exists() and done.read_text(encoding="ascii") == request.key():
        return False
    wanted = (*request.requirements, *_INSTALLERS)
    machines = [Machine(subdir, cpython.version()) for subdir in request.subdirs]
    wheels = folder.with_name(f"{folder.name}-wheels") / request.key()
    with ThreadPoolExecutor(len(machines)) as pool:
        jobs = [pool.submit(download, wanted, one, wheels / one.subdir) for one in machines]
        found = [job.result() for job in jobs]
    work = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        true = _pack(work, request, list(zip(machines, found, strict=True)))
        index(work)
        mend(work, request.hotfixes, true)
        (work / done.name).write_text(request.key(), encoding="ascii")
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def download(requirements: Iterable[str], machine: Machine, folder: Path) -> list[Wheel]:
    """Fetch the wheels of the requirements and of all they need, for ``machine``.

    pip evaluates markers for the machine it runs on, so what another system needs besides is
    asked for until nothing is missing.

    Raises:
        DownloadError: pip found no wheels for a requirement.
    """
    asked = list(requirements)
    while asked:
        _pip_download(asked, machine, folder)
        wheels = [Wheel.read(path) for path in sorted(folder.glob("*.whl"))]
        have = {wheel.name for wheel in wheels}
        needs = {need for wheel in wheels for need in needed(wheel.requires(), machine)}
        asked = sorted(
            need for need in needs if canonicalize_name(Requirement(need).name) not in have
        )
    return wheels


def download_one(requirement: str, machine: Machine, folder: Path) -> None:
    """Fetch one wheel without what it needs.

    Raises:
        DownloadError: pip found none.
    """
    _pip_download(["--no-deps", requirement], machine, folder)


def _pip_download(requirements: list[str], machine: Machine, folder: Path) -> None:
    platforms = [f"--platform={name}" for name in _PLATFORMS[machine.subdir]]
    abis = [f"--abi={name}" for name in (machine.tag, "abi3", "none")]
    command = [_pip(), "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += ["--implementation=cp", f"--python-version={machine.short}", *platforms, *abis]
    command += ["--disable-pip-version-check", f"--dest={folder}", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(done.stderr.strip())


def _pip() -> str:
    """A Python that has pip; environments made by uv have none."""
    if importlib.util.find_spec("pip"):
        return sys.executable
    return str(Path(sys.base_prefix) / "bin" / "python3")


def _pack(
    channel: Path, request: Request, found: list[tuple[Machine, list[Wheel]]]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Pack everything; returns what each archive's record should depend on."""
    jobs: dict[str, tuple[Wheel, Recipe, Machine]] = {}
    for machine, wheels in found:
        for wheel in wheels:
            for recipe in wheel.recipes(machine):
                jobs.setdefault(f"{recipe.subdir}/{recipe.stem}", (wheel, recipe, machine))
    wrong = {fix.package: fix for fix in request.hotfixes}

    def run(job: tuple[Wheel, Recipe, Machine]) -> tuple[tuple[str, str], tuple[str, ...]]:
        wheel, recipe, machine = job
        fix = wrong.get(recipe.name)
        spoiled = replace(recipe, depends=fix.spoil(recipe.depends)) if fix else recipe
        kind = request.kinds.get(recipe.name, ".conda")
        archive = convert(wheel, spoiled, channel, machine, kind)
        return (recipe.subdir, archive.name), recipe.depends

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        true = dict(pool.map(run, jobs.values()))
    pythons = {"linux-64": cpython.pack_linux, "win-64": cpython.pack_windows}
    for machine, _ in found:
        pythons[machine.subdir](channel)
    return true


def index(channel: Path) -> None:
    """Write ``repodata.json`` and ``.zst`` of every subdir from what the archives say."""
    from rattler.index import index_fs

    for subdir in ("noarch", *SUBDIRS):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
    asyncio.run(index_fs(channel, write_zst=True, write_shards=False, force=True))


def mend(
    channel: Path, hotfixes: Iterable[Hotfix], true: dict[tuple[str, str], tuple[str, ...]]
) -> None:
    """Apply hot-fixes to the repodata, never to the archives."""
    names = {fix.package for fix in hotfixes}

    def change(subdir: str, filename: str, record: Record) -> None:
        if record["name"] in names:
            record["depends"] = list(true[subdir, filename])

    patch_records(channel, change)


def patch_records(channel: Path, change: Callable[[str, str, Record], None]) -> None:
    """Let ``change(subdir, filename, record)`` edit every record of a channel's repodata."""
    for file in sorted(channel.glob("*/repodata.json")):
        repodata = json.loads(file.read_bytes())
        for group in ("packages", "packages.conda"):
            for filename, record in repodata.get(group, {}).items():
                change(file.parent.name, filename, record)
        data = json.dumps(repodata, sort_keys=True, separators=(",", ":")).encode()
        file.write_bytes(data)
        file.with_name("repodata.json.zst").write_bytes(zstd.compress(data, 9))


def main() -> None:
    """Make the small upstream in the folder named on the command line."""
    folder = Path(sys.argv[1]).resolve()
    print("made" if build(folder, SMALL) else "was there already:", folder)


if __name__ == "__main__":
    main()
