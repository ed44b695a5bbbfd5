"""Two or three releases of a label with a package worth patching, and a customer's copy."""

from __future__ import annotations

import bz2
import contextlib
import copy
import hashlib
import io
import json
import random
import shutil
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import zstandard

from repack.cli.main import run
from tests import tiny
from tests.world import World, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 200_000


def noise(seed: int, size: int = SIZE) -> str:
    """Text that hardly compresses, the same for the same seed."""
    return random.Random(seed).randbytes(size // 2).hex()


def model(version: int) -> tiny.Package:
    """``tiny-model``: from version to version one piece in a hundred is new."""
    text = noise(1)
    for number in range(2, version + 1):
        at = number * SIZE // 10
        text = text[:at] + noise(number, SIZE // 100) + text[at + SIZE // 100 :]
    files = {"share/model/weights.txt": text, "share/model/version": f"{version}\n"}
    return tiny.Package("tiny-model", str(version), (), "noarch", "generic", files=files)


class Deltas:
    """A vendor with releases 1, 2, … of one label, and a customer who has release 1."""

    def __init__(self, root: Path, releases: int = 2, **label: Any) -> None:
        self.root = root
        self.world = World(root / "vendor")
        self.whole: dict[int, dict[str, bytes]] = {}
        for number in range(1, releases + 1):
            lib = replace(tiny.PACKAGES[2], version=f"1!{number}.0")
            self.world.serve(*tiny.PACKAGES[:2], lib, *tiny.PACKAGES[3:], model(number))
            packages = ["tiny-lib", "tiny-model"] + (["tiny-data"] if number == 1 else [])
            self.world.build("--update", packages=packages, **label)
            self.whole[number] = contents(self.world.channel)
            if number == 1:
                self.customer = root / "Kunde ü" / "The Channel"
                shutil.copytree(self.world.channel, self.customer)

    def copied(self, root: Path) -> Deltas:
        """The same vendor, and a customer of its own below ``root``."""
        other = copy.copy(self)
        other.root, other.customer = root, root / "Kunde ü" / "The Channel"
        shutil.copytree(self.customer, other.customer)
        return other

    def create(self, old: int, new: int, *arguments: str) -> Path:
        """Make a delta."""
        file = self.root / f"{old}-{new}.delta"
        code, said = self.try_create(old, new, "-o", str(file), *arguments)
        assert code == 0, said
        return file

    def try_create(self, old: int, new: int, *arguments: str) -> tuple[int, str]:
        """The exit code and all that was printed."""
        world = self.world
        folders = ["--channels-dir", str(world.channels), "--store", str(world.store)]
        folders += ["--labels-dir", str(world.labels)]
        releases = ["--from", str(old), "--to", str(new)]
        return said("delta", "create", "bank", *releases, *folders, *arguments)

    def apply(self, file: Path, *arguments: str) -> tuple[int, str]:
        """Apply a delta to the customer's channel."""
        return said("delta", "apply", str(self.customer), str(file), *arguments)

    def refuse(self, file: Path, *arguments: str, code: int = 6) -> str:
        """Apply a delta that must be refused and leave the channel untouched."""
        before = snapshot(self.customer)
        got, text = self.apply(file, *arguments)
        assert got == code, text
        assert "Traceback" not in text
        assert snapshot(self.customer) == before, "the channel was touched"
        return text


def said(*arguments: str) -> tuple[int, str]:
    """Run a command; exit code, stdout and stderr together."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(arguments))
    return code, out.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, by path."""
    return {path: row[2] for path, row in snapshot(folder).items()}


def of_json(text: str) -> dict[str, Any]:
    """The JSON document in what a command printed."""
    return json.loads(text[text.index("{") :])


def serves(folder: Path) -> None:
    """Whichever form of the repodata a reader takes, every package it names is there and right."""
    for path in folder.rglob("repodata.json*"):
        unpack = {".zst": zstandard.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)
        document = json.loads(unpack(path.read_bytes()))
        for fn, record in {**document["packages"], **document["packages.conda"]}.items():
            data = (path.parent / fn).read_bytes()
            assert hashlib.sha256(data).hexdigest() == record["sha256"]


Members = dict[str, tuple[tarfile.TarInfo, bytes]]


def _unchanged(_of: Any) -> None:
    """Leave it as it is."""


def rewrite(
    file: Path,
    target: Path,
    manifest: Callable[[dict[str, Any]], object] = _unchanged,
    members: Callable[[Members], object] = _unchanged,
) -> Path:
    """Write a delta anew with another manifest or other members; nothing is signed again."""
    with zstandard.open(file, "rb") as stream:
        data = stream.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        folder = tar.getmembers()[0].name.rpartition("/")[0] + "/"
        found = {
            m.name.removeprefix(folder): (m, tar.extractfile(m).read()) for m in tar.getmembers()
        }
    info, text = found["manifest.json"]
    document = json.loads(text)
    manifest(document)
    found["manifest.json"] = info, json.dumps(document).encode()
    members(found)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (member, content) in found.items():
            member.name, member.size = f"{folder}{name}", len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    target.write_bytes(zstandard.compress(out.getvalue()))
    return target
