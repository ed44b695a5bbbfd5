"""A scratch prefix and commands that run in it without network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Literal

from repack.errors import ProofError
from repack.fs import atomic
from repack.prefix import commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


Isolation = Literal["namespace", "proxy"]
_TIMEOUT: Final = 600
# Nothing listens on the discard port of the loopback: what honours a proxy setting gets nowhere.
NOWHERE: Final = "http://127.0.0.1:9"


def network_cutter() -> tuple[str, ...]:
    """The words before a command that take its network away; empty where the system cannot.

    A network namespace of its own has no interface but a loopback that is down. Root makes one
    directly; others need a user namespace around it, which distributions may forbid, so each way is
    tried.
    """
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
    cutter, variables = network_cutter(), _without_network(environment)
    path = commands.activated(prefix, variables)["PATH"]
    program = shutil.which(command[0], path=path)
    if program is None:
        raise ProofError(
            f"the health check's program {command[0]!r} is not in the environment", where=prefix
        )
    try:
        commands.run([*cutter, program, *command[1:]], prefix, variables, _TIMEOUT)
    except commands.CommandFailedError as error:
        raise ProofError(
            f"the health check failed: {' '.join(command)}",
            expected=error.expected,
            got=error.got or error.what,
            hint="nothing was published; the environment installs but does not work",
        ) from None
    return "namespace" if cutter else "proxy"


def _without_network(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` with proxies that lead nowhere, for what honours proxy variables."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    kept = {k: v for k, v in environment.items() if k.lower() not in {*names, "no_proxy"}}
    return kept | {spelling: NOWHERE for name in names for spelling in (name, name.upper())}


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
