"""Makes what is measured against: ``python -m benchmarks.prepare FOLDER VARIANTS million|small``.

A process of its own: who measures must stay small, see ``benchmarks/measure.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import deltas, million, upstream, variants
from scripts import upstream as real


def main() -> None:
    """Make the upstream, its variants, the one before and the big channel, unless they are there."""
    served, count, size = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    real.build(served / "upstream", upstream.REQUEST)
    deltas.previous(served / "upstream", served / "before", deltas.CHANGED["large"])
    for number in range(count):
        variants.make(served / "upstream", served / f"variant-{number}", number + 1)
    if size == "million":
        million.make(served / "million")


if __name__ == "__main__":
    main()
