"""What a run has done so far, so that the next one does only what is left.

``channels/.history/.run.jsonl``: a line that says what the run is about, then a line a label as it
ends. A run that was cut short has no line ``end``; the next run about the same labels goes on behind
its last whole line. A line that was not written to its end does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import IO, TYPE_CHECKING, Final

from repack.codec.decode import decode, encode
from repack.errors import RepackError
from repack.fleet.result import LabelResult
from repack.fs import atomic, beneath
from repack.fs.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NAME: Final = ".run.jsonl"
_LOCK: Final = ".run.lock"
_LIMIT: Final = 64 << 20


class RunJournal:
    """The journal of the run that goes on; open it with :func:`journal_of`."""

    def __init__(
        self, stream: IO[str], done: dict[str, LabelResult], *, was_cut_short: bool
    ) -> None:
        self._stream = stream
        self.done = done
        self.was_cut_short = was_cut_short

    def add(self, result: LabelResult) -> None:
        """Write down how a label ended; it is on disk when this returns."""
        self._write(encode(result))

    def end(self) -> None:
        """Write down that the run is over."""
        self._write({"end": True})

    def _write(self, row: object) -> None:
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextlib.contextmanager
def journal_of(folder: Path, labels: Sequence[str]) -> Iterator[RunJournal]:
    """Begin a run, or go on with the last one if that was cut short and about the same labels.

    Args:
        folder: the channels' ``.history``.

    Raises:
        BusyError: another run works on these channels.
        PlaceError: the journal cannot be written.
    """
    with atomic.os_errors_at(folder):
        beneath.make_folders(folder)
    with exclusive(folder / _LOCK, "a run over many labels"):
        path = folder / _NAME
        done, was_cut_short = _read_done(path, labels)
        with atomic.os_errors_at(path):
            if not was_cut_short:
                atomic.write(path, json.dumps({"labels": list(labels)}).encode() + b"\n")
            elif not atomic.read(path, _LIMIT).endswith(b"\n"):
                with os.fdopen(beneath.open_file(path, os.O_WRONLY | os.O_APPEND), "ab") as end:
                    end.write(b"\n")
            handle = beneath.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            with os.fdopen(handle, "a", encoding="utf-8") as stream:
                yield RunJournal(stream, done, was_cut_short=was_cut_short)


def failed_labels(folder: Path) -> tuple[str, ...]:
    """The labels that failed or were left in the last run, whether it ended or not."""
    head, rows, _ = _read(folder / _NAME)
    done = {row.label: row for row in rows}
    return tuple(
        name for name in head if name not in done or done[name].state in {"failed", "left"}
    )


def _read_done(path: Path, labels: Sequence[str]) -> tuple[dict[str, LabelResult], bool]:
    head, rows, has_ended = _read(path)
    if has_ended or set(head) != set(labels) or not head:
        return {}, False
    return {row.label: row for row in rows if row.state not in {"failed", "left"}}, True


def _read(path: Path) -> tuple[list[str], list[LabelResult], bool]:
    """The labels of a run, what became of them, and whether the run came to its end."""
    try:
        lines = atomic.read(path, _LIMIT).decode("utf-8", "replace").splitlines()
        head = list(map(str, json.loads(lines[0])["labels"]))
    except (RepackError, ValueError, KeyError, TypeError, IndexError):
        return [], [], True
    rows: list[LabelResult] = []
    for line in lines[1:]:
        # The last line may be half a line.
        with contextlib.suppress(RepackError, ValueError):
            row = json.loads(line)
            if row == {"end": True}:
                return head, rows, True
            rows.append(decode(LabelResult, row, path, "journal of a run"))
    return head, rows, False
