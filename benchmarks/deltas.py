"""Measures deltas: ``python -m benchmarks.deltas WORK`` prints the tables of ``docs/delta.md``.

Three updates. Five of about 150 real packages get the version before, so that real releases differ
as real releases do: once one of each fifth by size, once five of the twenty largest. And a bundle
of models of 200 MB gets other bytes in one per cent of its blocks. Against: the whole channel, rsync of the channel, xdelta3 of each changed package. The last
rows hold the limits: a minor update is at most 5 % of the channel, and applying takes at most 1.5
times copying, flushing and hashing the channel. Copies and applies take turns, and medians count,
so that a busy machine spoils both alike. Ends with 1 if a limit is missed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import zstandard

from benchmarks import measure
from benchmarks.upstream import REQUEST
from repack.archive.tar_reader import TarReader
from repack.delta import payload
from repack.wheels.requirements import Machine
from scripts import cpython
from scripts import upstream as real
from scripts.wheels import Wheel, convert

CHANGED: Final = {
    "minor": ("pillow", "charset-normalizer", "jinja2", "toolz", "defusedxml"),
    "large": ("pandas", "sqlalchemy", "tornado", "pillow", "fonttools"),
}
BLOCK: Final = 4096
MODEL: Final = 200 << 20
TURNS: Final = 5
LIMIT: Final = 1.5
SHARE: Final = 0.05
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


def previous(upstream: Path, folder: Path, changed: tuple[str, ...]) -> None:
    """Make ``folder`` the upstream with the version before of the packages that ``changed``."""
    if folder.exists():
        return
    shutil.copytree(upstream, folder, copy_function=os.link)
    machine = Machine("linux-64", cpython.version())
    for file in sorted(folder.glob("*/repodata.json")):
        document = json.loads(file.read_bytes())
        records = document["packages.conda"]
        for fn, record in list(records.items()):
            if record["name"] in changed:
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
    tar = TarReader(iter([data]), len(data))
    found: dict[str, Any] = next(
        json.loads(tar.read_all(1 << 20)) for member in tar if member.name == "info/index.json"
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


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    what: str
    size: int | None
    wall: float
    cpu: float
    note: str = ""


def fresh(old: Path, new: Path) -> list[Path]:
    """The files of a release that the one before does not have."""
    known = {path.relative_to(old) for path in old.rglob("*")}
    found = [path for path in new.rglob("*") if path.is_file()]
    return [p for p in found if p.suffix != ".conda" or p.relative_to(new) not in known]


def copied(what: str, paths: list[Path], target: Path) -> Row:
    """What it takes to copy, flush and hash files."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    wall, cpu = time.perf_counter(), time.process_time()
    for number, path in enumerate(paths):
        shutil.copyfile(path, target / str(number))
        with (target / str(number)).open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
            os.fsync(stream.fileno())
    return Row(what, None, time.perf_counter() - wall, time.process_time() - cpu)


