"""Ratings of counterparties from their balance sheets: a stand-in small enough to read."""

from __future__ import annotations

import pandas as pd
import pytho
import requests

__version__ = "2024.10.0"
GRADES = {0.02: "A", 0.10: "B", 0.30: "C", 1.0: "D"}


def rate(sheets: pd.DataFrame) -> pd.DataFrame:
    """Add a default probability and a grade to rows with ``debt`` and ``equity``."""
    default = pytho.logistic((sheets["debt"] / sheets["equity"] - 4.0).to_numpy())
    grades = pd.cut(default, [0.0, *GRADES], labels=list(GRADES.values()))
    return sheets.assign(default=default.round(3), grade=grades)


def main() -> None:
    """Rate three firms and say which libraries did it."""
    firms = {"firm": ["Acar", "Bilge", "Cevher"], "debt": [10, 20, 90], "equity": [50, 10, 10]}
    print(rate(pd.DataFrame(firms)).to_string(index=False))
    print(f"pytho {pytho.__version__}, pandas {pd.__version__}, requests {requests.__version__}")
