"""A channel of a million records, about the size of a big public one: ``repodata.json`` 462 MB.

``python -m benchmarks.million FOLDER [RECORDS]`` makes it once. Names, versions and dependencies come from a fixed seed; a
twentieth of the names carries most dependencies, as on public channels. With it come the shards of
CEP 16 in a second channel, ``FOLDER-sharded``.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgpack
import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS: Final = 50
BUILDS: Final = 4
SPECS: Final = tuple(f"lib{number}" for number in range(40, 60))
_EPOCH: Final = 1_700_000_000_000


def names(records: int) -> list[str]:
    """The package names of a channel with about so many records."""
    return [f"lib{number}" for number in range(records // (VERSIONS * BUILDS))]


def packages(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """All records of one name, by file name; the same ones each time.

    A package depends on some with a smaller number, so every spec can be solved.
    """
    choose = random.Random(number)
    popular = max(1, number // 20)
    needs = sorted({choose.randrange(popular) for _ in range(min(number, 6))})
    for version in range(VERSIONS):
        for build in range(BUILDS):
            least = choose.randrange(VERSIONS // 2)
            depends = [f"lib{need} >=1.{min(least, version)},<2.0a0" for need in needs]
            name, text = f"lib{number}", f"1.{version}"
            digest = hashlib.sha256(f"{name}-{text}-{build}".encode()).hexdigest()
            yield (
                f"{name}-{text}-h{digest[:7]}_{build}.conda",
                {
                    "build": f"h{digest[:7]}_{build}",
                    "build_number": build,
                    "depends": [*depends, "__glibc >=2.17,<3.0.a0"],
                    "license": "BSD-3-Clause",
                    "md5": digest[:32],
                    "name": name,
                    "sha256": digest,
                    "size": 100_000 + build,
                    "subdir": "linux-64",
                    "timestamp": _EPOCH + version * 1_000_000 + build,
                    "version": text,
                },
            )


def make(folder: Path, records: int = 1_000_000) -> None:
    """Write the channel unless it is there: ``repodata.json`` and ``.zst``, and its shards."""
    if (folder / "linux-64" / "repodata.json.zst").exists():
        return
    for subdir in ("noarch", "linux-64"):
        (folder / subdir).mkdir(parents=True, exist_ok=True)
    empty = {"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}}
    _write(folder / "noarch" / "repodata.json", json.dumps(empty).encode())
    parts = ['{"info":{"subdir":"linux-64"},"packages":{},"packages.conda":{']
    separator = ""
    for number in range(len(names(records))):
        for fn, record in packages(number):
            parts.append(f'{separator}"{fn}":{json.dumps(record, separators=(",", ":"))}')
            separator = ",\n"
    parts.append('},"repodata_version":1}')
    _shard(folder.with_name(f"{folder.name}-sharded"), records)
    _write(folder / "linux-64" / "repodata.json", "".join(parts).encode())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.with_name(f"{path.name}.zst").write_bytes(zstandard.compress(data, 3))


def _shard(folder: Path, records: int) -> None:
    """CEP 16: one compressed MessagePack file per name, and an index of their digests."""
    for subdir, count in (("noarch", 0), ("linux-64", len(names(records)))):
        home = folder / subdir / "shards"
        home.mkdir(parents=True, exist_ok=True)
        index = {}
        for number in range(count):
            shard = {fn: _packed(record) for fn, record in packages(number)}
            content = {"packages": {}, "packages.conda": shard, "removed": []}
            data = zstandard.compress(msgpack.packb(content), 3)
            digest = hashlib.sha256(data)
            (home / f"{digest.hexdigest()}.msgpack.zst").write_bytes(data)
            index[f"lib{number}"] = digest.digest()
        info = {"subdir": subdir, "base_url": "./", "shards_base_url": "./shards/"}
        top = msgpack.packb({"info": info, "version": 1, "shards": index})
        (home.parent / "repodata_shards.msgpack.zst").write_bytes(zstandard.compress(top, 3))


def _packed(record: dict[str, Any]) -> dict[str, Any]:
    digests = {key: bytes.fromhex(record[key]) for key in ("md5", "sha256")}
    return {**record, **digests}


def main() -> None:
    """Make the channel in the folder named on the command line."""
    folder = Path(sys.argv[1])
    make(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
    size = (folder / "linux-64" / "repodata.json").stat().st_size
    print(f"{size / 1e6:.0f} MB: {folder}")


if __name__ == "__main__":
    main()
