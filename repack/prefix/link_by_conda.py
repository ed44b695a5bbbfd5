"""Links packages into a prefix by the conda of this machine, for where py-rattler does not run.

conda gets an explicit list of archives whose hashes were checked, no configuration but ours, a
package cache that lives as long as this takes, and a home of its own, so that it writes nowhere
else. conda 4.3 or newer will do.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from repack.errors import IntegrityError, PlaceError, UsageError
from repack.fs import atomic, beneath, locks
from repack.prefix import commands, conda_meta
from repack.prefix.compare import check_prefix
from repack.prefix.sandbox import NOWHERE
from repack.structs import Value
from repack.urls import redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.archive.installed_paths import CheckedEnvironment
    from repack.conda.record import Record

_TIMEOUT: Final = 4 * 3600
# conda merges every condarc it finds and has no option against it, so it is told to find one.
_DRIVER: Final = (
    "import os, sys; sys.argv[0] = 'conda'; del sys.path[0]; "
    "import conda.base.constants as constants; constants.SEARCH_PATH = (os.environ['CONDARC'],); "
    "from conda.cli import main; sys.exit(main())"
)
# An agent that is killed takes its conda along, so that nobody fills what the next one removes.
_NOT_ALONE: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.getppid() == {} or sys.exit(1); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_CONFIGURES: Final = re.compile(r"CONDA|CIO_|MAMBA|PYTHON|XDG_|VIRTUAL_ENV", re.IGNORECASE)
_FULL: Final = re.compile(r"no space left|\[Errno 28\]|NoSpaceLeftError", re.IGNORECASE)


def find(environment: Mapping[str, str]) -> Path | None:
    """The conda that CONDA_EXE names, else the one on PATH; None when there is none."""
    for name in (environment.get("CONDA_EXE"), "conda"):
        path = shutil.which(name, path=environment.get("PATH")) if name else None
        if path:
            return Path(path).absolute()
    return None


class CondaRun(Value, frozen=True):
    """Where conda works.

    Attributes:
        work: a folder on the disk of the prefix, made anew; the caller removes it.
        lock: held by conda itself, also when whoever started it was killed.
        environment: the variables to start from.
    """

    hidden_fields: ClassVar = ("environment",)

    work: Path
    lock: Path
    environment: Mapping[str, str]


def create(packages: CheckedEnvironment, target: Path, run: CondaRun) -> None:
    """Install ``packages``, whose URLs name local files, into a new prefix.

    conda runs the link scripts of packages; py-rattler does not.

    Args:
        packages: every one of their archives was checked.
        target: the prefix; nothing is there yet.
        run: where conda works.

    Raises:
        BusyError: a conda still works there.
        IntegrityError: conda does not install them.
        SpaceError: the disk is full.
        PlaceError: there is no conda here.
    """
    work, environment = run.work, run.environment
    program = find(environment)
    if program is None:
        raise PlaceError(
            "there is no conda here",
            where="CONDA_EXE, PATH",
            hint="install Miniconda or Miniforge, or say where conda is by CONDA_EXE",
        )
    home = work / "home"
    atomic.remove(work)
    with atomic.os_errors_at(work):
        home.mkdir(parents=True)
        (work / "condarc.yml").write_text(_condarc(work), "utf-8")
        (work / "packages.txt").write_text(_listed(packages.records), "utf-8")
    words = [*_not_alone(), *_started(program), "create", "--yes", "--quiet", "--offline"]
    words += ["--prefix", str(target), "--file", str(work / "packages.txt")]
    try:
        with locks.exclusive(run.lock, "a conda that fills an environment") as handle:
            commands.run(words, None, _variables(work, environment), _TIMEOUT, inherited=(handle,))
    except commands.CommandFailedError as error:
        output = redact_text(str(error.got))
        if _FULL.search(output):
            raise atomic.from_os_error(
                OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), target
            ) from None
        raise IntegrityError("conda does not install the packages", got=output) from None
    _complete(target, packages.records)
    check_prefix(target, packages)


def _listed(records: Sequence[Record]) -> str:
    """An explicit list; python comes first, because the others need to know its version.

    The digest in it is MD5, the only one that conda below 4.7 reads from such a list; all archives
    were checked by SHA-256 before.
    """
    ordered = sorted(records, key=lambda record: (record.name != "python", record.path))
    lines = [f"{_url(r)}#{r.md5}" if r.md5 else _url(r) for r in ordered]
    return "\n".join(["@EXPLICIT", *lines, ""])


def _condarc(work: Path) -> str:
    settings = {
        "channels": [],
        "default_channels": [],
        "offline": True,
        "pkgs_dirs": [str(work / "pkgs")],
        "envs_dirs": [str(work / "envs")],
        "allow_softlinks": False,
        "register_envs": False,
        "solver": "classic",
        "notify_outdated_conda": False,
        "number_channel_notices": 0,
        "report_errors": False,
        "anaconda_anon_usage": False,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def _not_alone() -> list[str]:
    if sys.platform != "linux":
        return []
    return [sys.executable, "-I", "-S", "-c", _NOT_ALONE.format(os.getpid())]


def _started(program: Path) -> list[str]:
    """How to start conda: by its own Python, which can be told to read one condarc only."""
    near = ["python", "../bin/python"]
    if sys.platform == "win32":
        near = ["../python.exe", "python.exe", "../../python.exe"]
    with atomic.os_errors_at(program), beneath.reading(program) as stream:
        first = re.match(rb"#!\s*(/\S*python[0-9.]*)\s", stream.readline(4096))
    shebang = [Path(os.fsdecode(first[1]))] if first else []
    for python in (*shebang, *(program.parent / path for path in near)):
        if python.is_file():
            return [os.path.normpath(python), "-c", _DRIVER]
    return [str(program)]


def _variables(work: Path, environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if not _CONFIGURES.match(name)}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        kept[name] = kept[name.upper()] = NOWHERE
    # Python 3.6 in the C locale cannot express paths that are not ASCII.
    if (kept.get("LC_ALL") or kept.get("LC_CTYPE") or kept.get("LANG") or "C") in {"C", "POSIX"}:
        kept["LC_ALL"] = "C.UTF-8"
    kept |= {"CONDARC": str(work / "condarc.yml"), "CONDA_NO_PLUGINS": "true"}
    return kept | {"HOME": str(work / "home"), "CONDA_ENVS_PATH": str(work / "envs")}


def _complete(target: Path, records: Sequence[Record]) -> None:
    """Write the channel's records into ``conda-meta``.

    From a list of files conda only knows what the archives say: without upstream's hot-fixes, and
    an old one without SHA-256. A package that conda did not take from the archive that was
    checked is left as it is, and so found by whoever compares.
    """
    record_by_name = {f"{record.dist}.json": record for record in records}
    try:
        metas = conda_meta.read_meta(target, target)
    except UsageError:
        return
    for name, meta in metas.items():
        record = record_by_name.get(name)
        if record is not None and _is_of(meta, record):
            document = {**meta, **record.raw}
            atomic.write(target / "conda-meta" / name, json.dumps(document, indent=1).encode())


def _is_of(meta: Mapping[str, object], record: Record) -> bool:
    """Whether conda says that it took a package from the archive it was given."""
    if meta.get("md5") and record.md5:
        return meta["md5"] == record.md5
    return meta.get("url") == _url(record)


def _url(record: Record) -> str:
    """Where the archive is; conda takes the file name as it is, so there nothing is encoded."""
    return f"{record.url.rpartition('/')[0]}/{record.fn}"
