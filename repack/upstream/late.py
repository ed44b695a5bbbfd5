"""A class of somebody else's that is loaded when it is first made, whoever imports it early."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def late(module: str, name: str) -> Iterator[None]:
    """Within the block, ``from module import name`` costs nothing.

    It gives a function that loads the module and makes the object. Once the block is left, the
    module can be imported as ever. Nothing happens if it is loaded already.
    """
    if module in sys.modules:
        yield
        return

    def make(*arguments: Any, **keywords: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments, **keywords)

    stand_in = ModuleType(module)
    setattr(stand_in, name, make)
    sys.modules[module] = stand_in
    try:
        yield
    finally:
        del sys.modules[module]
