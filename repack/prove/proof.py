"""How far one subdir of a release was proved installable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from repack.prefix.sandbox import Isolation
    from repack.settings import Mode


class Proof(Struct, frozen=True):
    """How a subdir was proved.

    Attributes:
        mode: ``linked`` when every package was installed, ``solved`` when only the solver ran.
        isolation: how the health check was kept apart; None when there was none.
        clobbered: files that more than one package brought.
    """

    mode: Mode
    isolation: Isolation | None = None
    clobbered: tuple[str, ...] = ()
