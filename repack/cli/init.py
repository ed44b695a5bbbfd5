"""``repack init``: begin a label by writing its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output, project
from repack.display import counted
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.release.begin import NewLabel


@click.command()
@click.argument("name", type=options.LABEL)
@click.argument("packages", nargs=-1, metavar="PACKAGE…")
@options.channel
@options.platform
@click.option(
    "--env", type=options.FILE, help="`conda info --json` of an environment to begin from."
)
@click.option(
    "--from", "source", type=options.FILE, help="A lock or environment file, such as pixi.lock."
)
@click.option("--force", is_flag=True, help="Write the file anew where there is one.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the file; write nothing.")
@options.labels_dir
@options.store
@options.as_json
def command(
    name: str, *, source: Path | None, force: bool, dry_run: bool, as_json: bool, **values: Any
) -> None:
    """Write the file of label NAME, with comments and the target profile that its packages need.

    Without -c and -p the channels and platforms of repack.toml are taken, if it has some.
    """
    from repack.fs import atomic
    from repack.label import files
    from repack.release.begin import begin_label

    if files.has_file(values["labels_dir"], name) and not force:
        where = files.find(values["labels_dir"], name)
        hint = f"build it with `repack label {name}`, or write it anew with --force"
        raise UsageError(f"label {name!r} has a file already", where=where, hint=hint)
    if source is None and values["env"] is None:
        values["channels"] = values["channels"] or project.default("channels", tuple)()
    usual = project.default("platforms", tuple)
    values["platforms"] = values["platforms"] or options.read_platforms(usual())
    label = begin_label(name, options.settings(values), source, output.progress())
    if not dry_run:
        atomic.write(label.path, label.text.encode("utf-8"))
    document = {
        "label": name,
        "file": str(label.path),
        "written": not dry_run,
        "text": label.text,
        "platforms": label.platforms,
        "packages": label.packages,
    }
    lines = label.text.splitlines() if dry_run else _lines(name, label)
    output.emit(document, lines, as_json=as_json)


def _lines(name: str, label: NewLabel) -> Iterator[str]:
    yield f"{label.path}: written"
    for subdir, values in label.platforms.items():
        profile = ", ".join(f"{key} {value}" for key, value in values.items())
        count = label.packages.get(subdir)
        yield f"  {subdir:<9} {counted(count, 'package') if count else ''}  {profile}".rstrip()
    yield f"  next      repack label {name}"
