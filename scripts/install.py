"""Installs a whole label from its channel folder: ``python -m scripts.install CHANNEL PREFIX``.

Solves on the ``file://`` channel alone, for the target profile of the demo's label, and links. The
package cache is a new one beside the prefix, so nothing of this machine's helps.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

PROFILE: Final = {"__glibc": "2.28", "__linux": "5.10", "__unix": "0", "__archspec": "1"}


async def install(channel: Path, prefix: Path, specs: list[str]) -> int:
    """Solve, link and return the number of packages."""
    import rattler

    build = {"__archspec": "x86_64"}
    machine = [
        rattler.GenericVirtualPackage(
            rattler.PackageName(name),
            rattler.Version(version),
            rattler.BuildString(build.get(name, "0")),
        )
        for name, version in PROFILE.items()
    ]
    records = await rattler.solve(
        [rattler.Channel(channel.as_uri())],
        specs,
        platforms=["linux-64", "noarch"],
        virtual_packages=machine,
    )
    await rattler.install(records, prefix, cache_dir=prefix.parent / "pkgs", show_progress=False)
    return len(records)


def main() -> None:
    """Install ``ratingpro`` and ``pip`` and leave before py-rattler's threads can crash."""
    channel, prefix = (Path(word).resolve() for word in sys.argv[1:3])
    count = asyncio.run(install(channel, prefix, sys.argv[3:] or ["ratingpro", "pip"]))
    print(f"{count} packages installed")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
