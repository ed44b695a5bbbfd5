"""Runs one command, in an environment or outside: services, health checks, conda."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Final

from repack.errors import PlaceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TAIL: Final = 4000


class CommandFailedError(PlaceError):
    """A command of the site or of the label's health check did not end well."""

    kind = "command-failed"


def run(
    command: Sequence[str],
    prefix: Path | None,
    environment: Mapping[str, str],
    timeout: int,
    *,
    inherited: Sequence[int] = (),
) -> None:
    """Run one command and wait for it.

    It keeps the network: on a target services talk to each other over the loopback. A proof on the
    vendor's machine runs it by :func:`repack.prefix.sandbox.run_in`.

    Args:
        command: the program, looked up in ``prefix`` first, and its arguments.
        prefix: the environment to activate; None for none.
        environment: the variables to start from.
        timeout: seconds, after which it is killed with all it started.
        inherited: open files that it keeps, where the system can do that.

    Raises:
        CommandFailedError: it cannot start, ends with another code than 0, or takes too long.
    """
    variables = dict(environment) if prefix is None else activated(prefix, environment)
    shown = " ".join(command)
    program = shutil.which(command[0], path=variables.get("PATH"))
    if program is None:
        raise CommandFailedError(f"there is no program {command[0]!r} here", where=shown)
    # A file, not a pipe: a daemon that the command leaves behind keeps its output open, and
    # reading a pipe to its end would wait for the daemon.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [program, *command[1:]],
                env=variables,
                cwd=prefix,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, which can be killed as a whole
                pass_fds=() if sys.platform == "win32" else inherited,
            )
        except OSError as error:
            raise CommandFailedError("the command cannot start", where=shown, got=error) from None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CommandFailedError(
                "the command took too long", where=shown, expected=f"at most {timeout} s",
                got=_tail(output),
            ) from None  # fmt: skip
        finally:
            _end(process)
        if code != 0:
            raise CommandFailedError(
                "the command failed", where=shown, expected="exit code 0",
                got=f"exit code {code}\n{_tail(output)}".rstrip(),
            )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command that still runs, and what it started; one that ended keeps its daemons."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL))
    return output.read().decode("utf-8", errors="replace").strip()


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
