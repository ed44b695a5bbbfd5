"""Runs a command as on a fresh machine: ``python3 scripts/bare.py python3 scripts/test.py``.

The command runs in a copy of this clone below bubblewrap. Of this machine it sees ``/usr`` without
``/usr/local``, the packages of the system's own Python and the programs that only tests need, and
``/etc``; its home is empty
and its user is not root. ``--root`` makes it root. ``--suite trixie`` makes a root by debootstrap
(as root, from this machine's mirror) with Python, its venv and certificates, and nothing else.

What it leaves lies in ``.test/bare*``, up to 1 GB each; the next run starts with its environments.
Exit code 69: such a root cannot be made here.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from typing import Final  # noqa: E402

from scripts.programs import PROGRAMS  # noqa: E402

FOLDER: Final = ROOT / ".test"
UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
_HOME: Final = "/home/stranger"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
# How to reach the network is a matter of the machine, not of its Python.
_KEPT: Final = re.compile(
    r"(?i)(https?|all|no)_proxy|PIP_\w+|SSL_CERT_(FILE|DIR)|(REQUESTS_CA|CURL_CA)_BUNDLE|LANG"
)


def main() -> int:
    """Run the command; its exit code, or 69."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", action="store_true", help="be root in there")
    parser.add_argument("--suite", help="a Debian release, such as trixie, by debootstrap")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    folder = FOLDER / f"bare-{arguments.suite or 'usr'}{'-root' * arguments.root}"
    try:
        system = _debian(folder / "system", arguments.suite) if arguments.suite else _usr()
        sandbox = _sandbox(folder, system, 0 if arguments.root else 1000)
        _run([*sandbox, *_python(3, 11)])
        _copy_clone(folder / "home" / "repack")
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no bare root here: {error}", file=sys.stderr)
        return UNAVAILABLE
    try:
        return subprocess.call([*sandbox, *arguments.command], env=_environment())
    finally:
        shutil.rmtree(folder / "tmp", ignore_errors=True)


def _python(*oldest: int) -> list[str]:
    """A command that fails where there is no Python that can make environments."""
    return ["python3", "-c", f"import ensurepip, sys, venv; sys.exit(sys.version_info < {oldest})"]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, env=_environment(), stdout=sys.stderr)


def _usr() -> list[str]:
    """This machine's system, and nothing that was added to it."""
    options = ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--tmpfs", "/usr/local"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    for name in PROGRAMS.keys() - {"unshare"}:  # which every Debian has
        for path in (Path("/usr/bin", name), Path("/usr/sbin", name)):
            if path.is_file() and not path.is_symlink():
                options += ["--ro-bind", "/dev/null", str(path)]
    if Path("/usr/lib/python3/dist-packages").is_dir():
        options += ["--tmpfs", "/usr/lib/python3/dist-packages"]
    return options


def _debian(system: Path, suite: str) -> list[str]:
    """A root made by debootstrap, 280 MB."""
    done = system / "made"
    if not done.exists():
        print(f"making Debian {suite} (280 MB) in {system} …", file=sys.stderr, flush=True)
        shutil.rmtree(system, ignore_errors=True)
        system.mkdir(parents=True)
        _run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(system),
              *_mirror()])  # fmt: skip
        done.touch()
    options = ["--bind", str(system), "/"]
    for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(path).exists():
            options += ["--ro-bind", path, path]
    return options


def _mirror() -> list[str]:
    """The Debian mirror of this machine's apt; none for debootstrap's own."""
    for path in sorted(Path("/etc/apt").glob("sources.list*")):
        for file in [path] if path.is_file() else sorted(path.iterdir()):
            lines = re.findall(
                r"(?m)^(?:deb\s.*?|URIs:\s*)(https?://\S+/debian)/?\s", file.read_text()
            )
            if lines:
                return [str(lines[0])]
    return []


def _sandbox(folder: Path, system: list[str], user: int) -> list[str]:
    """The command line of bubblewrap before the command."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    options = [
        "bwrap", "--unshare-user", "--unshare-pid", "--uid", str(user), "--gid", str(user),
        *system, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--tmpfs", "/home",
        "--bind", str(folder / "home"), _HOME, "--bind", str(folder / "tmp"), "/tmp",
        "--dir", f"{_HOME}/repack", "--chdir", f"{_HOME}/repack", "--die-with-parent",
    ]  # fmt: skip
    for value in _environment().values():
        is_hidden = value.startswith("/") and not value.startswith(
            ("/usr/", "/etc/", "/bin", _HOME)
        )
        if is_hidden and Path(value).is_file():
            options += ["--ro-bind", value, value]
    return options


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    return {**kept, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": _HOME, "USER": "stranger"}


def _copy_clone(folder: Path) -> None:
    """Copy the files of this clone; environments made there before are kept."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name != ".test":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


if __name__ == "__main__":
    sys.exit(main())
