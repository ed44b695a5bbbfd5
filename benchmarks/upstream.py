"""The benchmark's upstream: about 150 real packages, 375 MB, for linux-64.

``python -m benchmarks.upstream FOLDER`` makes it and keeps it there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from scripts import upstream

ROOTS: Final = (
    "bokeh",
    "dask",
    "distributed",
    "fastapi",
    "jupyterlab",
    "matplotlib",
    "numba",
    "onnxruntime",
    "polars",
    "pyarrow",
    "scikit-image",
    "scikit-learn",
    "seaborn",
    "sqlalchemy",
    "statsmodels",
    "uvicorn",
    "xlsxwriter",
)
REQUEST: Final = upstream.Request(
    requirements=ROOTS,
    hotfixes=(
        upstream.Hotfix("pandas", wrong="numpy <1.0"),
        upstream.Hotfix("requests", wrong="urllib3 <1.0"),
        upstream.Hotfix("scikit-learn", wrong="scipy <1.0"),
    ),
    subdirs=("linux-64",),
)


def main() -> None:
    """Make the upstream in the folder named on the command line."""
    folder = Path(sys.argv[1]).resolve()
    upstream.build(folder, REQUEST)
    archives = [path for path in folder.glob("*/*") if path.suffix in {".conda", ".bz2"}]
    size = sum(path.stat().st_size for path in archives)
    print(f"{len(archives)} packages, {size / 1e6:.0f} MB: {folder}")


if __name__ == "__main__":
    main()
