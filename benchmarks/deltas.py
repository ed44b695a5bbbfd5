"""Measures deltas: ``python -m benchmarks.deltas WORK`` prints the tables of ``docs/delta.md``.

Two updates: five of about 150 real packages get the version before (so that real releases differ
as real releases do), and a bundle of models of 200 MB gets other bytes in one per cent of its
blocks. Against: the whole channel, rsync of the channel, xdelta3 of each changed package.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from benchmarks import measure
from benchmarks.upstream import REQUEST
from repack.model.tar import Tar
from repack.places import patch
from scripts import cpython
from scripts import upstream as real
from scripts.matchspecs import Machine
from scripts.wheels import Wheel, convert

CHANGED: Final = ("pandas", "sqlalchemy", "tornado", "pillow", "fonttools")
BLOCK: Final = 4096
MODEL: Final = 200 << 20
REPACK: Final = (sys.executable, "-m", "repack")


@dataclass(frozen=True, slots=True)
class Bench:
    """The folders of one case."""

    root: Path
    name: str

    def repack(self, *words: object) -> measure.Sample:
        """Run a command with this case's store, channels and labels."""
        return measure.run([*REPACK, *words], self.root / "log")

    @property
    def folders(self) -> tuple[object, ...]:
        """The options that name the folders."""
        root = self.root
        return ("--store", root / "store", "--channels-dir", root / "channels")

    def release(self, **label: Any) -> Path:
        """Build a release and keep a copy of its channel."""
        (self.root / "labels").mkdir(exist_ok=True)
        text = {"label": self.name, "platforms": {"linux-64": {"__glibc": "2.28"}}, **label}
        (self.root / f"labels/{self.name}.yaml").write_text(json.dumps(text))
        where = ("--labels-dir", self.root / "labels", "--prove", "solved", "--update", "--json")
        built = self.repack("label", self.name, *self.folders, *where)
        copy = self.root / f"release-{json.loads(built.output)['release']}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.root / "channels" / self.name, copy)
        return copy


def previous(upstream: Path, folder: Path) -> None:
    """Make ``folder`` the upstream with the version before of :data:`CHANGED`."""
    if folder.exists():
        return
    shutil.copytree(upstream, folder, copy_function=os.link)
    machine = Machine("linux-64", cpython.version())
    for file in sorted(folder.glob("*/repodata.json")):
        document = json.loads(file.read_bytes())
        records = document["packages.conda"]
        for fn, record in list(records.items()):
            if record["name"] in CHANGED:
                archive = older(record, folder, machine)
                data = archive.read_bytes()
                sums = {name: hashlib.new(name, data).hexdigest() for name in ("md5", "sha256")}
                del records[fn]
                records[archive.name] = {**index(archive), **sums, "size": len(data)}
        text = json.dumps(document).encode()
        for path, content in ((file, text), (file.with_suffix(".json.zst"), compress(text))):
            path.unlink()  # a link to the file of the upstream
            path.write_bytes(content)


def compress(data: bytes) -> bytes:
    return zstandard.compress(data)


def older(record: dict[str, Any], folder: Path, machine: Machine) -> Path:
    """Fetch and pack the version before that of a record."""
    wheels = folder.with_name("older-wheels")
    real.download_one(f"{record['name']}<{record['version']}", machine, wheels)
    stem = record["name"].replace("-", "_")
    found = next(p for p in wheels.glob("*.whl") if p.name.lower().startswith(f"{stem}-"))
    wheel = Wheel.read(found)
    (recipe,) = wheel.recipes(machine)
    return convert(wheel, recipe, folder, machine)


def index(archive: Path) -> dict[str, Any]:
    """``info/index.json`` of a package."""
    with zipfile.ZipFile(archive) as zipped:
        name = next(n for n in zipped.namelist() if n.startswith("info-"))
        data = zstandard.ZstdDecompressor().decompressobj().decompress(zipped.read(name))
    tar = Tar(iter([data]), len(data))
    found: dict[str, Any] = next(
        json.loads(tar.data(1 << 20)) for member in tar if member.name == "info/index.json"
    )
    return found


