"""Times repack's indexing of records in hand: ``python -m benchmarks.indexing CHANNEL COUNT``.

The records and facts of a real channel are copied under other build strings until there are
``COUNT``; only the step itself is on the clock. Prints seconds.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

from repack.archive.reader import scan_archive
from repack.channel.contents import ChannelContents
from repack.channel.index import index
from repack.conda.record import Record


def main() -> None:
    """Read a channel, multiply its records, index them."""
    channel, count = Path(sys.argv[1]), int(sys.argv[2])
    pairs = []
    for file in channel.glob("*/repodata.json"):
        for fn, raw in json.loads(file.read_bytes()).get("packages.conda", {}).items():
            record = Record.of(raw, fn, "")
            pairs.append((record, scan_archive(file.with_name(fn), record, "info")))
    records, facts = [], {}
    for number, (record, known) in zip(range(count), itertools.cycle(pairs), strict=False):
        copy = f"{record.build}x{number}"
        raw = {**record.raw, "build": copy}
        records.append(Record.of(raw, f"{record.name}-{record.version}-{copy}.conda", ""))
        facts[record.sha256] = known
    shipment = ChannelContents.of({"linux-64": tuple(records)}, facts)
    begin = time.perf_counter()
    index(shipment)
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
