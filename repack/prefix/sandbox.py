"""A scratch prefix and commands that run in it without network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Literal

from repack.errors import ProofError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


Isolation = Literal["namespace", "proxy"]


_TIMEOUT: Final = 600
_TAIL: Final = 4000
# Nothing listens on the discard port of the loopback: what honours a proxy setting gets nowhere.
_NOWHERE: Final = "http://127.0.0.1:9"


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
    discard(prefix)
    with atomic.os_errors_at(prefix):
        prefix.parent.mkdir(parents=True, exist_ok=True)
    return prefix


def discard(prefix: Path) -> None:
    """Remove a scratch prefix.

    The system's own program does it where there is one: Python gives the interpreter away and waits
    for it again at each of 30,000 files, while archives are read.
    """
    program = shutil.which("rm") if prefix.is_dir() else None
    if program is not None and sys.platform != "win32":
        subprocess.run([program, "-rf", "--", str(prefix)], capture_output=True, check=False)
    atomic.remove(prefix)
