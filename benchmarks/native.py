"""py-rattler alone, as the yardstick: ``python -m benchmarks.native WHAT ARGUMENT …``.

- ``solve URL SPEC …``: solve for linux-64 and print the number of records.
- ``install URL PREFIX CACHE SPEC …``: solve and link with a package cache.
- ``link CHANNEL PREFIX CACHE``: link what a channel of repack brings to linux-64.
- ``index FOLDER``: ``index_fs`` with ``force``.
- ``lock URL FILE SPEC …``: solve and write a ``pixi.lock``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import rattler

PROFILE: Final = {"__glibc": "2.28", "__linux": "5.10", "__unix": "0", "__archspec": "1"}


async def solve(url: str, specs: list[str]) -> list[rattler.RepoDataRecord]:
    """The records for ``specs`` from one channel, pip included as repack and conda do."""
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
    return await rattler.solve(
        [rattler.Channel(url)],
        specs,
        gateway=rattler.Gateway(cache_dir=Path(os.environ["BENCH_REPODATA_CACHE"])),
        platforms=["linux-64", "noarch"],
        virtual_packages=machine,
        add_pip_as_python_dependency=True,
    )


async def install(url: str, prefix: str, cache: str, *specs: str) -> int:
    """Solve and link."""
    import rattler

    records = await solve(url, list(specs))
    await rattler.install(records, prefix, cache_dir=Path(cache), show_progress=False)
    return len(records)


async def link(folder: str, prefix: str, cache: str) -> int:
    """Link the packages of a release, by the records of its channel."""
    import rattler

    channel = Path(folder)
    plan = json.loads((channel / "repack/install.json").read_bytes())
    wanted = set(plan["subdirs"]["linux-64"]["packages"])
    records = []
    for subdir in ("noarch", "linux-64"):
        where = channel / subdir
        repodata = rattler.RepoData.from_path(where / "repodata.json")
        for record in repodata.into_repo_data(rattler.Channel(channel.as_uri())):
            if record.file_name.removesuffix(".conda") in wanted:
                record.url = (where / record.file_name).as_uri()
                records.append(record)
    await rattler.install(
        records,
        prefix,
        cache_dir=Path(cache),
        installed_packages=[],
        execute_link_scripts=False,
        show_progress=False,
    )
    return len(records)


async def index(folder: str) -> int:
    """Re-read every archive of a channel."""
    from rattler.index import index_fs

    await index_fs(Path(folder), write_zst=True, write_shards=False, force=True)
    return 0


async def lock(url: str, file: str, *specs: str) -> int:
    """Solve and write the lock that conda-ship reads."""
    from rattler.lock import LockChannel, LockFile, LockPlatform

    records = await solve(url, list(specs))
    platform = LockPlatform("linux-64")
    made = LockFile([platform])
    made.set_channels("default", [LockChannel(url)])
    for record in records:
        made.add_conda_package("default", platform, record)
    made.to_path(Path(file))
    return len(records)


async def count(url: str, *specs: str) -> int:
    """Solve only."""
    return len(await solve(url, list(specs)))


def main() -> None:
    """Do one thing and leave before py-rattler's threads can crash."""
    what, *arguments = sys.argv[1:]
    verbs: dict[str, Callable[..., Coroutine[None, None, int]]]
    verbs = {"solve": count, "install": install, "link": link, "index": index, "lock": lock}
    print(asyncio.run(verbs[what](*arguments)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
