"""Packs a linked environment so that a shell can unpack it anywhere, as conda-pack does.

The environment is linked with one long prefix written into its files, :func:`packed_prefix`, whatever
placeholders its packages were built with. Where that stands is listed beside it, in
``.repack/relocate.txt``, one place a line, tabs between the columns::

    text    -                    bin/2to3
    string  END OFFSET OFFSET…   lib/libpython3.11.so.1.0

``text`` files get another prefix wherever the packed one stands. A ``string`` is a C string of a
binary file: ``OFFSET`` is where the prefix stands in it, ``END`` where its NUL is; it may get shorter
and is filled up with NULs (conda's rule for ``file_mode: binary``). ``repack/shipped/unpack.sh`` reads
the list.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any, Final

from repack.errors import ProofError
from repack.fs import atomic
from repack.prefix.conda_meta import read_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# Longer ones do not fit into a `#!` line: Linux takes 127 bytes, and there is a program behind it.
LONGEST: Final = 100
# As short as the oldest packages need it: conda-build's placeholder had 32 bytes once.
SHORTEST: Final = 24
_STEM: Final = "/opt/repack_prefix_"
RELOCATE: Final = ".repack/relocate.txt"
MADE: Final = ".repack/made.json"
# Of the linker alone: rattler's mark for backup programs, and files that two packages bring.
_LEFT_OUT: Final = frozenset({"CACHEDIR.TAG", "__clobbers__"})
_OF_THE_HOST: Final = frozenset({"extracted_package_dir", "package_tarball_full_path", "link"})


def packed_prefix(length: int = LONGEST) -> str:
    """The prefix to link with, of ``length`` bytes: as long as an unpacked one may get."""
    return _STEM + "_" * (length - len(_STEM))


def shortest_placeholder(prefix: Path) -> int:
    """How long a prefix may be for every binary file of a linked environment, 100 bytes at most."""
    lengths = (
        len(str(path["prefix_placeholder"]))
        for meta in read_meta(prefix, prefix).values()
        for path in _prefixed(meta)
        if path.get("file_mode") == "binary"
    )
    return min(LONGEST, *lengths, LONGEST)


def _prefixed(meta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    paths = (meta.get("paths_data") or {}).get("paths") or ()
    return (path for path in paths if path.get("prefix_placeholder"))


def pack_environment(
    prefix: Path, packed: str, label: str, target: Path, done: Callable[[int], None]
) -> None:
    """Write the linked environment ``prefix`` to the ``.tar.gz`` file ``target``.

    The same environment gives the same bytes. What tells of this machine (paths of its package
    cache, owners) is left out.

    Args:
        packed: the prefix that stands in its files.
        label: whose environment it is, for the one who removes it.
        done: gets the number of bytes that were packed.

    Raises:
        ProofError: a file that has to be rewritten has a tab or a line end in its name.
        SpaceError: the disk is full.
    """
    binary = {
        str(path["_path"])
        for meta in read_meta(prefix, prefix).values()
        for path in _prefixed(meta)
        if path.get("file_mode") == "binary"
    }
    rows: list[str] = []
    with (
        atomic.os_errors_at(target),
        target.open("xb") as stream,
        gzip.GzipFile("", "wb", 6, stream, mtime=0) as packer,
        # GNU's form of long names is the one that every tar reads, busybox's included.
        tarfile.open(fileobj=packer, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in _paths(prefix):
            member = _member(prefix, path)
            if not member.isreg():
                tar.addfile(member)
                continue
            data = (prefix / path).read_bytes()
            if path.startswith("conda-meta/") and path.endswith(".json"):
                data = _without_host(json.loads(data), packed)
            rows += _places(path, data, packed.encode(), is_binary=path in binary)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            done(len(data))
        for path, text in (
            (RELOCATE, "".join(rows)),
            (MADE, json.dumps({"label": label}) + "\n"),
        ):
            member = tarfile.TarInfo(path)
            data = text.encode("utf-8", "surrogateescape")
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))


def _paths(root: Path) -> list[str]:
    paths: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}{entry.name}"
                if path in _LEFT_OUT:
                    continue
                paths.append(path)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
    return sorted(paths)


def _member(prefix: Path, path: str) -> tarfile.TarInfo:
    """The entry of ``path``: its owner may write, for files are rewritten when they are unpacked."""
    status = (prefix / path).lstat()
    member = tarfile.TarInfo(path)
    # Compiled Python code is valid for the very time of its source.
    member.mtime = int(status.st_mtime)
    member.mode = 0o755 if status.st_mode & 0o111 else 0o644
    if stat.S_ISLNK(status.st_mode):
        member.type, member.mode = tarfile.SYMTYPE, 0o777
        member.linkname = os.fspath((prefix / path).readlink())
    elif stat.S_ISDIR(status.st_mode):
        member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, 0
    elif path.startswith("conda-meta/"):
        member.mtime = 0
    return member


def _without_host(meta: dict[str, Any], packed: str) -> bytes:
    """A record of conda-meta that names no path of this machine."""
    meta = {name: value for name, value in meta.items() if name not in _OF_THE_HOST}
    # Where install.sh puts a copy of the channel, if it has to make one.
    meta["channel"] = f"file://{packed}/.repack/channel"
    meta["url"] = f"{meta['channel']}/{meta['subdir']}/{meta['fn']}"
    for path in (meta.get("paths_data") or {}).get("paths") or ():
        if path.get("prefix_placeholder"):
            path.pop("sha256_in_prefix", None)
    return json.dumps(meta, indent=2).encode() + b"\n"


def _places(path: str, data: bytes, packed: bytes, *, is_binary: bool) -> Iterator[str]:
    at = data.find(packed)
    if at < 0:
        return
    if {"\t", "\n"} & set(path):
        raise ProofError("a file's name cannot be listed", where=path)
    if not is_binary and b"\0" not in data:
        yield f"text\t-\t{path}\n"
        return
    while at >= 0:
        end = data.find(b"\0", at)
        end = len(data) if end < 0 else end
        offsets = []
        while 0 <= at < end:
            offsets.append(str(at))
            at = data.find(packed, at + len(packed))
        yield f"string\t{end} {' '.join(offsets)}\t{path}\n"
