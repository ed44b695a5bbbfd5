"""Make an offline channel of a prepared environment.

    conda info --json > envinfo.json
    python scripts/repackenv.py ROOT [-f] [-nc] [-o tgfolder.txt]

Reads envinfo.json in the current folder and makes ROOT/NAME, NAME being the environment's name:
exactly its packages, each in its own subdir, as a channel that conda installs from without network.
The channel's path goes to standard output and, with -o, into a file.

-f   make it although ROOT/NAME is there; without it that is refused
-nc  don't clear: what is there becomes the release before this one. Without -nc the channel and its
     past releases go and this is release 1; if it can't be made, they come back.

Packages that went from all caches are fetched from where they came from. Their token, which conda
hides, is taken from conda's own settings, or from variables as in REPACK_CHANNELS:
'https://conda.example.org/t/${TOKEN}/vendor', between spaces. Ends as `repack label` does.
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
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final

PROJECT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from repack.errors import RepackError, UsageError  # noqa: E402
from repack.fs import atomic  # noqa: E402
from repack.inputs.conda_info import MAX_ENV_INFO, EnvInfo, parse_env_info  # noqa: E402
from repack.urls import redact_url  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENVINFO: Final = Path("envinfo.json")


def main(arguments: list[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make an offline channel of an environment.")
    parser.add_argument("root", type=Path, help="where channels are")
    parser.add_argument("-f", dest="force", action="store_true", help="although it is there")
    parser.add_argument("-nc", dest="clear", action="store_false", help="don't clear it first")
    parser.add_argument("-o", dest="output", type=Path, help="file for the channel's path")
    given = parser.parse_args(arguments)
    try:
        info = parse_env_info(atomic.read(ENVINFO, MAX_ENV_INFO), str(ENVINFO))
        target = place(given.root, label_name(info), given.force)
        label = label_of(target.name, info)
        with set_aside(target if given.clear else None) as settle:
            code = build(label, given.root)
            settle(code)
    except RepackError as error:
        print(f"error: {error.text()}", file=sys.stderr)
        return error.exit_code
    if code == 0:
        print(target)
        if given.output:
            given.output.write_text(f"{target}\n", encoding="utf-8")
    return code


def place(root: Path, name: str, force: bool) -> Path:  # noqa: FBT001 - the switch -f
    """The channel's folder.

    Raises:
        UsageError: it is there already.
    """
    target = root.resolve() / name
    if target.exists() and not force:
        raise UsageError("the channel is there already", where=target, hint="-f makes it anew")
    return target


def label_name(info: EnvInfo) -> str:
    """The environment's name, as a label may be called."""
    windows = info.subdir.startswith("win")
    last = (PureWindowsPath if windows else PurePosixPath)(info.prefix).name
    return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("._-") or "env"


def label_of(name: str, info: EnvInfo) -> dict[str, Any]:
    """The label: where to look for what no cache has, and for which platform.

    Raises:
        UsageError: nothing says which channels.
    """
    channels = os.environ.get("REPACK_CHANNELS", "").split()
    if not channels:
        subdir = re.compile(f"/(noarch|{re.escape(info.subdir)})/?$")
        channels = [redact_url(subdir.sub("", url)) for url in info.channels]
    if not channels:
        raise UsageError("the file names no channels", where=ENVINFO, hint="set REPACK_CHANNELS")
    unique = list(dict.fromkeys(channels))
    return {"label": name, "channels": unique, "platforms": {info.subdir: {}}}


@contextmanager
def set_aside(target: Path | None) -> Iterator[Callable[[int], None]]:
    """Put a channel and its history away; ``settle(0)`` drops them, else they come back."""
    moved: dict[Path, Path] = {}
    for path in (target, target.parent / ".history" / target.name) if target else ():
        aside = path.with_name(f".repack-{path.name}.old")
        if aside.exists() and not path.exists():
            aside.rename(path)  # a run before this one was cut short
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
            moved[path] = aside
    codes: list[int] = []
    for path, aside in moved.items():
        path.rename(aside)
    try:
        yield codes.append
    finally:
        for path, aside in moved.items():
            if codes == [0]:
                shutil.rmtree(aside)
            else:
                shutil.rmtree(path, ignore_errors=True)
                aside.rename(path)


def build(label: dict[str, Any], root: Path) -> int:
    """Let repack make the channel."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{label['label']}.json").write_text(json.dumps(label), encoding="utf-8")
        command = [sys.executable, "-m", "repack", "label", label["label"], "--env", str(ENVINFO)]
        command += ["--labels-dir", folder, "--channels-dir", str(root)]
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        variables = {**os.environ, "PYTHONPATH": path}
        # What repack says is for people here, so on stderr (2); standard output is the path alone.
        return subprocess.run(command, env=variables, stdout=2, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
