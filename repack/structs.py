"""Structs with fields that must not show, or that say nothing about equality.

A plain :class:`msgspec.Struct` prints and compares every field. Secrets must never reach a log or a
traceback, so a struct that holds one derives from :class:`Value` and names that field.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Value(Struct, frozen=True, eq=False):
    """A frozen struct that says which fields are hidden and which do not count when comparing.

    Attributes:
        hidden_fields: left out of ``repr()``: secrets, and what would fill a screen.
        uncompared_fields: left out of ``==`` and ``hash()``.
    """

    hidden_fields: ClassVar[tuple[str, ...]] = ()
    uncompared_fields: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        """All fields but the hidden ones."""
        shown = (f for f in self.__struct_fields__ if f not in self.hidden_fields)
        return f"{type(self).__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in shown)})"

    def _compared(self) -> tuple[object, ...]:
        return tuple(
            getattr(self, f) for f in self.__struct_fields__ if f not in self.uncompared_fields
        )

    def __eq__(self, other: object) -> bool:
        """Whether both are of one class and agree in all fields that are compared."""
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __ne__(self, other: object) -> bool:
        """The opposite. Without it, ``!=`` would be that of :class:`msgspec.Struct`."""
        equal = self.__eq__(other)
        return NotImplemented if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        """The hash of all fields that are compared."""
        return hash((type(self), self._compared()))
