"""environment.yml: the specs of a conda environment, to be solved from the label's channels.

Source: conda, ``conda env export`` and CEP 24, "environment.yml".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.codec.tree import Items, Scalar, Table
from repack.conda.match_spec import normalize_spec
from repack.inputs.pins import LockedPackages
from repack.inputs.pixi_lock import items_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.codec.tree import ProblemList


def read_environment(
    tree: Table, problems: ProblemList, check_spec: Callable[[str], str | None]
) -> LockedPackages:
    """Read its MatchSpecs; mistakes go to ``problems``."""
    dependencies = tree.get("dependencies")
    if not isinstance(dependencies, Items):
        problems.add(tree.line, "'dependencies' must be a list")
        return LockedPackages("environment")
    specs: list[str] = []
    requirements: list[str] = []
    for item in dependencies.values:
        if isinstance(item, Table):
            requirements += _read_pip(item, problems)
        elif not isinstance(item, Scalar) or item.kind != "text" or not item.text.strip():
            problems.add(item.line, "a dependency must be a text such as 'numpy >=2'")
        elif "::" in item.text:
            spec = item.text.rsplit("::", 1)[-1]
            problems.add(
                item.line,
                f"{item.text[:80]!r} names a channel",
                f"write {spec!r}: channels are the label's",
            )
        elif fault := check_spec(normalize_spec(item.text)):
            reason = " ".join(fault.split())[:160]
            problems.add(item.line, f"{item.text[:80]!r} is no MatchSpec: {reason}")
        else:
            specs.append(normalize_spec(item.text))
    if not dependencies.values:
        problems.add(dependencies.line, "'dependencies' is empty")
    notes = [
        f"'{key}' of the environment file is not used; {why}"
        for key, why in (
            ("channels", "the label's channels count"),
            ("variables", "set them on the target"),
        )
        if tree.get(key) is not None
    ]
    return LockedPackages(
        "environment",
        specs=tuple(specs),
        notes=tuple(notes),
        requirements=tuple(requirements),
    )


def _read_pip(table: Table, problems: ProblemList) -> list[str]:
    """What pip is asked for: requirements (PEP 508); its options are refused by name."""
    requirements: list[str] = []
    for entry in table.entries:
        if entry.key != "pip":
            problems.add(
                entry.line, f"'{entry.key}:' packages are no conda packages", "take them out"
            )
            continue
        for item in items_of(entry.value):
            text = text_of(item).partition(" #")[0].strip()
            if text.startswith("-") or "/" in text.partition("@")[0] or not text:
                problems.add(
                    item.line,
                    f"pip: {text[:80]!r} is no requirement of a wheel",
                    "name wheels and indexes in the label's 'wheels:', and requirements one by one",
                )
            else:
                requirements.append(text)
    return requirements
