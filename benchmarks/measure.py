"""Runs a program once and says what it took: wall time, processor time, peak memory.

The peak is the kernel's ``ru_maxrss`` of the child and what the child waited for. A child starts
out with its parent's peak, so whoever measures has to stay small: nothing heavy is imported here.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


# Seconds until the system is done with what the program before gave back. A virtual machine returns
# freed memory to its host, and the disk hears of freed blocks; whoever ran next would pay for it, or
# profit from memory that is still at hand.
_REST: Final = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a program."""

    wall: float
    cpu: float
    megabytes: float
    output: str = ""


class FailedError(Exception):
    """The program failed; the text is what it said."""


def run(command: Sequence[object], log: Path, variables: Mapping[str, str] | None = None) -> Sample:
    """Run ``command`` to its end.

    Args:
        command: the program and its arguments.
        log: where its output goes while it runs; overwritten.
        variables: environment variables besides ours.

    Raises:
        FailedError: it ended with another exit code than 0.
    """
    environment = {**os.environ, **(variables or {})}
    os.sync()
    time.sleep(_REST)
    with log.open("w+b") as out, log.with_suffix(".err").open("w+b") as err:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=err, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output, said = out.read().decode(), err.read().decode()
    if process.returncode:
        words = " ".join(map(str, command))
        raise FailedError(
            f"exit code {process.returncode}: {words}\n{output[-2000:]}{said[-2000:]}"
        )
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def median(samples: Iterable[Sample]) -> Sample:
    """The median of each figure; the output is the last one's."""
    every = list(samples)
    return Sample(
        statistics.median(one.wall for one in every),
        statistics.median(one.cpu for one in every),
        statistics.median(one.megabytes for one in every),
        every[-1].output,
    )


def disk_usage(*folders: Path) -> int:
    """Bytes on disk below ``folders``, each file once however many links it has."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            facts = path.lstat()
            seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(seen.values())
