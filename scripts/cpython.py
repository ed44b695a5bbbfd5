"""Packs the CPython that runs this as the conda package ``python``.

It works for any build whose layout is PREFIX/bin and PREFIX/lib/pythonX.Y: pyenv, Debian,
python-build-standalone, the official container images. Left out: other people's packages, the
test suite, headers and byte code. Libraries of the system (OpenSSL, SQLite …) are *not* packed, so
the result runs on machines like this one; it is meant for demos, tests and benchmarks.

Nothing is patched at install time: CPython finds its library by walking up from its executable,
and an absolute library path in a binary becomes ``$ORIGIN/…`` here.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from scripts.archives import Kind, Recipe, pack

_SKIP: Final = ("site-packages", "dist-packages", "test", "tests", "__pycache__", "idlelib")
_SKIP_LIKE: Final = ("config-*", "*.pyc", "*.a", "EXTERNALLY-MANAGED")
_DEPENDS: Final = {"linux-64": ("__unix",), "win-64": ("__win",)}
_DT_RPATH, _DT_RUNPATH, _SHT_DYNAMIC = 15, 29, 6


class CannotPackError(Exception):
    """This interpreter cannot be packed."""


def version() -> str:
    """The running version, as a conda version."""
    return "{}.{}.{}".format(*sys.version_info[:3])


def recipe(subdir: str) -> Recipe:
    """The package ``python`` for a subdir."""
    return Recipe(
        name="python",
        version=version(),
        build="cpython_0",
        subdir=subdir,
        depends=_DEPENDS[subdir],
        license="PSF-2.0",
        summary="The CPython that made this channel",
    )


def pack_linux(channel: Path, kind: Kind = ".conda") -> Path:
    """Pack the running interpreter for linux-64.

    Raises:
        CannotPackError: it is not a Linux build, or it does not run from another prefix.
    """
    if sys.platform != "linux":
        raise CannotPackError(f"only a Linux interpreter can be packed, this is {sys.platform}")
    with tempfile.TemporaryDirectory(prefix="repack-python-") as name:
        stage = Path(name) / "prefix"
        _stage(stage)
        _check(stage)
        return pack(recipe("linux-64"), stage, channel, kind)


def pack_windows(channel: Path, kind: Kind = ".conda") -> Path:
    """Pack a stand-in for win-64, which only a solver may use.

    No package index carries CPython for Windows, so ``python.exe`` is a text that says so.
    """
    with tempfile.TemporaryDirectory(prefix="repack-python-") as name:
        stage = Path(name)
        text = "A stand-in: this upstream was made where no CPython for Windows is to be had.\r\n"
        for place in ("python.exe", "Lib/site-packages/README.txt"):
            (stage / place).parent.mkdir(parents=True, exist_ok=True)
            (stage / place).write_text(text, encoding="ascii", newline="")
        return pack(recipe("win-64"), stage, channel, kind)


def _stage(stage: Path) -> None:
    short = "{}.{}".format(*sys.version_info[:2])
    library = Path(sysconfig.get_path("stdlib"))
    home = stage / "lib" / f"python{short}"
    ignore = shutil.ignore_patterns(*_SKIP, *_SKIP_LIKE)
    shutil.copytree(library, home, ignore=ignore, ignore_dangling_symlinks=True)
    (home / "site-packages").mkdir()
    note = home / "site-packages" / "README.txt"
    note.write_text("Packages go here.\n", encoding="ascii")
    binary = stage / "bin" / f"python{short}"
    binary.parent.mkdir()
    shutil.copyfile(_executable(short), binary)
    binary.chmod(0o755)
    for alias in ("python3", "python"):
        (binary.parent / alias).symlink_to(binary.name)
    relocate(binary, "$ORIGIN/../lib")
    if shared := _shared_library():
        copy = stage / "lib" / shared.name
        shutil.copyfile(shared, copy)
        relocate(copy, "$ORIGIN")
    for extension in (home / "lib-dynload").glob("*.so"):
        relocate(extension, "$ORIGIN/../..")
    _open_site_packages(stage, home)
    for path in stage.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o111 else 0o644)


def _executable(short: str) -> Path:
    """The real program behind a virtual environment and its links."""
    named = Path(sys.base_prefix) / "bin" / f"python{short}"
    return (named if named.exists() else Path(sys.executable)).resolve()


def _shared_library() -> Path | None:
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return None
    name = str(sysconfig.get_config_var("INSTSONAME"))
    folders = [str(sysconfig.get_config_var("LIBDIR")), str(Path(sys.base_prefix) / "lib")]
    found = (Path(folder) / name for folder in folders)
    # Debian's program holds the library in itself; the shared one is a package of its own.
    return next((path.resolve() for path in found if path.exists()), None)


def _run(stage: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [stage / "bin" / "python", "-I", "-B", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C.UTF-8"},
    )


def _open_site_packages(stage: Path, home: Path) -> None:
    """Debian's ``site`` looks into ``dist-packages`` only; let it look where conda installs."""
    packages = home / "site-packages"
    code = "import sys; print('\\n'.join(sys.path))"
    (home / "sitecustomize.py").unlink(missing_ok=True)
    if str(packages) in _run(stage, code).stdout.splitlines():
        return
    (home / "sitecustomize.py").write_text(
        '"""Adds the folder conda installs into, which this build of CPython leaves out."""\n'
        "import pathlib, site\n"
        'site.addsitedir(str(pathlib.Path(__file__).with_name("site-packages")))\n',
        encoding="ascii",
    )


def _check(stage: Path) -> None:
    """Run the copy from where it lies, so a package that cannot work is never made."""
    code = "import sys, ssl, sqlite3, ctypes, zlib, hashlib; print(sys.prefix)"
    done = _run(stage, code)
    if done.returncode or done.stdout.strip() != str(stage):
        raise CannotPackError(
            f"{sys.base_prefix} does not run from another folder: {done.stderr or done.stdout}"
        )


def relocate(binary: Path, search: str) -> bool:
    """Overwrite the absolute library path of a 64-bit ELF file by ``search``, in place.

    Args:
        binary: the file; one that isn't ELF, or has no such path, is left alone.
        search: the new path; it must not be longer than the old one (``$ORIGIN/../lib`` is as
            long as ``/usr/local/lib``).

    Raises:
        CannotPackError: the old path is too short to be overwritten.
    """
    data = bytearray(binary.read_bytes())
    if data[:5] != b"\x7fELF\x02":
        return False
    offset = _library_path(data)
    if offset is None or data[offset : offset + 1] == b"$":
        return False
    end = data.index(0, offset)
    if end - offset < len(search):
        raise CannotPackError(f"{binary}: no room for {search} in {bytes(data[offset:end])!r}")
    data[offset:end] = search.encode().ljust(end - offset, b"\0")
    binary.write_bytes(data)
    return True


def _library_path(data: bytearray) -> int | None:
    """Where the string of DT_RUNPATH or DT_RPATH stands in the file (System V ABI, chapter 5)."""
    table = struct.unpack_from("<Q", data, 0x28)[0]
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    for section in sections:
        if section[1] != _SHT_DYNAMIC:
            continue
        strings = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], 16):
            tag, value = struct.unpack_from("<qQ", data, at)
            if tag in (_DT_RPATH, _DT_RUNPATH):
                return int(strings + value)
    return None
