"""conda-lock.yml, version 1 (conda-lock 1 to 4).

Source: conda-lock, ``conda_lock/lockfile/v1/models.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.codec.tree import Table
from repack.inputs.pins import LockedPackages, Pin, WheelPin, pin_from_url, wheel_pin
from repack.inputs.pixi_lock import items_of, text_of

if TYPE_CHECKING:
    from repack.codec.tree import ProblemList


def read_conda_lock(
    tree: Table, problems: ProblemList, categories: tuple[str, ...], platforms: tuple[str, ...]
) -> LockedPackages:
    """Read the pins of the chosen categories; mistakes go to ``problems``."""
    version = text_of(tree.get("version"))
    if version != "1":
        problems.add(1, f"conda-lock version {version!r} is not known", "version 1 is read")
        return LockedPackages("conda-lock")
    pins: dict[str, list[Pin]] = {}
    wheels: dict[str, list[WheelPin]] = {}
    count_by_category: dict[str, int] = {}  # of packages left out
    for package in items_of(tree.get("package")):
        if not isinstance(package, Table):
            problems.add(package.line, "a package of the lock must be a mapping")
            continue
        platform, category = text_of(package.get("platform")), text_of(package.get("category"))
        if category and category not in categories:
            count_by_category[category] = count_by_category.get(category, 0) + 1
            continue
        platform_pins = pins.setdefault(platform, [])
        if platform in platforms and text_of(package.get("manager")) == "pip":
            wheels.setdefault(platform, []).extend(_read_wheel(package, problems))
        elif platform in platforms and (pin := _read_pin(package, problems)):
            platform_pins.append(pin)
    if count_by_category and not pins:
        problems.add(
            1,
            f"no package of category {' or '.join(categories)} in the lock",
            f"name one with from: {{file: …, categories: [{', '.join(count_by_category)}]}}",
        )
    return LockedPackages(
        "conda-lock",
        pins={platform: tuple(pins[platform]) for platform in platforms if platform in pins},
        platforms=tuple(sorted(pins)),
        notes=tuple(
            f"{count} packages of category {category!r} were left out"
            for category, count in sorted(count_by_category.items())
        ),
        wheels={platform: tuple(rows) for platform, rows in wheels.items() if rows},
    )


def _read_wheel(package: Table, problems: ProblemList) -> list[WheelPin]:
    digest = package.get("hash")
    sha256 = text_of(digest.get("sha256")) if isinstance(digest, Table) else ""
    name, version = text_of(package.get("name")), text_of(package.get("version"))
    try:
        return [wheel_pin(text_of(package.get("url")), sha256, name, version)]
    except ValueError as error:
        problems.add(package.line, str(error))
        return []


def _read_pin(package: Table, problems: ProblemList) -> Pin | None:
    manager = text_of(package.get("manager"))
    if manager != "conda":
        problems.add(
            package.line,
            f"{manager} package {text_of(package.get('name'))[:120]!r} is no conda package",
            "have it packed for conda, or take it out of the environment",
        )
        return None
    digest = package.get("hash")
    hashes = digest if isinstance(digest, Table) else Table(package.line, ())
    try:
        return pin_from_url(
            text_of(package.get("url")), text_of(hashes.get("sha256")), text_of(hashes.get("md5"))
        )
    except ValueError as error:
        problems.add(package.line, str(error))
        return None
