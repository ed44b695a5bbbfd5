"""Make an offline channel of the active environment.

    conda info --json > envinfo.json
    python repackenv.py ROOT [-f] [-nc] [-o tgfolder.txt]

Reads envinfo.json in the current folder and makes or updates ROOT/NAME, NAME being the
environment's name: exactly its packages, each in its own subdir, as a channel that conda installs
from without network. The folder of its platform, such as ROOT/NAME/win-64, goes into tgfolder.txt,
the channel's folder to standard output.

-f   anew: the channel and its past releases go, and this is release 1; if it can't be made, they
     come back
-nc  don't clear: packages that the environment no longer has stay in the folders. `conda index`
     takes them up; `repack verify` calls them extra, and the next run without -nc removes them

Packages that went from all caches are fetched from where they came from. Their token, which conda
hides, is taken from the .condarc of the environment or the user, or from REPACK_CHANNELS:
'https://conda.example.org/t/${TOKEN}/vendor', between spaces.

Needs Python 3.8 or newer and nothing else; the work is done by repack, which is looked for in
$REPACK, on PATH, and in an environment beside this file (.venv, venv). Ends as `repack label` does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

if sys.version_info < (3, 8):
    sys.exit("repackenv.py needs Python 3.8 or newer; this is Python " + sys.version.split()[0])

HERE = Path(__file__).resolve().parent
ENVINFO = Path("envinfo.json")
USAGE, PLACE = 2, 2
WINDOWS = sys.platform == "win32"
NO_REPACK = (
    "repack is not here: `pip install repack` with a Python 3.11 or newer, into a venv beside"
    " repackenv.py or one on PATH, or set REPACK to the program"
)


class Stop(Exception):  # noqa: N818 - its text is all that is seen of it
    """What ends the run; the text is for the user."""


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make an offline channel of an environment.")
    parser.add_argument("root", help="where channels are")
    parser.add_argument("-f", "--force", action="store_true", help="make it anew, from release 1")
    parser.add_argument("-nc", "--noclean", action="store_true", help="keep obsolete packages")
    parser.add_argument(
        "-o", "--outfile", default="tgfolder.txt", help="file for the platform's folder"
    )
    options = parser.parse_args(arguments)
    try:
        return make(options)
    except Stop as reason:
        print("error:", reason, file=sys.stderr)
        return USAGE
    except OSError as error:
        print("error:", error, file=sys.stderr)
        return PLACE
    except KeyboardInterrupt:
        return 130


def make(options: argparse.Namespace) -> int:
    """Make the channel that the options ask for; returns the exit code."""
    repack = find_repack()
    # A stale one would lead the next line of the procedure into another environment's folder.
    outfile = Path(options.outfile)
    outfile.write_bytes(b"")
    outfile.unlink()
    info = read_info()
    name = label_name(info)
    channel = Path(os.path.abspath(options.root)) / name
    past = channel.parent / ".history" / name
    recover([channel, past])
    kept = Kept(channel) if options.noclean else None
    aside = set_aside([channel, past]) if options.force else []
    code = 1
    try:
        code = build(repack, name, channel.parent)
    finally:
        settle(aside, succeeded=code == 0)
        if kept:
            kept.put_back(succeeded=code == 0)
    if code == 0:
        target = channel / str(info.get("platform"))
        outfile.write_bytes(for_shell(str(target)) + b"\n")
        # A console of Windows may lack letters that a folder has.
        encoding = sys.stdout.encoding
        print(str(channel).encode(encoding, "backslashreplace").decode(encoding))
    return code


def find_repack() -> tuple[list[str], dict[str, str]]:
    """The command that starts repack, and the variables that it needs beside this process's.

    Raises:
        Stop: there is none.
    """
    named = os.environ.get("REPACK")
    if named:
        found = shutil.which(named)
        if found is None:
            raise Stop("REPACK is set to " + named + ", which is no program")
        return [found], {}
    found = shutil.which("repack")
    if found is not None:
        return [found], {}
    for folder in (HERE, HERE.parent):
        for name in (".venv", "venv", "."):
            for below in ("bin/repack", "Scripts/repack.exe"):
                program = folder / name / below
                if os.access(str(program), os.X_OK) and program.is_file():
                    return [str(program)], {}
    if sys.version_info >= (3, 11) and (HERE.parent / "repack" / "__main__.py").is_file():
        # Beside its source, with a Python that can run it.
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        check = [sys.executable, "-c", "import repack.cli.main, rattler, msgspec"]
        variables = {**os.environ, "PYTHONPATH": path}
        if subprocess.run(check, env=variables, stderr=subprocess.DEVNULL).returncode == 0:
            return [sys.executable, "-m", "repack"], {"PYTHONPATH": path}
    raise Stop(NO_REPACK)


def read_info() -> dict[str, Any]:
    """The content of envinfo.json as far as it can be read: repack says what is wrong with it."""
    try:
        info = json.loads(ENVINFO.read_bytes())
    except FileNotFoundError:
        where = str(ENVINFO.absolute())
        raise Stop(
            where + ": is not here; make it with `conda info --json > envinfo.json` while the"
            " environment is active"
        ) from None
    except (ValueError, RecursionError):
        info = {}
    return info if isinstance(info, dict) else {}


def label_name(info: dict[str, Any]) -> str:
    """The environment's name, as a channel may be called."""
    variables = info.get("env_vars")
    variable = variables.get("CONDA_PREFIX") if isinstance(variables, dict) else None
    prefixes = (
        info.get("active_prefix"),
        info.get("env location"),  # mamba's
        variable,
        info.get("default_prefix"),
    )
    prefix = next((p for p in prefixes if isinstance(p, str) and p and p[0] not in "<-"), "")
    windows = str(info.get("platform")).startswith("win")
    last = (PureWindowsPath if windows else PurePosixPath)(prefix).name
    name = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("._-")[:64].strip("._-") or "env"
    if last and name != last:
        note = "note: the channel of environment {!a} is called {}".format(last, name)
        print(note, file=sys.stderr)
    return name


