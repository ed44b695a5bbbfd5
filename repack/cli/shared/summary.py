"""What a build did or would do, in lines of at most 80 columns, paths and warnings aside.

Readable without colour and when piped: every line says in words or signs what it is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from repack.display import amount, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.release.outcome import Outcome
    from repack.report.document import Difference

_STATES: Final = {
    "published": "published",
    "unchanged": "is unchanged",
    "repaired": "was damaged and is whole again",
}
_PROOFS: Final = {"linked": "proved by installing", "solved": "proved by solving"}
_SIGNS: Final = {
    "added": "+",
    "removed": "-",
    "updated": "^",
    "rebuilt": "^",
    "downgraded": "!",
    "relicensed": "!",
}
_WORDS: Final = {"relicensed": "licence"}
_SHOWN: Final = 20
_WARNINGS: Final = 10


def summary(outcome: Outcome) -> str:
    """The end of ``repack label``: what changed, how it was proved, what to do next."""
    lines = [f"{_headline(outcome)} ({outcome.seconds:.1f} s)", *_platforms(outcome)]
    lines += _differences(outcome, _SHOWN)
    lines += [f"  changed: {change}" for change in outcome.changes]
    lines += _warnings(outcome.warnings)
    if outcome.state == "published":
        lines.append(f"  fetched   {amount(outcome.bytes_fetched)}")
    if outcome.state != "previewed":
        lines.append(f"  channel   {outcome.channel}")
    if outcome.state == "published":
        lines.append("  next      open index.html there; copy the folder to the target, and run")
        lines.append("            install.sh or install.cmd in it")
    return "\n".join(lines)


def changelog(outcome: Outcome) -> str:
    """``repack diff``: every change, those first that need a second look."""
    lines = [f"{_headline(outcome)} ({outcome.seconds:.1f} s)"]
    if outcome.since is None:
        lines += _platforms(outcome)
    lines += _differences(outcome, len(outcome.differences) + len(outcome.added))
    lines += _warnings(outcome.warnings)
    return "\n".join(lines)


def _headline(outcome: Outcome) -> str:
    if outcome.state != "previewed":
        return f"{outcome.label}: release {outcome.release} {_STATES[outcome.state]}"
    if not outcome.changed:
        return f"{outcome.label}: nothing would change"
    return f"{outcome.label}: would become release {outcome.release + 1}"


def _platforms(outcome: Outcome) -> Iterator[str]:
    for subdir, platform in outcome.platforms.items():
        size = f"{counted(platform.packages, 'package')}, {amount(platform.bytes)}"
        proof = "" if outcome.state == "previewed" else f", {_PROOFS[platform.proof.mode]}"
        yield f"  {subdir:<9} {size}{proof}"
        if platform.longest_prefix is not None:
            room = platform.longest_prefix
            yield f"            without long paths a prefix may have {room} characters"


def _differences(outcome: Outcome, most: int) -> Iterator[str]:
    if outcome.since is None:
        if outcome.state == "published":
            return
        yield from (f"  + {path}" for path in outcome.added[:most])
        if len(outcome.added) > most:
            yield f"  + and {len(outcome.added) - most} more"
        return
    if not outcome.differences:
        return
    counts = Counter(_WORDS.get(change.step, change.step) for change in outcome.differences)
    said = ", ".join(f"{number} {word}" for word, number in counts.items())
    yield f"  since release {outcome.since}: {said}; {amount(outcome.new_bytes)} new"
    yield from _lines(outcome.differences[:most])
    if len(outcome.differences) > most:
        yield f"    and {len(outcome.differences) - most} more; see index.html"


def _lines(changes: tuple[Difference, ...]) -> Iterator[str]:
    names = min(30, max((len(change.name) for change in changes), default=0))
    for change in changes:
        word = _WORDS.get(change.step, change.step)
        versions = " -> ".join(filter(None, (change.before, change.after)))
        relicensed = (
            change.before and change.after and change.licence_before != change.licence_after
        )
        if relicensed:
            old, new = change.licence_before or "none", change.licence_after or "none"
            versions = (
                f"{versions}, {old} -> {new}" if change.step != "relicensed" else f"{old} -> {new}"
            )
        where = ", ".join(change.platforms)
        yield f"  {_SIGNS[change.step]} {word:<10} {change.name:<{names}}  {versions}  ({where})"


def _warnings(warnings: tuple[str, ...]) -> Iterator[str]:
    yield from (f"  warning: {warning}" for warning in warnings[:_WARNINGS])
    if len(warnings) > _WARNINGS:
        yield f"  warning: and {len(warnings) - _WARNINGS} more; see index.html"
