"""``repack label`` and ``repack diff``: build, prove, publish; say what a rebuild would change.

What they print has lines of at most 80 columns, paths and warnings aside. It is readable without
colour and when piped: every line says in words or signs what it is.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import fleet, options, output, project
from repack.display import amount, counted
from repack.errors import UsageError

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
    "replaced": "!",
}
_WORDS: Final = {"relicensed": "licence", "replaced": "content"}
# What stands in MatchSpecs, and neither in names of labels nor in patterns.
_SPEC: Final = re.compile(r"[\s<>=~|,]")
_SHOWN: Final = 20
_WARNINGS: Final = 10


@click.command()
@click.argument("words", metavar="[NAME… | NAME -c URL PACKAGE…]", nargs=-1, type=options.LABEL)
@options.channel
@options.platform
@options.labels_dir
@options.channels_dir
@options.store
@fleet.fleet_options
@click.option(
    "--env",
    type=options.FILE,
    help="`conda info --json` of an environment: ship exactly its packages.",
)
@click.option(
    "--prove",
    type=click.Choice(["linked", "solved"]),
    default=project.default("prove", lambda: "linked"),
    help="Also link into a scratch prefix where the platform is this machine's, or only solve"
    "  [default: linked].",
)
@options.date_consent
@click.option(
    "--refresh",
    type=click.Choice(["hotfixes"]),
    help="The same packages with upstream's present records: hot-fixes made since.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would change; write nothing.")
@click.option("--update", is_flag=True, help="Solve afresh even if the lock still fits.")
@click.option("--paranoid", is_flag=True, help="Hash every archive again, whatever its time says.")
@options.as_json
def command(words: tuple[str, ...], *, dry_run: bool, as_json: bool, **values: Any) -> int:
    """Build the channels of labels, prove them, publish them.

    NAMES are labels, or patterns such as 'bank-*'. Several labels are built by several workers; one
    that fails does not stop the others, and the worst exit code is the run's.

    With -c no label file is needed: the first word is the label's name, the others are its
    packages.
    """
    from repack.release.line import build
    from repack.release.preview import preview

    names, values["packages"] = read_words(words, **values)
    if not names or fleet.is_fleet(names, values):
        return fleet.build_fleet(names, values, dry_run=dry_run, as_json=as_json)
    run = preview if dry_run else build
    outcome = run(names[0], options.settings(values), output.progress())
    output.emit(outcome, _summary(outcome), as_json=as_json)
    return 0


def read_words(
    words: tuple[str, ...], channels: tuple[str, ...], platforms: object, **values: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels and, where channels are given, the packages that ``words`` name.

    Raises:
        UsageError: packages or platforms without channels, or channels without packages.
    """
    names, packages = (words[:1], words[1:]) if channels else (words, ())
    if channels and not packages and not values.get("env"):
        hint = f"repack label {words[0]} -c CHANNEL PACKAGE…"
        raise UsageError("-c is given, but no package", hint=hint)
    if channels:
        return names, packages
    if spec := next((word for word in words[1:] if _SPEC.search(word)), None):
        hint = f"to name packages, name their channel: repack label {words[0]} -c URL {spec!r}"
        raise UsageError(f"{spec!r} is no name of a label", hint=hint)
    if platforms and not values.get("env"):
        hint = "name a channel with -c, or write the platforms into the label file"
        raise UsageError("-p is for labels without a file", hint=hint)
    return names, packages


@click.command()
@click.argument("name", type=options.LABEL)
@options.labels_dir
@options.channels_dir
@options.store
@click.option("--update", is_flag=True, help="Against a fresh solve, even if the lock still fits.")
@options.as_json
def diff(name: str, *, as_json: bool, **values: object) -> None:
    """Say what a rebuild of label NAME would change; write nothing."""
    from repack.release.preview import preview

    outcome = preview(name, options.settings(values), output.progress())
    output.emit(outcome, _changelog(outcome), as_json=as_json)


def _summary(outcome: Outcome) -> Iterator[str]:
    """The end of ``repack label``: what changed, how it was proved, what to do next."""
    yield f"{_headline(outcome)} ({outcome.seconds:.1f} s)"
    yield from _platforms(outcome)
    yield from _differences(outcome, _SHOWN)
    yield from _settings(outcome, _SHOWN)
    yield from (f"  changed: {change}" for change in outcome.changes)
    yield from _warnings(outcome.warnings)
    if outcome.archives == "believed":
        yield "  archives  believed by size and time; --paranoid reads them"
    if outcome.state == "published":
        yield f"  fetched   {amount(outcome.bytes_fetched)}"
    if outcome.state != "previewed":
        yield f"  channel   {outcome.channel}"
    if outcome.state == "published":
        yield "  next      open index.html there; copy the folder to the target, and run"
        yield "            install.sh or install.cmd in it"


def _changelog(outcome: Outcome) -> Iterator[str]:
    """``repack diff``: every change, those first that need a second look."""
    yield f"{_headline(outcome)} ({outcome.seconds:.1f} s)"
    if outcome.since is None:
        yield from _platforms(outcome)
    yield from _differences(outcome, len(outcome.differences) + len(outcome.added))
    yield from _settings(outcome, len(outcome.settings))
    yield from _warnings(outcome.warnings)


def _headline(outcome: Outcome) -> str:
    if outcome.state != "previewed":
        return f"{outcome.label}: release {outcome.release} {_STATES[outcome.state]}"
    if not outcome.changed:
        return f"{outcome.label}: nothing would change"
    return f"{outcome.label}: would become release {outcome.next_release}"


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
    counts_text = ", ".join(f"{number} {word}" for word, number in counts.items())
    yield f"  since release {outcome.since}: {counts_text}; {amount(outcome.new_bytes)} new"
    yield from _lines(outcome.differences[:most])
    if len(outcome.differences) > most:
        yield f"    and {len(outcome.differences) - most} more; see index.html"


def _settings(outcome: Outcome, most: int) -> Iterator[str]:
    yield from (f"  = {change}" for change in outcome.settings[:most])
    if len(outcome.settings) > most:
        yield f"  = and {len(outcome.settings) - most} more settings; see index.html"


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
