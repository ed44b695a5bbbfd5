"""``conda repack``: repack as a subcommand of conda, for those who live in conda.

conda loads this module by its entry point (group ``conda``); nothing of repack imports it, for
conda is not among its dependencies.
Hook and type: https://docs.conda.io/projects/conda/en/stable/dev-guide/plugins/subcommands.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from conda.plugins import hookimpl
from conda.plugins.types import CondaSubcommand

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(arguments: tuple[str, ...]) -> NoReturn:
    """Run one command line of repack, and leave as repack does."""
    from repack.cli import main

    main.leave(main.run(list(arguments)))


def _subcommands() -> Iterator[object]:
    yield CondaSubcommand(name="repack", summary="Make offline conda channels.", action=run)


conda_subcommands = hookimpl(_subcommands)
