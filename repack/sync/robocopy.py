"""robocopy, the program of Windows that copies folders."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from repack.errors import PlaceError
from repack.sync.rsync import MAX_ERROR_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry

_ROBOCOPY_FAILED: Final = 8
_BATCH: Final = 100  # names of 255 characters: under the 32,767 of a Windows command line


class Robocopy:
    """robocopy as the transport to a folder or share; only on Windows."""

    name = "robocopy"

    def __init__(self, root: Path, rate: int | None = None) -> None:
        self._root, self._rate = root, rate

    def copy(
        self, entries: Sequence[FileEntry], stage: Path, advance: Callable[[int], None]
    ) -> None:
        """Copy ``entries`` below ``stage``.

        Raises:
            PlaceError: robocopy could not copy something.
        """
        for folder, names in _batches(entries):
            command = robocopy_command(self._root / folder, stage / folder, names, self._rate)
            process = subprocess.run(command, capture_output=True, check=False)
            if process.returncode >= _ROBOCOPY_FAILED or process.returncode < 0:
                output = process.stdout.decode(errors="replace")[-MAX_ERROR_TEXT:].strip()
                raise PlaceError(
                    "robocopy could not copy something",
                    where=stage / folder,
                    got=f"{exit_code_text(process.returncode)}\n{output}",
                    hint="run again: what arrived is kept",
                )
            paths = {f"{folder}/{name}" for name in names}
            advance(sum(entry.size for entry in entries if entry.path in paths))


def _batches(entries: Sequence[FileEntry]) -> Iterator[tuple[str, list[str]]]:
    """File names by folder, no more of them than one command line holds."""
    folders: dict[str, list[str]] = {}
    for entry in entries:
        folder, _, name = entry.path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    for folder, names in folders.items():
        for start in range(0, len(names), _BATCH):
            yield folder, names[start : start + _BATCH]


def robocopy_command(
    source: Path, target: Path, names: Sequence[str], rate: int | None
) -> list[str]:
    """The command that copies ``names`` from folder to folder.

    ``/Z`` goes on where it was cut off, ``/FFT`` allows FAT's 2 s, ``/IPG`` is the gap in
    milliseconds between blocks of 64 KiB. Source: Microsoft, "Robocopy".
    """
    gap = [f"/IPG:{max(1, (64 << 10) * 1000 // rate)}"] if rate else []
    quiet = ["/NP", "/NJH", "/NJS", "/NDL", "/NFL"]
    return [
        "robocopy", str(source), str(target), *names,
        "/Z", "/FFT", "/R:5", "/W:2", "/COPY:DT", *gap, *quiet,
    ]  # fmt: skip


def exit_code_text(code: int) -> str:
    """What robocopy's exit code means: a sum of bits, and no failure below 8."""
    bits = {
        1: "files were copied",
        2: "there are files at the destination that are not here",
        4: "a file stands where a folder should, or the other way round",
        8: "files could not be copied",
        16: "nothing was copied: wrong parameters, or no access",
    }
    texts = [text for bit, text in bits.items() if code > 0 and code & bit]
    return "; ".join(texts) or ("nothing had to be copied" if code == 0 else f"ended with {code}")
