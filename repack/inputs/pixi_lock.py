"""pixi.lock, versions 4 to 7, as far as a channel needs it.

Source: rattler, ``crates/rattler_lock``. From version 7 on an environment lists its packages by
the name of a platform, and ``platforms`` says which subdir that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.codec.tree import Items, Scalar, Table
from repack.inputs.pins import LockedPackages, Pin, WheelPin, pin_from_url, wheel_pin

if TYPE_CHECKING:
    from repack.codec.tree import Node, ProblemList

_VERSIONS: Final = ("4", "5", "6", "7")


def read_pixi_lock(
    tree: Table, problems: ProblemList, environment: str, platforms: tuple[str, ...]
) -> LockedPackages:
    """Read the pins of one environment; mistakes go to ``problems``."""
    version = text_of(tree.get("version"))
    if version not in _VERSIONS:
        problems.add(1, f"pixi.lock version {version!r} is not known", "versions 4 to 7 are read")
        return LockedPackages("pixi.lock")
    by_platform = _by_platform(tree, problems, environment)
    hashes_by_url = _hashes_by_url(tree)
    subdirs = _subdirs(tree)
    pins: dict[str, tuple[Pin, ...]] = {}
    wheels: dict[str, tuple[WheelPin, ...]] = {}
    for name, packages in by_platform.items():
        subdir = subdirs.get(name, name)
        if subdir in pins:
            problems.add(1, f"two platforms of the lock are {subdir}", "lock one of them alone")
        elif subdir in platforms:
            pins[subdir], wheels[subdir] = _read_pins(packages, hashes_by_url, problems)
    locked = {subdirs.get(name, name) for name in by_platform}
    return LockedPackages(
        "pixi.lock",
        pins=pins,
        platforms=tuple(sorted(locked)),
        wheels={subdir: rows for subdir, rows in wheels.items() if rows},
    )


def text_of(node: Node | None) -> str:
    """The text of a scalar of any kind but null; empty for other nodes."""
    return node.text if isinstance(node, Scalar) and node.kind != "null" else ""


def items_of(node: Node | None) -> tuple[Node, ...]:
    """The values of a list; none for other nodes."""
    return node.values if isinstance(node, Items) else ()


def _by_platform(
    tree: Table, problems: ProblemList, environment: str
) -> dict[str, tuple[Node, ...]]:
    environments = tree.get("environments")
    if not isinstance(environments, Table):
        problems.add(1, "'environments' must be a mapping")
        return {}
    chosen = environments.get(environment)
    packages = chosen.get("packages") if isinstance(chosen, Table) else None
    if not isinstance(packages, Table):
        names = ", ".join(entry.key for entry in environments.entries)
        problems.add(
            environments.line, f"no environment {environment!r} in the lock", f"it has: {names}"
        )
        return {}
    return {entry.key: items_of(entry.value) for entry in packages.entries}


def _subdirs(tree: Table) -> dict[str, str]:
    """Subdir by the name of a platform, from version 7 on."""
    return {
        text_of(platform.get("name")): text_of(platform.get("subdir") or platform.get("name"))
        for platform in items_of(tree.get("platforms"))
        if isinstance(platform, Table)
    }


def _hashes_by_url(tree: Table) -> dict[str, tuple[str, str]]:
    """SHA-256 and md5 by URL, whose key is ``url`` up to version 5 and ``conda`` from 6 on."""
    return {
        text_of(package.get("conda") or package.get("pypi") or package.get("url")): (
            text_of(package.get("sha256")),
            text_of(package.get("md5")),
        )
        for package in items_of(tree.get("packages"))
        if isinstance(package, Table)
    }


def _read_pins(
    packages: tuple[Node, ...], hashes_by_url: dict[str, tuple[str, str]], problems: ProblemList
) -> tuple[tuple[Pin, ...], tuple[WheelPin, ...]]:
    pins: list[Pin] = []
    wheels: list[WheelPin] = []
    for package in packages:
        if not isinstance(package, Table):
            problems.add(package.line, "a package of the lock must be a mapping")
            continue
        url, wheel = text_of(package.get("conda")), text_of(package.get("pypi"))
        if wheel:
            try:
                wheels.append(wheel_pin(wheel, hashes_by_url.get(wheel, ("", ""))[0]))
            except ValueError as error:
                problems.add(package.line, str(error))
            continue
        if not url:
            kind, source = next(((e.key, text_of(e.value)) for e in package.entries), ("?", ""))
            problems.add(
                package.line,
                f"{kind} package {source.rsplit('/', 1)[-1][:120]!r} is no conda package",
                "have it packed for conda, or take it out of the environment",
            )
            continue
        try:
            pins.append(pin_from_url(url, *hashes_by_url.get(url, ("", ""))))
        except ValueError as error:
            problems.add(package.line, str(error))
    return tuple(pins), tuple(wheels)
