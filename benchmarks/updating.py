"""The agent: an update of an environment against ``rattler.install`` of the same records.

Five of about 150 packages change. Both find the packages of the first release unpacked in a cache
of their own, and both find it as the first installation left it: every run starts from there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks import measure

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contestants import Arena

LABEL: Final = "update"
REPACK: Final = (sys.executable, "-m", "repack")


class Target:
    """A machine on which release 1 runs, and the media of releases 1 and 2.

    Args:
        arena: where it lies; what is asked for is its specs.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.root = arena.work / "target"
        self.folder = self.root / "opt" / LABEL
        self.config = self.root / "target.toml"
        self._yard = self.root / "yard"
        self._saved = self.root / "saved"

    def prepare(self, before: Path, after: Path) -> None:
        """Build both releases, install the first, and give the yardstick the same cache.

        Args:
            before: the upstream of release 1.
            after: that of release 2.
        """
        self.arena.clean("target")
        self.root.mkdir()
        for number, upstream in enumerate((before, after), 1):
            self._build(number, upstream)
        root = self._medium(1) / "repack/metadata/1.root.json"
        self.config.write_text(
            f'[provision]\nlabel = "{LABEL}"\nplatform = "linux-64"\ntype = "ci"\n'
            f'[storage]\nroot = "{self.root / "opt"}"\n[trust]\nroot = "{root}"\n'
        )
        self._install(1)
        self._yard.mkdir()
        copy(self.folder / "cache", self._yard / "cache")
        copy(self.folder / "state", self._saved)

    def update(self) -> measure.Sample:
        """``repack target install`` of release 2."""
        self._again()
        return self._install(2)

    def native(self) -> measure.Sample:
        """``rattler.install`` of the records of release 2."""
        self._again()
        places = (self._medium(2), self._yard / "prefix", self._yard / "cache")
        return self.arena.native("link", *places)

    def switch(self) -> float:
        """Seconds from one release to the other; both have to be there."""
        done = self.arena.run("switch", [sys.executable, "-m", "benchmarks.switching", self.config])
        return float(done.output)

    def grown(self) -> dict[str, float]:
        """Megabytes that release 2 takes beside release 1, without the packages that changed."""
        self._again()
        before = measure.disk_usage(self.folder)
        self._install(2)
        cache = self.folder / "cache"
        known = self._known()
        news = [path for path in cache.iterdir() if path.name not in known]
        growth = measure.disk_usage(self.folder) - before - measure.disk_usage(*news)
        first = measure.disk_usage(self.folder / "releases" / "1")
        return {"update grown beyond": growth / 1e6, "update first": first / 1e6}

    def _medium(self, number: int) -> Path:
        return self.root / f"medium-{number}"

    def _build(self, number: int, upstream: Path) -> None:
        labels = self.root / "labels"
        labels.mkdir(exist_ok=True)
        text = {
            "label": LABEL,
            "channels": [upstream.as_uri()],
            "packages": list(self.arena.specs),
            "platforms": {"linux-64": {"__glibc": "2.28", "__linux": "5.10"}},
            "signing": {"keys": str(self.root / "keys")},
        }
        (labels / f"{LABEL}.yaml").write_text(json.dumps(text), "utf-8")
        command = [*REPACK, "label", LABEL, "--update", "--prove", "solved"]
        for option, folder in (("labels", labels), ("channels", self.root / "channels")):
            command += [f"--{option}-dir", str(folder)]
        self.arena.run("release", [*command, "--store", self.root / "store"])
        shutil.copytree(self.root / "channels" / LABEL, self._medium(number))

    def _install(self, number: int) -> measure.Sample:
        where = ["--config", self.config, "--src-dir", self._medium(number)]
        return self.arena.run("target", [*REPACK, "target", "install", *where])

    def _known(self) -> set[str]:
        """What the cache held before the update; nobody adds to this copy's papers."""
        document = json.loads((self._saved / "1.json").read_bytes())
        names = [path.rpartition("/")[2] for path, *_ in document["packages"]]
        dists = [name.removesuffix(".conda").removesuffix(".tar.bz2") for name in names]
        return {*dists, *(f"{dist}.lock" for dist in dists)}

    def _again(self) -> None:
        """Let release 1 be what is there, and nothing of release 2."""
        known = self._known()
        for cache in (self.folder / "cache", self._yard / "cache"):
            for path in cache.iterdir():
                if path.name not in known and not path.name.startswith("."):
                    remove(path)
        for path in (self.folder / "releases/2", self.folder / "state", self._yard / "prefix"):
            remove(path)
        copy(self._saved, self.folder / "state")
        (self.folder / "current").unlink()
        (self.folder / "current").symlink_to("releases/1")


def copy(source: Path, target: Path) -> None:
    """Copy a folder with its times and links."""
    subprocess.run(["cp", "-a", source, target], check=True)


def remove(path: Path) -> None:
    """Remove a file or folder that may be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
