"""``repack label`` for many labels: its options, and what it prints."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from repack.cli.shared import options, output
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repack.fleet.result import LabelResult

F = TypeVar("F", bound="Callable[..., Any]")

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Span(click.ParamType[float]):
    """A span of time such as ``90``, ``15m`` or ``2h``, in seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        match = _SPAN.fullmatch(str(value).strip())
        if not match:
            self.fail(f"{value!r} is no span of time; write 90s, 15m or 2h", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


def fleet_options(command: F) -> F:
    """The options that concern many labels."""
    for option in (
        click.option("--all", "every", is_flag=True, help="Build every label of the folder."),
        click.option("--exclude", multiple=True, help="Not these, by name or pattern."),
        click.option(
            "--changed-only",
            is_flag=True,
            help="Only labels whose file, lock or bundles are newer than their channel.",
        ),
        click.option(
            "--retry-failed", is_flag=True, help="Only what failed or was left last time."
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=lambda: min(4, os.cpu_count() or 1),
            help="How many labels at once [default: one per core, 4 at most].",
        ),
        click.option("--budget", type=Span(), help="Begin no label after this time, such as 2h."),
        click.option("--label-timeout", type=Span(), help="Stop a label that takes longer."),
        click.option("--fail-fast", is_flag=True, help="Begin no label after the first failure."),
    ):
        command = option(command)
    return command


def is_fleet(names: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Whether a call is about many labels."""
    from repack.fleet.selection import is_pattern

    flags = ("every", "changed_only", "retry_failed")
    return any(values[flag] for flag in flags) or len(names) > 1 or any(map(is_pattern, names))


def build_fleet(
    names: Sequence[str], values: Mapping[str, Any], *, dry_run: bool, as_json: bool
) -> int:
    """Build many labels; ends with the worst of their codes.

    Raises:
        UsageError: nothing was chosen, or a name fits no label.
        BusyError: another run works on these channels.
    """
    from repack.fleet.result import summarize, summary_json, worst_code
    from repack.fleet.run import RunOptions, build_labels

    began = time.monotonic()
    labels = _choose(names, values)
    display = _Display(len(labels), as_json=as_json)
    run_options = RunOptions(
        jobs=max(1, min(values["jobs"], len(labels))),
        on_result=display.show,
        budget=values["budget"],
        label_timeout=values["label_timeout"],
        fail_fast=values["fail_fast"],
        is_preview=dry_run,
    )
    results: tuple[LabelResult, ...] = ()
    if labels:
        with display:
            results = build_labels(labels, options.settings(values), run_options)
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(summary_json(results, seconds), ensure_ascii=False))
    else:
        for line in summarize(results, seconds):
            click.echo(line)
    return worst_code(results)


def _choose(names: Sequence[str], values: Mapping[str, Any]) -> tuple[str, ...]:
    from repack.channel.folder import Channels
    from repack.fleet.changed import changed_labels
    from repack.fleet.journal import failed_labels
    from repack.fleet.selection import select_labels
    from repack.label.files import names as label_names

    if not names and not (values["every"] or values["changed_only"] or values["retry_failed"]):
        raise UsageError("no label was named", hint="name one, or say --all")
    channels = Channels(values["channels_dir"])
    available = [str(name) for name in label_names(values["labels_dir"])]
    labels = select_labels(available, names, values["exclude"])
    if values["retry_failed"]:
        failed = set(failed_labels(channels.root / ".history"))
        labels = tuple(label for label in labels if label in failed)
    if values["changed_only"]:
        labels = changed_labels(labels, options.settings(values))
    return labels


class _Display:
    """One bar for all labels on a terminal; one line a label elsewhere; JSON lines when asked."""

    def __init__(self, total: int, *, as_json: bool) -> None:
        self._as_json = as_json
        self._progress = output.progress()
        self._phase = self._progress.phase("labels", total, "files")

    def __enter__(self) -> None:
        self._advance = self._phase.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._phase.__exit__(*exception)  # type: ignore[arg-type]

    def show(self, result: LabelResult) -> None:
        if self._as_json:
            from repack.codec.decode import encode

            click.echo(json.dumps(encode(result), ensure_ascii=False))
        else:
            self._progress.note(result.line)
        self._advance(1)