def build(repack: tuple[list[str], dict[str, str]], name: str, root: Path) -> int:
    """Let repack make the channel; returns its exit code."""
    command, variables = repack
    with tempfile.TemporaryDirectory() as no_labels:
        command = [*command, "label", name, "--env", str(ENVINFO)]
        command += ["--labels-dir", no_labels, "--channels-dir", str(root)]
        # What repack says is for people here, so on stderr (2); standard output is the path alone.
        return subprocess.run(command, env={**os.environ, **variables}, stdout=2).returncode


class Kept:
    """The packages of a channel, to be put back after those that are obsolete have gone."""

    def __init__(self, channel: Path) -> None:
        self.channel = channel
        self.folder = channel.with_name(".repack-{}.kept".format(channel.name))
        for package in packages(channel):
            place(package, self.folder / package.relative_to(channel))

    def put_back(self, *, succeeded: bool) -> None:
        """Put back what is gone; what is still there is the release's own."""
        for package in packages(self.folder) if succeeded else ():
            place(package, self.channel / package.relative_to(self.folder))
        shutil.rmtree(str(self.folder), ignore_errors=True)


def packages(channel: Path) -> list[Path]:
    """Every package file of a channel."""
    return [
        path
        for pattern in ("*/*.conda", "*/*.tar.bz2")
        for path in sorted(channel.glob(pattern))
        if path.is_file()
    ]


def place(source: Path, target: Path) -> None:
    """Put a file where there is none: as a link, or where that can't be, as a copy."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(str(source), str(target))
    except OSError:
        shutil.copy2(str(source), str(target))


def aside_of(path: Path) -> Path:
    """Where a folder is while another is made in its place."""
    return path.with_name(".repack-{}.old".format(path.name))


def recover(paths: Iterable[Path]) -> None:
    """Put folders back that a run before this one, cut short, left aside."""
    for path in paths:
        if aside_of(path).exists() and not path.exists():
            aside_of(path).rename(path)


def set_aside(paths: Iterable[Path]) -> list[Path]:
    """Move folders away; returns those that were there."""
    moved = [path for path in paths if path.exists()]
    for path in moved:
        shutil.rmtree(str(aside_of(path)), ignore_errors=True)
        path.rename(aside_of(path))
    return moved


def settle(moved: Iterable[Path], *, succeeded: bool) -> None:
    """Drop the folders that were moved away, or put them back."""
    for path in moved:
        if succeeded:
            shutil.rmtree(str(aside_of(path)))
        else:
            shutil.rmtree(str(path), ignore_errors=True)
            aside_of(path).rename(path)


def for_shell(text: str) -> bytes:
    """A path as the shell reads it from a file: cmd's `SET /p` in the console's code page."""
    if not WINDOWS:
        return os.fsencode(text)
    try:
        return text.encode("oem")
    except UnicodeEncodeError:
        return text.encode("utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
