"""``repack completion``: what a shell needs to complete repack's commands and options."""

from __future__ import annotations

import click

from repack.cli.shared import options, output


@click.command(
    epilog="""\b
bash        repack completion bash > ~/.local/share/bash-completion/completions/repack
zsh         repack completion zsh > a folder of $fpath, as _repack
fish        repack completion fish > ~/.config/fish/completions/repack.fish
powershell  repack completion powershell >> $PROFILE
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
@options.as_json
@click.pass_context
def command(context: click.Context, shell: str, *, as_json: bool) -> None:
    """Print the completion script of SHELL; where it belongs stands below."""
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None  # noqa: S101 - the choices are those that click has
    # The variable that click itself looks for in a program called repack.
    program = context.find_root().command
    script = completer(program, {}, "repack", "_REPACK_COMPLETE").source()
    lines = [script.removesuffix("\n")]
    output.emit({"shell": shell, "script": script}, lines, as_json=as_json)
