"""What the system refuses, as repack's errors."""

from __future__ import annotations

import contextlib
import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.errors import PlaceError, RepackError, SpaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def from_os_error(error: OSError, path: Path) -> RepackError:
    """The repack error for an ``OSError`` at ``path``."""
    if error.errno in NO_SPACE:
        return SpaceError("no space left", where=path, hint="free some space and run again")
    hint = None
    if error.errno == errno.ELOOP:
        path = Path(error.filename or path)
        hint = "look where it leads; if nothing is to be there, remove the link and run again"
    elif sys.platform == "win32" and isinstance(error, PermissionError):
        hint = "if nobody has it open, a virus scanner may hold it"
    return PlaceError((error.strerror or str(error)).lower(), where=path, hint=hint)


@contextlib.contextmanager
def os_errors_at(path: Path) -> Iterator[None]:
    """Turn any ``OSError`` inside into repack's error about ``path``.

    Raises:
        SpaceError: the disk is full.
        PlaceError: anything else.
    """
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path) from error
