"""A channel of a few kilobytes that every client can install from.

The archives are written by hand, member by member, because this is test data for what clients
read: ``info/index.json``, ``info/paths.json``, ``info/files`` and, for noarch python packages,
``info/link.json`` (conda 4.3 links none without it). ``python`` is a shell script that runs the
Python of the tests: enough for clients to link noarch python packages.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["conda", "tar.bz2"]
PLACEHOLDER = "/opt/placehold_" + "p" * 200
# The sandbox of a proof shows the system's programs alone.
PYTHON = f"""#!/bin/sh
for python in {sys.executable} /usr/local/bin/python3 /usr/bin/python3; do
    if [ -x "$python" ]; then exec "$python" "$@"; fi
done
exit 127
"""


@dataclass(frozen=True)
class Package:
    """What one archive holds. ``hotfix`` replaces fields in the repodata only.

    ``about`` becomes ``info/about.json``.
    """

    name: str
    version: str = "1.0"
    depends: tuple[str, ...] = ()
    subdir: str = "linux-64"
    noarch: str | None = None
    build: str = "0"
    files: dict[str, str] = field(default_factory=dict)
    hotfix: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def dist(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    def index(self) -> dict[str, Any]:
        index: dict[str, Any] = {
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "license": "MIT",
            "name": self.name,
            "subdir": self.subdir,
            "timestamp": 1700000000000,
            "version": self.version,
        }
        return {**index, "noarch": self.noarch} if self.noarch else index


# What a customer's `prometeia` channel looks like, in little: a noarch python package with pip
# behind it, a package that wants a glibc, a data package, and one whose archive is wrong and whose
# repodata is right (`gone` exists nowhere).
PACKAGES = (
    Package("python", "3.9.7", files={"bin/python": PYTHON, "bin/python3.9": PYTHON}),
    Package(
        "pip",
        "24.0",
        ("python >=3.7",),
        "noarch",
        "python",
        "pyh0_0",
        {"site-packages/pip/__init__.txt": "pip\n"},
    ),
    Package(
        "tiny-lib", "1!2.0+x", ("__glibc >=2.17",), files={"lib/tiny.txt": PLACEHOLDER + "/x\n"}
    ),
    Package("tiny-data", "1.0", (), "noarch", "generic", files={"share/tiny/ä b.txt": "data\n"}),
    Package(
        "tiny-app",
        "2.0",
        ("python >=3.6", "tiny-lib >=1!1", "tiny-data", "gone"),
        "noarch",
        "python",
        "py_0",
        {"site-packages/tiny_app/hello.txt": "hello\n"},
        {"depends": ["python >=3.6", "tiny-lib >=1!1", "tiny-data"]},
    ),
)
# The same for Windows: only what differs.
WINDOWS = (
    Package("python", "3.9.7", subdir="win-64", files={"python.exe": "MZ\n"}),
    Package("tiny-lib", "1!2.0+x", ("__win",), "win-64", files={"Library/tiny.txt": "x\n"}),
)


def old(package: Package) -> Package:
    """``package`` as conda 4.3 can use it: no dependency on a virtual package."""
    depends = tuple(spec for spec in package.depends if not spec.startswith("__"))
    return Package(**{**package.__dict__, "depends": depends})


def channel(root: Path, packages: tuple[Package, ...] = PACKAGES, form: Format = "conda") -> Path:
    """Write a whole channel, all subdirs of ``packages`` and ``noarch``."""
    for subdir in {"noarch", "linux-64", *(package.subdir for package in packages)}:
        records = {}
        (root / subdir).mkdir(parents=True, exist_ok=True)
        for package in (p for p in packages if p.subdir == subdir):
            file = archive(package, root / subdir, form)
            data = file.read_bytes()
            hashes = {h: hashlib.new(h, data).hexdigest() for h in ("md5", "sha256")}
            records[file.name] = {**package.index(), **hashes, "size": len(data), **package.hotfix}
        write_repodata(root / subdir, records)
    return root


def write_repodata(folder: Path, records: dict[str, Any]) -> None:
    """``repodata.json`` and what clients read before it."""
    import zstandard

    repodata = {
        "info": {"subdir": folder.name},
        "packages": {fn: r for fn, r in records.items() if fn.endswith(".tar.bz2")},
        "packages.conda": {fn: r for fn, r in records.items() if fn.endswith(".conda")},
        "removed": [],
        "repodata_version": 1,
    }
    data = json.dumps(repodata, sort_keys=True).encode()
    (folder / "repodata.json").write_bytes(data)
    (folder / "repodata.json.bz2").write_bytes(bz2.compress(data))
    (folder / "repodata.json.zst").write_bytes(zstandard.compress(data))


def archive(package: Package, folder: Path, form: Format) -> Path:
    """Write the archive of ``package`` into ``folder``; the same package gives the same bytes."""
    members = _members(package)
    if form == "tar.bz2":
        file = folder / f"{package.dist}.tar.bz2"
        file.write_bytes(bz2.compress(_tar(members)))
        return file
    import zstandard

    file = folder / f"{package.dist}.conda"
    parts = {
        "metadata.json": b'{"conda_pkg_format_version": 2}',
        f"pkg-{package.dist}.tar.zst": {n: d for n, d in members.items() if n[:5] != "info/"},
        f"info-{package.dist}.tar.zst": {n: d for n, d in members.items() if n[:5] == "info/"},
    }
    with zipfile.ZipFile(file, "w") as zipped:
        for name, part in parts.items():
            data = part if isinstance(part, bytes) else zstandard.compress(_tar(part))
            zipped.writestr(zipfile.ZipInfo(name), data)
    return file


def _tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mtime = 1700000000
            member.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def _members(package: Package) -> dict[str, bytes]:
    files = {name: text.encode() for name, text in package.files.items()}
    prefixed = {name for name, data in files.items() if PLACEHOLDER.encode() in data}
    info: dict[str, Any] = {
        "index.json": package.index(),
        "paths.json": {
            "paths": [_path(name, data, name in prefixed) for name, data in sorted(files.items())],
            "paths_version": 1,
        },
    }
    if package.about:
        info["about.json"] = package.about
    if package.noarch == "python":
        info["link.json"] = {"noarch": {"type": "python"}, "package_metadata_version": 1}
    members = {f"info/{name}": json.dumps(data).encode() for name, data in info.items()}
    members["info/files"] = "".join(f"{name}\n" for name in sorted(files)).encode()
    if prefixed:
        lines = [f'"{PLACEHOLDER}" {_mode(files[name])} "{name}"\n' for name in sorted(prefixed)]
        members["info/has_prefix"] = "".join(lines).encode()
    return {**members, **files}


def _path(name: str, data: bytes, prefixed: bool) -> dict[str, Any]:  # noqa: FBT001
    path: dict[str, Any] = {
        "_path": name,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    return (
        {**path, "file_mode": _mode(data), "prefix_placeholder": PLACEHOLDER} if prefixed else path
    )


def _mode(data: bytes) -> str:
    return "binary" if b"\0" in data else "text"
