"""A small published channel, with a lock, signed as builds sign it."""

from __future__ import annotations

import hashlib
import json

from repack.model.dates import stamp
from repack.model.integrity import Entry
from repack.model.manifest import Artifact
from repack.model.names import Digest, Digest384, LabelName, RelPath
from repack.model.profile import Profile
from repack.model.record import Record
from repack.model.release import Release
from repack.places import files
from repack.places.lockfile import write_lock
from repack.steps.sign import Contents, Signing, sign
from tests.licensing import KEY, NOW

UPSTREAM = "https://conda.example.org/t/SECRET-TOKEN/prometeia"


def record(name, data, subdir="noarch"):
    digest = hashlib.sha256(data).hexdigest()
    raw = {"name": name, "version": "1.0", "build": "0", "build_number": 0, "subdir": subdir,
           "sha256": digest, "size": len(data), "depends": [], "md5": "0" * 32}  # fmt: skip
    fn = f"{name}-1.0-0.conda"
    return Record.of(raw, fn, f"{UPSTREAM}/{subdir}/{fn}")


def channel_at(folder, release=1, content=b"pytho"):
    """Write release ``release`` of label halkbank into ``folder``."""
    bodies = {"pytho": content, "ratingpro": b"ratingpro", "halkbank-models": b"models"}
    records = {name: record(name, data) for name, data in bodies.items()}
    upstream = [records["pytho"], records["ratingpro"]]
    texts = {
        "repack/lock.yml": write_lock([UPSTREAM], {Profile.of("linux-64"): upstream}),
        "noarch/repodata.json": json.dumps({"packages.conda": {}}).encode(),
        "linux-64/repodata.json": b"{}",
    }
    texts |= {str(records[name].path): data for name, data in bodies.items()}
    entries = [
        Entry(RelPath(path), Digest(hashlib.sha256(data).hexdigest()), len(data))
        for path, data in texts.items()
    ]
    artifacts = [
        Artifact(
            one.path, one.size, one.sha256, Digest384(hashlib.sha384(bodies[name]).hexdigest())
        )
        for name, one in records.items()
    ]
    state = Release(LabelName("halkbank"), release, ("linux-64",), stamp(NOW))
    texts |= sign(state, Contents(entries, artifacts), Signing(hmac=KEY), None, NOW)
    for path, data in texts.items():
        files.write(folder / path, data)
    return folder