def rsync(old: Path, new: Path, target: Path) -> Row:
    """Run rsync with its delta algorithm."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(old, target)
    command = ["rsync", "-a", "--delete", "--no-whole-file", "--stats", f"{new}/", f"{target}/"]
    done = measure.run(command, target.with_name("log"))
    sent = re.search(r"Total bytes sent: ([\d,]+)", done.output)
    count = int(sent[1].replace(",", "")) if sent else 0
    return Row("rsync of the channel", count, done.wall, done.cpu)


def xdelta(what: str, old: Path, new: Path, work: Path) -> Row:
    """xdelta3 for every package that changed; new ones count whole."""
    total, wall, cpu = 0, 0.0, 0.0
    for path in (one for one in fresh(old, new) if one.suffix == ".conda"):
        name = path.name.rsplit("-", 2)[0]
        base = next(iter(old.glob(f"{path.parent.name}/{name}-[0-9]*.conda")), None)
        if base is None:
            total += path.stat().st_size
            continue
        pair = [base, path]
        if "decompressed" in what:
            for number, one in enumerate(pair):
                pair[number] = payload.unpack(one, one.name, work / f"x{number}", 1 << 40).path
        out, window = work / "x.xdelta", max(1 << 26, pair[0].stat().st_size)
        done = measure.run(
            ["xdelta3", "-e", "-f", "-9", "-B", window, "-s", *pair, out], work / "log"
        )
        total, wall, cpu = total + out.stat().st_size, wall + done.wall, cpu + done.cpu
    return Row(what, total, wall, cpu)


def create(bench: Bench, words: tuple[object, ...], file: Path) -> Row:
    """Make the delta."""
    releases = ("--from", 1, "--to", 2, "--json", "-o", file, *words)
    made = bench.repack("delta", "create", bench.name, *releases, *bench.folders)
    patched = len(json.loads(made.output)["patched"])
    note = f"{patched} patches, {made.megabytes:.0f} MB of memory"
    what = " ".join(map(str, ("create", *words)))
    return Row(what, file.stat().st_size, made.wall, made.cpu, note)


def applied(bench: Bench, old: Path, new: Path, file: Path) -> Row:
    """Apply it once to a fresh customer."""
    customer = bench.root / "customer"
    shutil.rmtree(customer, ignore_errors=True)
    shutil.copytree(old, customer)
    done = bench.repack("delta", "apply", customer, file)
    if subprocess.run(["diff", "-r", customer, new], check=False).returncode:
        raise SystemExit("the result is another channel")
    return Row("apply", None, done.wall, done.cpu, f"{done.megabytes:.0f} MB of memory")


def median(rows: list[Row]) -> Row:
    wall, cpu = (statistics.median(getattr(row, name) for row in rows) for name in ("wall", "cpu"))
    return replace(rows[0], wall=wall, cpu=cpu)


def report(bench: Bench, old: Path, new: Path, share: float | None) -> bool:
    """Measure one update and print its rows; whether it keeps to the limits."""
    whole, work = size(new), bench.root
    everything = [path for path in new.rglob("*") if path.is_file()]
    news, target, file = fresh(old, new), work / "copied", work / "delta"
    rows = [create(bench, (), file)]
    delta = rows[0].size or 0
    turns = [
        (
            applied(bench, old, new, file),
            copied("copying and hashing what is new", news, target),
            copied("copying and hashing the channel", everything, target),
        )
        for _ in range(TURNS)
    ]
    ours, fresh_ones, channel = (median(list(rows)) for rows in zip(*turns, strict=True))
    rows.append(ours)
    for carry in ("0", "0.1"):
        rows.append(create(bench, ("--carry", carry), file))
        rows.append(median([applied(bench, old, new, file) for _ in range(3)]))
    rows += [fresh_ones, channel]
    rows.append(rsync(old, new, work / "rsynced"))
    rows.append(xdelta("xdelta3 of the packages", old, new, work))
    rows.append(xdelta("xdelta3 of the packages, decompressed", old, new, work))
    count = len(list(new.glob("*/*.conda")))
    print(f"\n{bench.name}: {count} packages, {whole / 1e6:.0f} MB\n", flush=True)
    print("| way | bytes | of the channel | seconds | processor | |\n|---|---|---|---|---|---|")
    for row in rows:
        part = f"{row.size / 1e6:.2f} MB | {100 * row.size / whole:.1f} %" if row.size else " | "
        print(f"| {row.what} | {part} | {row.wall:.2f} | {row.cpu:.2f} | {row.note} |", flush=True)
    rows_of_limits: list[tuple[str, float, float | None]] = [
        ("apply / copying and hashing the channel", ours.wall / channel.wall, LIMIT),
        ("the same in the processor's seconds", ours.cpu / channel.cpu, None),
        ("apply / copying and hashing what is new", ours.wall / fresh_ones.wall, None),
        ("delta / channel, bytes", delta / whole, share),
    ]
    print("\n| limit | measured | at most |\n|---|---|---|")
    for what, value, most in rows_of_limits:
        print(f"| {what} | {value:.3f} | {most or ''} |", flush=True)
    return all(most is None or value <= most for _, value, most in rows_of_limits)


def main() -> None:
    """Measure all updates; the upstream is made once and kept."""
    work = Path(sys.argv[1]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    upstream = work / "served" / "upstream"
    real.build(upstream, REQUEST)
    good = True
    for name, changed in CHANGED.items():
        before = work / "served" / f"before-{name}"
        previous(upstream, before, changed)
        root = work / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        bench = Bench(root, name)
        packages = [*REQUEST.requirements]
        old = bench.release(packages=packages, channels=[before.as_uri()])
        new = bench.release(packages=packages, channels=[upstream.as_uri()])
        good = report(bench, old, new, SHARE if name == "minor" else None) and good
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
    good = report(bench, old, bench.release(**label), None) and good
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
