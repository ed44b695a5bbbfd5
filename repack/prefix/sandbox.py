"""A scratch prefix, and a sandbox in which its programs run.

What a package brings runs on the vendor's machine before anything is published: the health check, the
``.pth`` files that its Python reads, and what they start. In the sandbox it has

- an environment of PATH, HOME, TMPDIR, LANG and CONDA_PREFIX, none of them the caller's,
- the prefix, read-only, at its own path, and the system's programs, read-only,
- an empty HOME and ``/tmp`` of its own, no network, no other processes.

It sees neither keys, store, channels nor anybody's home, because nothing is shown that is not listed
here. bubblewrap does that where it is installed, else unshare and ``jail.sh``. Where a system has no
user namespaces, what runs gets the same environment, files of its own instead of links to the
package cache, and proxies that lead nowhere; ``repack doctor`` says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from repack.errors import ProofError
from repack.fs import atomic, beneath
from repack.fs.walk import walk
from repack.prefix import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

Isolation = Literal["sandbox", "namespace", "proxy"]
_TIMEOUT: Final = 600
# Nothing listens on the discard port of the loopback: what honours a proxy setting gets nowhere.
NOWHERE: Final = "http://127.0.0.1:9"
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
_FOLDERS: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store")
_FILES: Final = (
    "etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d", "etc/localtime", "etc/alternatives",
    "etc/fonts", "etc/passwd", "etc/group", "etc/hosts", "etc/nsswitch.conf", "etc/ssl/certs",
)  # fmt: skip
_SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_HOME: Final = "/tmp/home"  # noqa: S108 - in the sandbox, whose /tmp is its own
# Windows starts no program without these; they hold no secret.
_OF_WINDOWS: Final = frozenset({"SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "SYSTEMDRIVE"})


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


def sandbox_words(prefix: Path, work: Path, hidden: Sequence[Path] = ()) -> tuple[str, ...]:
    """The words before a command that put it into a sandbox; empty where the system has none.

    Args:
        prefix: the environment it runs in.
        work: an empty folder for the sandbox alone.
        hidden: folders that stay out of sight even where they lie among the system's programs.
    """
    if sys.platform != "linux":
        return ()
    for words in (_bubblewrap(prefix, hidden), _unshare(prefix, work, hidden)):
        if not words:
            continue
        # Installed is not allowed: containers and distributions forbid some of it.
        probe = subprocess.run([*words, "true"], capture_output=True, check=False)
        if probe.returncode == 0:
            return words
    return ()


def _variables(prefix: Path) -> dict[str, str]:
    return {
        "PATH": f"{prefix / 'bin'}:{_SYSTEM_PATH}",
        "HOME": _HOME,
        "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "CONDA_PREFIX": str(prefix),
    }


def _bubblewrap(prefix: Path, hidden: Sequence[Path]) -> tuple[str, ...]:
    program = shutil.which("bwrap", path=_SYSTEM_PATH)
    if program is None:
        return ()
    words = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--clearenv"]
    for name, value in _variables(prefix).items():
        words += ["--setenv", name, value]
    for name in (*_FOLDERS, *_FILES):
        path = Path("/", name)
        if path.is_symlink() and name in _FOLDERS:
            words += ["--symlink", str(path.readlink()), str(path)]
        else:
            words += ["--ro-bind-try", str(path), str(path)]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", _HOME]  # noqa: S108
    for folder in _among_programs(hidden):
        words += ["--tmpfs", folder]
    words += ["--ro-bind", str(prefix), str(prefix), "--chdir", str(prefix), "--"]
    return tuple(words)


def _unshare(prefix: Path, work: Path, hidden: Sequence[Path]) -> tuple[str, ...]:
    programs = [
        shutil.which(name, path=_SYSTEM_PATH)
        for name in ("setpriv", "unshare", "sh", "pivot_root", "mount", "env")
    ]
    if not all(programs):
        return ()
    script = resources.files("repack").joinpath("prefix", "jail.sh").read_text("utf-8")
    script = script.replace("@SHOWN@", " ".join((*_FOLDERS, *_FILES)))
    names = ("user", "map-root-user", "mount", "net", "pid", "ipc", "uts", "fork", "kill-child")
    # Like bubblewrap's --die-with-parent: a build that is killed takes along what it started.
    words = [str(programs[0]), "--pdeathsig", "KILL", "--", str(programs[1])]
    words += [*(f"--{name}" for name in names), "--", "env", "-i"]
    words += [f"{name}={value}" for name, value in _variables(prefix).items()]
    words += ["/bin/sh", "-c", script, "jail.sh", str(work), str(prefix)]
    return (*words, *_among_programs(hidden), "--")


def _among_programs(hidden: Sequence[Path]) -> list[str]:
    """Those of ``hidden`` that lie in a folder of the system that the sandbox shows."""
    shown = [Path("/", name) for name in _FOLDERS]
    paths = {path.resolve() for path in hidden if path.is_dir()}
    return sorted(str(path) for path in paths if any(top in path.parents for top in shown))


def run_in(prefix: Path, command: Sequence[str], hidden: Sequence[Path] = ()) -> Isolation:
    """Run the label's health check in a prefix.

    Args:
        prefix: the installed environment.
        command: the program, looked up in the prefix first, and its arguments.
        hidden: folders that must not be seen; only needed for those below ``/usr``.

    Returns:
        How it was kept apart.

    Raises:
        ProofError: it cannot start, fails, or takes longer than ten minutes.
        PlaceError: there is no room for it.
    """
    prefix = prefix.resolve()
    path = commands.activated(prefix, {"PATH": _SYSTEM_PATH})["PATH"]
    program = shutil.which(command[0], path=path)
    if program is None:
        raise ProofError(
            f"the health check's program {command[0]!r} is not in the environment", where=prefix
        )
    with tempfile.TemporaryDirectory(prefix="repack-proof-") as name:
        work = Path(name)
        words = sandbox_words(prefix, work, hidden)
        try:
            if words:
                starter = {"PATH": _SYSTEM_PATH}
                commands.run([*words, program, *command[1:]], None, starter, _TIMEOUT)
                return "sandbox"
            separate(prefix)
            cutter = network_cutter()
            variables = _outside_variables(work)
            commands.run([*cutter, program, *command[1:]], prefix, variables, _TIMEOUT)
        except commands.CommandFailedError as error:
            raise ProofError(
                f"the health check failed: {' '.join(command)}",
                expected=error.expected,
                got=error.got or error.what,
                hint="nothing was published; the environment installs but does not work",
            ) from None
    return "namespace" if cutter else "proxy"


def _outside_variables(work: Path) -> dict[str, str]:
    """The environment of what runs without a sandbox: nothing of the caller's."""
    variables = {name: value for name, value in os.environ.items() if name.upper() in _OF_WINDOWS}
    variables["PATH"] = os.defpath if sys.platform == "win32" else _SYSTEM_PATH
    for name in _PROXIES:
        variables[name] = variables[name.upper()] = NOWHERE
    places = ("HOME", "TMPDIR", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
    return variables | dict.fromkeys(places, str(work)) | {"LANG": "C.UTF-8"}


def separate(prefix: Path) -> None:
    """Give a prefix files of its own where they are hard links to the package cache.

    Else a program that writes to a file of its prefix writes to what the next label installs.

    Raises:
        SpaceError: the disk is full.
        PlaceError: a file cannot be copied.
    """
    folders = [os.fspath(prefix)]
    with atomic.os_errors_at(prefix):
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in list(entries):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not entry.is_symlink() and os.lstat(entry.path).st_nlink > 1:
                        beside = Path(f"{entry.path}{atomic.TEMP_PREFIX}")
                        shutil.copy2(entry.path, beside)
                        beside.replace(entry.path)


def clobbered(prefix: Path) -> tuple[str, ...]:
    """Paths that more than one package brought, as rattler set them aside."""
    folder = prefix / "__clobbers__"
    return tuple(sorted(walk(folder))) if beneath.is_folder(folder) else ()


def fresh(prefix: Path) -> Path:
    """An empty place for a scratch prefix."""
    discard(prefix)
    with atomic.os_errors_at(prefix):
        beneath.make_folders(prefix.parent)
    return prefix


def discard(prefix: Path) -> None:
    """Remove a scratch prefix.

    The system's own program does it where there is one: Python gives the interpreter away and waits
    for it again at each of 30,000 files, while archives are read.
    """
    program = shutil.which("rm") if beneath.is_folder(prefix) else None
    if program is not None and sys.platform != "win32":
        subprocess.run([program, "-rf", "--", str(prefix)], capture_output=True, check=False)
    atomic.remove(prefix)
