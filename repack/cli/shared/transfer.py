"""What ``repack sync`` and ``repack medium`` share: how a release is carried, and the report of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import output
from repack.display import amount
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repack.sync.plan import SyncResult
    from repack.sync.sync import SyncOptions

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?(?:/s)?", re.IGNORECASE)


bwlimit = click.option("--bwlimit", metavar="RATE", help="Bytes a second, such as 500k or 2M.")
file_system = click.option(
    "--file-system",
    type=click.Choice(["fat32", "exfat", "other"]),
    help="What DEST is to hold to, where the system cannot say it [default: look].",
)


def sync_options(values: Mapping[str, Any]) -> SyncOptions:
    """How to deliver, from a command's options."""
    from repack.sync.sync import SyncOptions

    return SyncOptions(
        dry_run=values["dry_run"],
        grace=values.get("grace", 0.0),
        file_system=values["file_system"],
        progress=output.progress(),
    )


def parse_rate(text: str | None) -> int | None:
    """Bytes a second from ``500k`` or ``2M``, counted in 1024 as rsync does; 0 for no limit.

    Raises:
        UsageError: it is no rate.
    """
    if text is None:
        return None
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise UsageError("not a rate", where="--bwlimit", expected="such as 500k or 2M", got=text)
    scale: int = 1024 ** " kmgt".index(match[2].lower() or " ")
    return int(float(match[1]) * scale) or None


def transfer_lines(result: SyncResult) -> Iterator[str]:
    """What was copied and removed, for people."""
    plan, size = result.plan, amount(result.plan.bytes)
    if result.dry_run:
        yield from (f"copy    {entry.path} ({amount(entry.size)})" for entry in plan.copy)
        yield from (f"remove  {path}" for path in plan.remove)
        yield f"{result.label} release {result.release}: {size} would be copied to {result.where}"
        return
    yield f"{result.where} is {result.label} release {result.release}, read back and right"
    yield (
        f"  {len(plan.copy)} files copied ({size}), {len(plan.keep)} kept,"
        f" {len(plan.remove)} removed"
    )
