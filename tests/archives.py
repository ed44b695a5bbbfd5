"""Makes package archives by hand, good and bad ones, and records that fit them."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import Any

import zstandard

from repack.conda.record import Record


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = kind, target, 1_700_000_000
    return info


def tar(members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def unpack(archive: tarfile.TarFile, folder) -> None:
    """All of it, as a careful user does; Python 3.11.2 of Debian 12 has no filters yet."""
    archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


@dataclass
class Package:
    """A package to be made.

    `files` is what it installs; `extra` are members nobody lists; `info` adds to or replaces what
    lies under info/ (None removes it).
    """

    name: str = "thing"
    version: str = "1.0"
    build: str = "0"
    subdir: str = "linux-64"
    files: dict[str, bytes] = field(default_factory=lambda: {"lib/thing.txt": b"thing\n"})
    extra: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)
    index: dict[str, Any] = field(default_factory=dict)
    info: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def dist(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    def info_files(self) -> dict[str, bytes]:
        index = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": [],
            "subdir": self.subdir,
            **self.index,
        }
        rows = [
            {"_path": name, "path_type": "hardlink", "size_in_bytes": len(data)}
            for name, data in self.files.items()
        ]
        given = {
            "info/index.json": json.dumps(index).encode(),
            "info/paths.json": json.dumps({"paths": rows, "paths_version": 1}).encode(),
            **self.info,
        }
        return {name: data for name, data in given.items() if data is not None}

    def info_tar(self) -> bytes:
        return tar([(member(name), data) for name, data in self.info_files().items()])

    def payload(self) -> list[tuple[tarfile.TarInfo, bytes]]:
        return [(member(name), data) for name, data in self.files.items()] + self.extra

    def conda(self) -> bytes:
        return zipped(
            {
                "metadata.json": b'{"conda_pkg_format_version": 2}',
                f"pkg-{self.dist}.tar.zst": zstandard.compress(tar(self.payload())),
                f"info-{self.dist}.tar.zst": zstandard.compress(self.info_tar()),
            }
        )

    def bz2(self, order: str = "info first") -> bytes:
        info = [(member(name), data) for name, data in self.info_files().items()]
        payload = self.payload()
        return bz2.compress(tar(info + payload if order == "info first" else payload + info))

    def record(self, data: bytes, suffix: str = ".conda", **changes: Any) -> Record:
        raw = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": [],
            "subdir": self.subdir,
            **self.index,
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            **changes,
        }
        raw = {key: value for key, value in raw.items() if value is not None}
        fn = self.dist + suffix
        return Record.of(raw, fn, f"https://upstream.example.org/{self.subdir}/{fn}")


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()
