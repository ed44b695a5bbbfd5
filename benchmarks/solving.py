"""repack's solver alone, against py-rattler's: ``python -m benchmarks.solving URL CACHE SPEC …``.

The same question as ``benchmarks.native solve`` asks; what repack adds is that every record comes
back as upstream published it, checked. Prints the number of records.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from repack.conda.virtual_packages import TargetProfile
from repack.solve.solution import SolveRequest
from repack.solve.solver import solve
from repack.solve.upstream_repodata import UpstreamRepodata
from repack.upstream.client import Upstream


def main() -> None:
    """Solve and leave before py-rattler's threads can crash."""
    url, cache, *specs = sys.argv[1:]
    profile = TargetProfile.of("linux-64", {"__glibc": "2.28", "__linux": "5.10"})
    print(
        len(
            solve(
                [url],
                SolveRequest(profile, tuple(specs)),
                UpstreamRepodata(Path(cache), Upstream()),
            )
        )
    )
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
