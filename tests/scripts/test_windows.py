"""The tests that only Windows can run, in a Windows Python below wine, where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import windows_python

FOLDER = Path(os.environ.get("WINDOWS_PYTHON", windows_python.ROOT / ".test" / "wine"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="they run here by themselves")
def test_below_wine():
    wine = os.environ.get("WINE", "wine")
    if shutil.which(wine) is None:
        pytest.skip("no wine: install wine 10 or newer, or set WINE")
    if not (FOLDER / "python" / "python3.dll").is_file():
        pytest.skip("no Windows Python: run scripts/windows_python.py")
    done = subprocess.run(
        [sys.executable, windows_python.__file__, "-q", *windows_python.TESTS[:-1]],
        stdout=subprocess.PIPE,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, text
    assert int(re.search(r"(\d+) passed", text)[1]) > 80


def test_nothing_is_made_without_the_programs_it_takes(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WINE", str(tmp_path / "no-wine"))
    monkeypatch.setenv("WINDOWS_PYTHON", str(tmp_path / "made"))
    assert windows_python.main([]) == 3
    assert "no-wine" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
