"""repack itself as a conda package, for labels that bring their own agent.

It depends on what the agent and the checks need, not on what a build needs; those packages come
from the label's channels like any other. Formats: CEP 34 for ``noarch: python``.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from repack.archive.package import PackageFile, PackageSpec
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable


_LEFT_OUT = {"__pycache__"}


AGENT_PACKAGE: Final = "repack"
NEEDS: Final = (
    "python >=3.11",
    "backports.zstd >=1.0",  # a noarch package cannot leave it out for Python 3.14
    "click >=8.1",  # less than a builder needs: the agent has no completion
    "cryptography >=43",
    "msgspec >=0.21",
    "platformdirs >=4.2",
    "py-rattler >=0.26,<0.29",
    "rich >=13.8",
    "securesystemslib >=1.6",  # 1.5 takes a private key that is not the public one's
    "tuf >=6",
)


def agent_package(version: str, sources: Mapping[str, bytes]) -> PackageSpec:
    """The package ``repack``, without its build.

    Args:
        version: repack's own.
        sources: every file of the program, by path in its folder.

    Raises:
        UsageError: the version is none that conda allows.
    """
    members = [
        PackageFile.of(RelPath(f"site-packages/repack/{path}"), data)
        for path, data in sources.items()
    ]
    return PackageSpec(
        name=AGENT_PACKAGE,
        version=version,
        noarch="python",
        depends=tuple(sorted(NEEDS)),
        members=tuple(members),
        license="Apache-2.0",
        summary="Installs and rolls back releases on machines without network",
        entry_points=("repack = repack.cli.main:main",),
    )


def own_sources() -> dict[str, bytes]:
    """Every file, by path in the package's folder; what Python compiled is left out."""
    return dict(_files(resources.files("repack"), ""))


def _files(folder: Traversable, at: str) -> list[tuple[str, bytes]]:
    files = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            files += _files(entry, f"{at}{entry.name}/")
        elif entry.is_file() and not entry.name.startswith("."):
            files.append((f"{at}{entry.name}", entry.read_bytes()))
    return files
