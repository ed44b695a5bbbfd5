"""Make an environment with conda 4.3.16, the oldest client that channels are tested with.

    python scripts/old_conda.py [FOLDER]

conda 4.3.16 is the newest conda on PyPI that is a working program, and needs Python 3.6: one is
looked for in PYTHON36, on PATH and in pyenv's folder. FOLDER is .test/conda-4.3.16 if it is not
given. Prints the path of the conda; ends with 3 when there is no Python 3.6. Done once, it returns
at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.oldest import require_python

require_python()

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).resolve().parent.parent / ".test" / "conda-4.3.16"
# ruamel.yaml 0.16 dropped what conda 4.3 calls; the rest is what that conda imports.
REQUIREMENTS: Final = ("conda==4.3.16", "ruamel.yaml<0.16", "requests<2.28", "pycosat<0.7")
PROGRAM: Final = """#!{}/bin/python
import sys
from conda.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""


def main(arguments: list[str]) -> int:
    """Make the environment unless it is there."""
    folder = Path(arguments[0]) if arguments else FOLDER
    conda = folder / "bin" / "conda"
    if not works(conda):
        python = next(pythons(), None)
        if python is None:
            print("no Python 3.6 here: set PYTHON36 to one", file=sys.stderr)
            return 3
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *REQUIREMENTS], check=True, stdout=sys.stderr)
        # The script that pip made only says that pip is the wrong way to install conda.
        conda.write_text(PROGRAM.format(folder.resolve()), encoding="utf-8")
        if not works(conda):
            print(f"{conda} does not run", file=sys.stderr)
            return 1
    print(conda)
    return 0


def works(conda: Path) -> bool:
    """Whether this is a conda that starts."""
    if not conda.is_file():
        return False
    return subprocess.run([conda, "--version"], capture_output=True, check=False).returncode == 0


def pythons() -> Iterator[str]:
    """Every Python 3.6 that can be found."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [os.environ.get("PYTHON36"), shutil.which("python3.6")]
    places += [str(path) for path in sorted(pyenv.glob("versions/3.6.*/bin/python"))]
    for place in filter(None, places):
        command = [place, "-c", "import sys; print(*sys.version_info[:2])"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.stdout.split() == ["3", "6"]:
            yield place


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
