"""Reads the keys of a label that say what happens on a target: ``after_install``, ``bootstrap``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.codec.tree import ProblemList, View
    from repack.label.label import AfterInstall, Bootstrap


def read_after_install(top: View) -> dict[str, Any]:
    """The fields of a label that say what follows an update."""
    if not top.is_table("after_install"):
        return {"after_install": cast("AfterInstall", top.word("after_install", "none"))}
    words = top.view("after_install")
    return {
        "after_install": cast("AfterInstall", words.word("packages", "none")),
        "after_bundles": cast("AfterInstall", words.word("bundles", "none")),
    }


def read_bootstrap(top: View, platforms: Iterable[str], problems: ProblemList) -> Bootstrap:
    """What the label says; that no platform of it can be served so is a mistake."""
    word = top.text("bootstrap")
    if word is None or word.text == "none":
        return "none"
    subdirs = list(platforms)
    if subdirs and not any(subdir.startswith("linux-") for subdir in subdirs):
        problems.add(
            word.line,
            f"bootstrap: {word.text} is for Linux, and the label has no such platform",
            "leave it out, or add linux-64 to 'platforms'",
        )
    return "repack"
