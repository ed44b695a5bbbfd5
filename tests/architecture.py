"""The picture and the table of packages in docs/architecture.md, from the table of imports.

``python -m tests.architecture`` writes them anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.test_imports import ALLOWED, ROOT

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
MARKS = ("<!-- packages: python -m tests.architecture -->", "<!-- end -->")
# A heading this short is followed by what it means.
SHORT = 8


def layers() -> list[list[str]]:
    """Packages by how far they stand above the ground; each imports from lower layers alone."""
    heights: dict[str, int] = {}
    while len(heights) < len(ALLOWED):
        for package, (allowed, _) in ALLOWED.items():
            if package not in heights and all(name in heights for name in allowed.split()):
                heights[package] = 1 + max((heights[name] for name in allowed.split()), default=-1)
    return [
        sorted(package for package, height in heights.items() if height == level)
        for level in range(1 + max(heights.values()))
    ]


def reachable(package: str) -> set[str]:
    """What a package may import, directly or by way of others."""
    direct = set(ALLOWED[package][0].split())
    return direct.union(*map(reachable, direct))


def arrows() -> list[tuple[str, str]]:
    """The imports that no other allowed import implies."""
    return [
        (package, name)
        for package, (allowed, _) in ALLOWED.items()
        for name in allowed.split()
        if not any(name in reachable(other) for other in allowed.split())
    ]


def picture() -> str:
    lines = ["```mermaid", "flowchart TB", "  cli[cli, plugin] --> every[all packages below]"]
    for number, packages in reversed(list(enumerate(layers(), start=1))):
        lines += [f"  subgraph layer{number} [layer {number}]", f"    {' ~~~ '.join(packages)}"]
        lines.append("  end")
    lines += [f"  {package} --> {name}" for package, name in arrows()]
    return "\n".join([*lines, "```"])


def description(package: str) -> str:
    """What a package's docstring says first."""
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))) or ""
    first, second = [" ".join(part.split()) for part in f"{text}\n\n".split("\n\n")[:2]]
    words = f"{first} {second}" if len(first.split()) < SHORT else first
    return re.sub(r"``([^`]+)``|:mod:`([^`]+)`", lambda m: f"`{m[1] or m[2]}`", words)


def table() -> str:
    lines = ["| layer | package | what is in it | may import |", "|---|---|---|---|"]
    for number, packages in enumerate(layers(), start=1):
        for package in packages:
            allowed = ", ".join(ALLOWED[package][0].split()) or "-"
            lines.append(f"| {number} | `{package}` | {description(package)} | {allowed} |")
    return "\n".join(lines)


def section() -> str:
    return f"{MARKS[0]}\n\n{picture()}\n\n{table()}\n\n{MARKS[1]}"


def main() -> None:
    page = PAGE.read_text("utf-8")
    before, _, after = page.partition(MARKS[0])
    PAGE.write_text(before + section() + after.partition(MARKS[1])[2], "utf-8")


if __name__ == "__main__":
    main()
