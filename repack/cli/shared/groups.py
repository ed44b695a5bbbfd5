"""Groups of commands that cut no help text and know what a mistyped command was meant to be."""

from __future__ import annotations

import click

from repack.codec.schema import suggest


class Group(click.Group):
    """A group of commands; use it for every one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command.

        Raises:
            click.UsageError: there is none; says which one is near.
        """
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            program = ctx.command_path
            hint = suggest(args[0], names) or f"commands: {', '.join(names)}"
            raise click.UsageError(f"no command {args[0][:60]!r} in `{program}`; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the whole first sentence of each."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=10_000)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
