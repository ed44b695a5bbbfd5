"""The program: finds commands without importing them, catches errors once, leaves deliberately."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import sys
from typing import Any, Final, NoReturn

import click

from repack.cli.shared import output
from repack.cli.shared.groups import Group
from repack.errors import RepackError, SpaceError, UsageError
from repack.urls import hide_known
from repack.version import __version__

# Group -> name -> (module that holds `command`, or another object after a colon; short help). A
# table, because `repack --help` must not pay for importing what it lists.
GROUPS: Final = {
    "Build": {
        "init": ("repack.cli.init", "Begin a label: write its file, with the profile it needs."),
        "label": ("repack.cli.label", "Build a label's channel, prove it, publish it."),
        "diff": ("repack.cli.label:diff", "Say what a rebuild of a label would change."),
        "show": ("repack.cli.show", "Show what is in a release: packages, sizes, signatures."),
        "tree": ("repack.cli.show:tree", "Show what depends on what in a release."),
        "why": ("repack.cli.show:why", "Say why a package is in a release."),
        "report": (
            "repack.cli.report",
            "Show what is in a release and what changed; print its SBOM.",
        ),
        "labels": ("repack.cli.labels", "Show the state of all labels in one table."),
        "history": ("repack.cli.history", "List the releases of a label that can be restored."),
        "restore": ("repack.cli.history:restore", "Make a past release the published one again."),
    },
    "Trust": {
        "key": ("repack.cli.key", "Make, rotate and show a label's signing keys."),
        "promote": ("repack.cli.promote", "Sign a release for production."),
        "recall": ("repack.cli.recall", "Take a release back: targets refuse it from then on."),
        "verify": ("repack.cli.verify", "Check a channel's files, signatures and consistency."),
        "notarize": (
            "repack.cli.notarize",
            "State who built a release from what; check such a statement.",
        ),
        "license": ("repack.cli.license", "Tell devices apart; issue, check and recover licences."),
    },
    "Deliver": {
        "sync": ("repack.cli.sync", "Bring a label's channel to a share or another machine."),
        "medium": ("repack.cli.medium", "Write a release to a stick or folder for targets."),
        "sites": ("repack.cli.sites", "Take receipts of sites over; say what runs where."),
        "installer": ("repack.cli.installer", "Write one file that installs a label anywhere."),
        "delta": ("repack.cli.delta", "Carry only what changed between two releases."),
        "bundle": ("repack.cli.bundle", "Package, check and install models and strategies."),
    },
    "Target": {
        "target": ("repack.cli.target", "Install, run and roll back releases on a target."),
    },
    "Care": {
        "doctor": ("repack.cli.doctor", "Say what this machine lacks, and which defaults hold."),
        "watch": ("repack.cli.watch", "Say what became of published packages upstream."),
        "store": ("repack.cli.store", "List, check and sweep the package store."),
        "support": ("repack.cli.support", "Collect what second-line support needs."),
        "schema": ("repack.cli.schema", "Print the JSON schema of label files, for editors."),
        "completion": ("repack.cli.completion", "Print the completion script of a shell."),
    },
}
COMMANDS: Final = {name: row for rows in GROUPS.values() for name, row in rows.items()}


_M_ARENA_MAX: Final = -8  # mallopt(3)

# What a write to stdout ends with that is closed, full or gone.
_NO_OUTPUT: Final = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO}


class LazyGroup(Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute or "command")
        assert isinstance(command, click.Command)  # noqa: S101 - our own table
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        del ctx
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="repack")
def repack() -> None:
    """Make offline conda channels that are proved installable before they are published."""


def leave(code: int) -> NoReturn:
    """Flush and end the process at once.

    py-rattler's runtime can crash the interpreter at exit after correct work; an exit code that
    scripts trust must not depend on that. This is the one place where repack leaves.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            # A stream that was closed when the process began is None.
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            if stream is sys.stdout and not code and isinstance(error, OSError):
                code = _unexpected(error)
            code = code or 1
    os._exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        result = repack.main(args=words, prog_name="repack", standalone_mode=False)
    except click.exceptions.Abort:
        output.echo("interrupted; nothing half-done was published", err=True)
        return 130
    except click.ClickException as error:
        if "--json" in words:
            _print_error(_usage_error(error).to_json())
        with contextlib.suppress(OSError):
            error.show(sys.stderr)
        return error.exit_code
    except RepackError as error:
        if "--json" in words:
            _print_error(error.to_json())
        output.echo(f"error: {hide_known(error.text())}", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a bug must not show a secret either
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.filename is None and error.errno in _NO_OUTPUT:
        output.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        return SpaceError.exit_code if error.errno == errno.ENOSPC else 1
    output.echo(f"unexpected error; please report this:\n{_traceback()}", err=True)
    return 1


def _usage_error(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "repack"
    return UsageError(error.format_message(), hint=f"{command} --help")


def _print_error(document: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # the text on standard error is said anyway
        output.echo_json(json.dumps(_without_secrets(document), ensure_ascii=False))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(inner) for inner in value]
    return hide_known(value) if isinstance(value, str) else value


def _traceback() -> str:
    import traceback

    from repack.urls import redact_text

    return redact_text(traceback.format_exc())


def _tune_memory() -> None:
    """Settings that suit a process which runs one command; a host of the library has its own."""
    # Nearly all objects of a command live to its end: collecting as often as Python does by default
    # takes a tenth of a build.
    gc.set_threshold(100_000, 50, 100)
    if sys.platform == "linux":
        import ctypes

        # With a heap for each thread, 60 MB that rattler's threads have freed stay resident.
        # Other C libraries than glibc have neither this function nor such heaps.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def main() -> NoReturn:
    """Entry point of the ``repack`` command."""
    _tune_memory()
    leave(run())