def models(folder: Path, changed: bool) -> None:  # noqa: FBT001
    """Numbers as networks have them: half of each is noise; one block in a hundred is others."""
    generator = random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)
    other = random.Random(2)
    with (folder / "weights.bin").open("wb") as out:
        for number in range(MODEL // BLOCK):
            block = generator.randbytes(BLOCK)
            out.write(other.randbytes(BLOCK) if changed and number % 100 == 7 else block)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def copied(old: Path, new: Path, target: Path) -> float:
    """Seconds to copy, flush and hash what differs between two releases."""
    known = {path.relative_to(old): path.stat().st_size for path in old.rglob("*")}
    fresh = [path for path in new.rglob("*") if path.is_file()]
    fresh = [p for p in fresh if p.suffix != ".conda" or p.relative_to(new) not in known]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    begin = time.perf_counter()
    for number, path in enumerate(fresh):
        shutil.copyfile(path, target / str(number))
        with (target / str(number)).open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
            os.fsync(stream.fileno())
    return time.perf_counter() - begin


def rsync(old: Path, new: Path, target: Path) -> tuple[int, float]:
    """Bytes and seconds of rsync with its delta algorithm."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(old, target)
    command = ["rsync", "-a", "--delete", "--no-whole-file", "--stats", f"{new}/", f"{target}/"]
    begin = time.perf_counter()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    took = time.perf_counter() - begin
    return int(re.search(r"Total bytes sent: ([\d,]+)", said)[1].replace(",", "")), took  # type: ignore[index]


def xdelta(old: Path, new: Path, work: Path, *, unpacked: bool) -> tuple[int, float]:
    """Bytes and seconds of xdelta3 for every package that changed; new ones count whole."""
    total, took = 0, 0.0
    for path in sorted(new.glob("*/*.conda")):
        if (old / path.relative_to(new)).exists():
            continue
        name = path.name.rsplit("-", 2)[0]
        base = next(iter(old.glob(f"{path.parent.name}/{name}-[0-9]*.conda")), None)
        if base is None:
            total += path.stat().st_size
            continue
        pair = [base, path]
        if unpacked:
            for number, one in enumerate(pair):
                pair[number] = patch.unpack(one, one.name, work / f"x{number}", 1 << 40).path
        begin = time.perf_counter()
        out = work / "x.xdelta"
        window = max(1 << 26, pair[0].stat().st_size)
        command = ["xdelta3", "-e", "-f", "-9", "-B", str(window), "-s", *map(str, pair), str(out)]
        subprocess.run(command, check=True, capture_output=True)
        took += time.perf_counter() - begin
        total += out.stat().st_size
    return total, took


def report(bench: Bench, old: Path, new: Path) -> None:
    """Measure one update and print its rows."""
    whole, work = size(new), bench.root
    rows: list[tuple[str, int, float, str]] = []
    for carry in ("10", "0", "0.1"):
        file, customer = work / f"d-{carry}", work / "customer"
        releases = ("--from", 1, "--to", 2, "--carry", carry, "--json", "-o", file)
        made = bench.repack("delta", "create", bench.name, *releases, *bench.folders)
        seconds = []
        for _ in range(3):
            shutil.rmtree(customer, ignore_errors=True)
            shutil.copytree(old, customer)
            applied = bench.repack("delta", "apply", customer, file)
            seconds.append(applied.wall)
        if subprocess.run(["diff", "-r", customer, new], check=False).returncode:
            raise SystemExit("the result is another channel")
        patched = len(json.loads(made.output)["patched"])
        how = f"{patched} patches; {made.megabytes:.0f} MB, applied {applied.megabytes:.0f} MB"
        rows.append((f"repack, --carry {carry}", file.stat().st_size, made.wall, how))
        rows.append(("its application", 0, sorted(seconds)[1], ""))
    rows.append(("copying and hashing the new files", 0, copied(old, new, work / "copied"), ""))
    rows.append(("rsync of the channel", *rsync(old, new, work / "rsynced"), ""))
    rows.append(("xdelta3 of the packages", *xdelta(old, new, work, unpacked=False), ""))
    rows.append(("xdelta3, decompressed", *xdelta(old, new, work, unpacked=True), ""))
    count = len(list(new.glob("*/*.conda")))
    print(f"\n{bench.name}: {count} packages, {whole / 1e6:.0f} MB\n")
    print("| way | bytes | of the channel | seconds | |\n|---|---|---|---|---|")
    for what, count, took, note in rows:
        share = f"{count / 1e6:.2f} MB | {100 * count / whole:.1f} %" if count else " | "
        print(f"| {what} | {share} | {took:.2f} | {note} |")


def main() -> None:
    work = Path(sys.argv[1]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    upstream, before = work / "served" / "upstream", work / "served" / "before"
    real.build(upstream, REQUEST)
    previous(upstream, before)
    root = work / "update"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    bench = Bench(root, "update")
    packages = [*REQUEST.requirements]
    old = bench.release(packages=packages, channels=[before.as_uri()])
    report(bench, old, bench.release(packages=packages, channels=[upstream.as_uri()]))
    root = work / "models"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    bench = Bench(root, "models")
    bundle = {"weights": {"path": str(root / "weights"), "version": "1"}}
    label = {"packages": ["six"], "channels": [upstream.as_uri()], "bundles": bundle}
    models(root / "weights", changed=False)
    old = bench.release(**label)
    models(root / "weights", changed=True)
    bundle["weights"]["version"] = "2"
    report(bench, old, bench.release(**label))


if __name__ == "__main__":
    main()
