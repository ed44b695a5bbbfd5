"""The floor: the least work that ends with a channel, in one process, on the fastest known parts.

``python -m benchmarks.floor CHANNEL_URL FOLDER SPEC …``: solve by py-rattler, then 8 threads of
``http.client`` reading 1 MiB into a buffer, SHA-256 while streaming, write, then ``repodata.json``
and ``.zst``. No store, no proof, no lock, no resuming, no retry.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

import zstandard

from benchmarks.native import solve

_THREADS: Final = 8
_CHUNK: Final = 1 << 20


def fetch(host: str, jobs: SimpleQueue[tuple[str, Path, str]]) -> None:
    """One worker: fetch until the queue is empty, over one connection."""
    connection = http.client.HTTPConnection(host)
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    while True:
        try:
            path, target, sha256 = jobs.get_nowait()
        except Empty:
            return
        connection.request("GET", path)
        answer = connection.getresponse()
        digest = hashlib.sha256()
        with target.open("wb", buffering=0) as stream:
            while count := answer.readinto(buffer):
                digest.update(view[:count])
                stream.write(view[:count])
        if digest.hexdigest() != sha256:
            os._exit(6)


def main() -> None:
    """Solve, fetch, index."""
    url, folder, *specs = sys.argv[1:]
    records = [json.loads(one.to_json()) for one in asyncio.run(solve(url, specs))]
    repodata: dict[str, dict[str, Any]] = {"noarch": {}, "linux-64": {}}
    jobs: SimpleQueue[tuple[str, Path, str]] = SimpleQueue()
    for record in sorted(records, key=lambda one: -one["size"]):
        target = Path(folder) / record["subdir"] / record["fn"]
        target.parent.mkdir(parents=True, exist_ok=True)
        jobs.put((urlsplit(record["url"]).path, target, record["sha256"]))
        extra = ("fn", "url", "channel")
        repodata[record["subdir"]][record["fn"]] = {
            key: value for key, value in record.items() if key not in extra
        }
    workers = [
        threading.Thread(target=fetch, args=(urlsplit(url).netloc, jobs)) for _ in range(_THREADS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for subdir, packages in repodata.items():
        data = json.dumps({"info": {"subdir": subdir}, "packages.conda": packages}).encode()
        (Path(folder) / subdir / "repodata.json").write_bytes(data)
        (Path(folder) / subdir / "repodata.json.zst").write_bytes(zstandard.compress(data))
    print(len(records))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
