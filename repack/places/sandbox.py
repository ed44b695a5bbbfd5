"""A scratch prefix and commands that run in it without network."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.errors import ProofError
from repack.places import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.model.outcome import Isolation

_TIMEOUT: Final = 600
_TAIL: Final = 4000
_GONE: Final = f"{files.TEMP_PREFIX}gone-"
# Nothing listens on the discard port of the loopback: what honours a proxy setting gets nowhere.
_NOWHERE: Final = "http://127.0.0.1:9"


def host_subdir() -> str | None:
    """The conda subdir of this machine, or None when repack builds none for it."""
    machine = platform.machine().lower()
    systems = {"linux": "linux-64", "win32": "win-64"}
    return systems.get(sys.platform) if machine in {"x86_64", "amd64"} else None


def network_cutter() -> tuple[str, ...]:
    """The command prefix that takes a process's network away, empty where there is none."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return ()
    for cutter in (("unshare", "--net"), ("unshare", "--map-root-user", "--net")):
        if subprocess.run([*cutter, "true"], capture_output=True, check=False).returncode == 0:
            return cutter
    return ()


def run_in(prefix: Path, command: Sequence[str], environment: Mapping[str, str]) -> Isolation:
    """Run the label's health check in a prefix, with no network.

    Args:
        prefix: the installed environment.
        command: the program, looked up in the prefix first, and its arguments.
        environment: what to start from; user-level Python settings are taken out.

    Returns:
        How its network was cut.

    Raises:
        ProofError: it cannot start, fails, or takes longer than ten minutes.
    """
    cutter = network_cutter()
    variables = _cut_off(activated(prefix, environment))
    program = shutil.which(command[0], path=variables["PATH"])
    shown = " ".join(command)
    if program is None:
        raise ProofError(
            f"the health check's program {command[0]!r} is not in the environment", where=prefix
        )
    try:
        done = subprocess.run(
            [*cutter, program, *command[1:]],
            env=variables,
            cwd=prefix,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProofError(f"the health check did not end: {shown}", got=error) from None
    if done.returncode != 0:
        output = done.stdout.decode("utf-8", errors="replace")[-_TAIL:].strip()
        raise ProofError(
            f"the health check failed: {shown}",
            expected="exit code 0",
            got=f"exit code {done.returncode}\n{output}",
            hint="nothing was published; the environment installs but does not work",
        )
    return "namespace" if cutter else "proxy"


def activated(prefix: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that ``conda activate`` sets, without running scripts of packages."""
    dropped = ("PYTHON", "CONDA", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    kept = {key: value for key, value in environment.items() if not key.startswith(dropped)}
    if sys.platform == "win32":
        names = (".", "Library/mingw-w64/bin", "Library/usr/bin", "Library/bin", "Scripts", "bin")
    else:
        names = ("bin",)
    path = os.pathsep.join([*(str(prefix / name) for name in names), kept.get("PATH", "")])
    return {
        **kept,
        "PATH": path,
        "CONDA_PREFIX": str(prefix),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _cut_off(variables: Mapping[str, str]) -> dict[str, str]:
    """``variables`` with proxies that lead nowhere."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), _NOWHERE)
    return {
        **{
            key: value
            for key, value in variables.items()
            if key.lower() not in {*proxies, "no_proxy"}
        },
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
    }


def clobbered(prefix: Path) -> tuple[str, ...]:
    """Paths that more than one package brought, as rattler set them aside."""
    folder = prefix / "__clobbers__"
    return tuple(
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    )


def fresh(prefix: Path) -> Path:
    """An empty place for a scratch prefix."""
    with files.faults_at(prefix):
        prefix.parent.mkdir(parents=True, exist_ok=True)
    discard(prefix)
    return prefix


def discard(prefix: Path) -> None:
    """Take a scratch prefix away; on a system with ``rm`` nobody waits for its 30,000 files.

    It is renamed first, so that the next one can stand in its place. What a power cut left of
    earlier ones goes with it.

    Raises:
        PlaceError: it can be neither renamed nor removed.
    """
    shell = shutil.which("sh") if sys.platform != "win32" else None
    if shell is None:
        files.remove(prefix)
        return
    with files.faults_at(prefix):
        if prefix.is_dir():
            gone = Path(tempfile.mkdtemp(prefix=_GONE, dir=prefix.parent))
            prefix.rename(gone)
        gone_before = [str(path) for path in prefix.parent.glob(f"{_GONE}*")]
    if gone_before:
        # A child of the shell's, which ends at once: nobody is left to wait for it here.
        subprocess.run(
            [shell, "-c", 'rm -rf -- "$@" &', shell, *gone_before],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
