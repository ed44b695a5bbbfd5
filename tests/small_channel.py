"""A small published channel, with a lock, signed as builds sign it."""

from __future__ import annotations

import bz2
import hashlib
from importlib import resources

import zstandard

from repack import host, shipped
from repack.channel.manifest import Artifact, Release
from repack.conda.record import Record
from repack.conda.repodata import encode_json
from repack.conda.virtual_packages import TargetProfile
from repack.file_entry import FileEntry
from repack.fs import atomic
from repack.names import Digest384, LabelName, RelPath
from repack.solve.lockfile import write_lock
from repack.timestamps import stamp
from repack.trust.sign import Contents, Signing, sign
from tests.licensing import KEY, NOW

UPSTREAM = "https://conda.example.org/t/SECRET-TOKEN/prometeia"


def record(name, body, subdir="noarch"):
    digest = hashlib.sha256(body).hexdigest()
    raw = {"name": name, "version": "1.0", "build": "0", "build_number": 0, "subdir": subdir,
           "sha256": digest, "size": len(body), "depends": [], "md5": "0" * 32}  # fmt: skip
    fn = f"{name}-1.0-0.conda"
    return Record.of(raw, fn, f"{UPSTREAM}/{subdir}/{fn}")


def channel_at(folder, release=1, content=b"pytho", keys=None):
    """Write release ``release`` of label halkbank into ``folder``."""
    moment = host.now() if keys else NOW
    bodies = {"pytho": content, "ratingpro": b"ratingpro", "halkbank-models": b"models"}
    records = {name: record(name, body) for name, body in bodies.items()}
    upstream = [records["pytho"], records["ratingpro"]]
    index = {"packages": {}, "packages.conda": {one.fn: dict(one.raw) for one in records.values()}}
    texts = {
        "repack/verify.py": (resources.files(shipped) / "verify.py").read_bytes(),
        "repack/lock.yml": write_lock([UPSTREAM], {TargetProfile.of("linux-64"): upstream}),
    }
    for subdir, sections in (("noarch", index), ("linux-64", {})):
        document = encode_json({"info": {"subdir": subdir}, **sections})
        texts |= {
            f"{subdir}/repodata.json": document,
            f"{subdir}/repodata.json.zst": zstandard.compress(document),
            f"{subdir}/repodata.json.bz2": bz2.compress(document),
        }
    texts |= {str(records[name].path): body for name, body in bodies.items()}
    entries = [FileEntry.of_bytes(RelPath(path), body) for path, body in texts.items()]
    artifacts = [
        Artifact(
            one.path, one.size, one.sha256, Digest384(hashlib.sha384(bodies[name]).hexdigest())
        )
        for name, one in records.items()
    ]
    state = Release(LabelName("halkbank"), release, ("linux-64",), stamp(moment))
    texts |= sign(state, Contents(entries, artifacts), Signing(KEY, keys), None, moment)
    for path, body in texts.items():
        atomic.write(folder / path, body)
    return folder
