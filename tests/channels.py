"""Small whole channels for tests, made by the functions that make real ones."""

from __future__ import annotations

import bz2
import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import zstandard
from msgspec.structs import replace

import repack.shipped
from repack.channel.layout import METADATA_DIR
from repack.channel.manifest import Artifact, Release
from repack.channel.metadata_folder import read_folder
from repack.conda.repodata import encode_json
from repack.errors import SigningDateError
from repack.file_entry import FileEntry
from repack.keys.keyring import Keyring
from repack.names import Digest, Digest384, LabelName, RelPath
from repack.trust.sign import UNSIGNED, Contents, Signing, sign

SUBDIRS = ("noarch", "linux-64", "win-64")
VERIFY = Path(repack.shipped.__file__).parent / "verify.py"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def keyring(folder: Path, environment: dict[str, str] | None = None) -> Keyring:
    return Keyring.open_or_create(folder, environment or {})


def build(
    folder: Path,
    signing: Signing = UNSIGNED,
    *,
    number: int = 1,
    label: str = "halkbank",
    moment: datetime | None = None,
    previous: dict[str, bytes] | None = None,
    ballast: bytes = b"",
) -> Path:
    """A channel of three subdirs as release ``number``; an earlier one is replaced.

    ``ballast`` makes the packages ``a`` larger.
    """
    if previous is None:
        previous = read_folder(folder / METADATA_DIR)
    if folder.exists():
        shutil.rmtree(folder)
    files: dict[str, bytes] = {
        "index.html": b"<p>report</p>",
        "repack/verify.py": VERIFY.read_bytes(),
        "repack/lock.yml": b"version: 6\n",
    }
    artifacts = []
    for subdir in SUBDIRS:
        sections: dict[str, dict[str, object]] = {"packages": {}, "packages.conda": {}}
        for name in (f"a-{number}-0.conda", "b-1-0.tar.bz2"):
            data = f"{label} {subdir} {name}".encode() * 100
            data += ballast if name[0] == "a" else b""
            path = f"{subdir}/{name}"
            files[path] = data
            sha256, sha384 = hashlib.sha256(data).hexdigest(), hashlib.sha384(data).hexdigest()
            artifacts.append(Artifact(RelPath(path), len(data), Digest(sha256), Digest384(sha384)))
            section = "packages.conda" if name.endswith(".conda") else "packages"
            sections[section][name] = {"name": name[0], "sha256": sha256, "size": len(data)}
        document = encode_json({"info": {"subdir": subdir}, **sections})
        files |= {
            f"{subdir}/repodata.json": document,
            f"{subdir}/repodata.json.zst": zstandard.compress(document),
            f"{subdir}/repodata.json.bz2": bz2.compress(document),
        }
    entries = [FileEntry.of_bytes(RelPath(path), data) for path, data in files.items()]
    moment = moment or now()
    release = Release(LabelName(label), number, SUBDIRS[1:], moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
    made = confirmed_sign(release, Contents(entries, artifacts), signing, previous, moment)
    for path, data in {**files, **made}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def confirmed_sign(release, contents, signing, previous, moment):
    """Sign with any date, as a vendor does who confirms what he is asked for."""
    while True:
        try:
            return sign(release, contents, signing, previous, moment)
        except SigningDateError as error:
            signing = replace(signing, date_consent=error.hint.rsplit(" ", 1)[1])


def flip(path: Path, where: int | None = None) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if where is None else where] ^= 1
    mode = path.stat().st_mode
    path.chmod(mode | 0o200)
    path.write_bytes(data)
    path.chmod(mode)
