"""The agent's log: what it decided and why, one JSON object a line.

``LABEL.log`` in the folder of the logs; ``LABEL.log.1`` is the one before, and so on. It is written
while the label is locked, so only one agent writes it. A log that cannot be written is said once and
holds nothing up: it is no reason to leave a device without its update.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from repack.errors import RepackError
from repack.fs import atomic, beneath
from repack.fs.links import refuse_symlinks
from repack.timestamps import stamp

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from repack.progress import Progress

MAX_BYTES: Final = 1 << 20
KEEP: Final = 5
_MAX_TEXT: Final = 4000


class AgentLog:
    """The log in the file ``path``.

    Args:
        path: ``LABEL.log``.
        progress: is told when the log cannot be written.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path = path
        self._progress = progress
        self._is_broken = False

    def write(self, now: datetime, event: str, **fields: object) -> None:
        """Add a line.

        Args:
            event: the decision, as in ``accepted``.
            fields: what it was about; texts are shortened.
        """
        if self._is_broken:
            return
        row: dict[str, object] = {"time": stamp(now), "event": event}
        row |= {k: v[:_MAX_TEXT] if isinstance(v, str) else v for k, v in fields.items()}
        line = json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
        try:
            self._rotate(len(line))
            with atomic.os_errors_at(self.path):
                handle = beneath.open_file(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
                try:
                    os.write(handle, line)
                finally:
                    os.close(handle)
        except RepackError as error:
            self._is_broken = True
            self._progress.note(f"the log cannot be written: {error.text()}")

    def _rotate(self, size: int) -> None:
        """Make room for a line of ``size`` bytes."""
        refuse_symlinks(self.path)
        with atomic.os_errors_at(self.path.parent):
            beneath.make_folders(self.path.parent)
            present = self.path.stat().st_size if self.path.exists() else 0
            if not present or present + size <= MAX_BYTES:
                return
            # From the oldest on: a kill in between leaves a gap, which the next one closes.
            for number in range(KEEP - 1, -1, -1):
                with contextlib.suppress(FileNotFoundError):
                    beneath.rename(self._numbered(number), self._numbered(number + 1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path
