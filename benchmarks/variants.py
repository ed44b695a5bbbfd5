"""Upstreams that differ by one package, so that a rebuild has something to fetch.

Each variant holds all files of the upstream as links and one more build of a small package, in
archive and repodata.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import zstandard

from benchmarks.upstream import REQUEST
from repack.wheels.requirements import Machine
from scripts import cpython
from scripts.wheels import Wheel, convert

if TYPE_CHECKING:
    from pathlib import Path

CHANGED: Final = "six"


def make(upstream: Path, variant: Path, number: int) -> None:
    """Make ``variant``, where :data:`CHANGED` has build number ``number``."""
    if variant.exists():
        return
    shutil.copytree(upstream, variant, copy_function=os.link)
    machine = Machine("linux-64", cpython.version())
    wheels = upstream.with_name(f"{upstream.name}-wheels") / REQUEST.key() / "linux-64"
    wheel = Wheel.read(next(wheels.glob(f"{CHANGED}-*.whl")))
    (recipe,) = wheel.recipes(machine)
    archive = convert(wheel, replace(recipe, build=f"py_{number}"), variant, machine)
    file = variant / "noarch" / "repodata.json"
    repodata = json.loads(file.read_bytes())
    packages = repodata["packages.conda"]
    old = next(record for record in packages.values() if record["name"] == CHANGED)
    data = archive.read_bytes()
    packages[archive.name] = {
        **old,
        "build": f"py_{number}",
        "build_number": number,
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    text = json.dumps(repodata).encode()
    for path, content in ((file, text), (file.with_suffix(".json.zst"), zstandard.compress(text))):
        # Not in place: the file is a link to the one of the upstream.
        path.unlink()
        path.write_bytes(content)


def switch(link: Path, variant: Path) -> None:
    """Let the served folder ``link`` be ``variant``."""
    beside = link.with_name(f"{link.name}.new")
    beside.symlink_to(variant.name)
    beside.replace(link)
