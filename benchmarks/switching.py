"""Times the agent's switch from one release to another: ``python -m benchmarks.switching CONFIG``.

Both releases of the label have to be installed; no service is stopped. Prints seconds, the median.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Final

from repack.agent.context import AgentContext
from repack.agent.run import switch

TIMES: Final = 20


def main() -> None:
    """Switch to and fro."""
    site = AgentContext.of([Path(sys.argv[1])], {}, lambda _label: None)
    releases = site.storage.installed()
    seconds = []
    for number in range(TIMES):
        begin = time.perf_counter()
        switch(site, releases[number % len(releases)])
        seconds.append(time.perf_counter() - begin)
    print(statistics.median(seconds))


if __name__ == "__main__":
    main()
