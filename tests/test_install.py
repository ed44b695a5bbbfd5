"""What pip installs is whole, asks for what it imports, and goes again without a trace."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMPORT_ALL = """
import importlib, pkgutil, repack
for module in pkgutil.walk_packages(repack.__path__, "repack."):
    if ".shipped." not in module.name and module.name not in {"repack.plugin", "repack.__main__"}:
        importlib.import_module(module.name)
from repack.report import html
html._environment().get_template("report.html.j2")
"""


@pytest.mark.slow
def test_install_and_uninstall(tmp_path):
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"

    def run(*words):
        done = subprocess.run(
            [str(python), *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = ("-m", "pip", "--disable-pip-version-check", "--no-input")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run("-c", where).strip())
    run(*pip, "install", "--quiet", str(ROOT))
    assert "No broken requirements" in run(*pip, "check")
    assert (site / "repack" / "py.typed").is_file()
    shown = run(*pip, "show", "--verbose", "repack")
    for line in ("Typing :: Typed", "Python :: 3.14", "Changelog, "):
        assert line in shown
    run("-c", IMPORT_ALL)
    run("-m", "repack", "--version")
    run(*pip, "uninstall", "--quiet", "--yes", "repack")
    assert not [path for path in site.iterdir() if path.name.startswith("repack")]
    assert not list(scripts.glob("repack*"))
