"""What a label says of wheels (``wheels:``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from msgspec import field

from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

WheelMode = Literal["take", "skip", "refuse"]
Preference = Literal["conda", "wheel"]


class WheelPolicy(Value, frozen=True):
    """How wheels come into a label.

    Attributes:
        mode: take them; skip them, with a warning each; or refuse every file that names one.
        index: URL of a simple index (PEP 503), secrets included; None for the user's pip settings.
        packages: requirements, or absolute paths of wheels.
        names: PyPI name -> conda name, where the shipped mapping is wrong.
        instead: what serves a dependency that both could serve.
    """

    hidden_fields: ClassVar = ("index",)

    mode: WheelMode = "take"
    index: str | None = None
    packages: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    instead: Preference = "conda"
