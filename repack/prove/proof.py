"""proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repack.prefix.sandbox import Isolation
    from repack.settings import Mode


@dataclass(frozen=True, slots=True)
class Proof:
    """How a subdir was proved.

    Attributes:
        mode: ``linked`` when every package was installed, ``solved`` when only the solver ran.
        network: how the health check was kept off the network; None when there was none.
        clobbered: files that more than one package brought.
    """

    mode: Mode
    network: Isolation | None = None
    clobbered: tuple[str, ...] = ()
