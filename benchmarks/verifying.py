"""Times a channel's own verifier against sha256sum: ``python -m benchmarks.verifying CHANNEL``.

Both read the same files, ``sha256sum`` in one process a core, eight files each. Prints the seconds
that ``verify.py`` takes and the seconds of ``sha256sum``, each the least of several runs in turn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

TIMES: Final = 4
YARDSTICK: Final = f"find . -type f -print0 | xargs -0 -n 8 -P {os.cpu_count()} sha256sum"


def main() -> None:
    """Run both in turn."""
    channel = Path(sys.argv[1])
    commands = ([sys.executable, "-B", "repack/verify.py"], ["sh", "-c", YARDSTICK])
    least = [min(column) for column in zip(*(rounds(channel, commands)), strict=True)]
    print(*least)


def rounds(channel: Path, commands: tuple[list[str], ...]) -> list[list[float]]:
    """The seconds of every command, run by run."""
    return [[seconds(channel, command) for command in commands] for _ in range(TIMES)]


def seconds(channel: Path, command: list[str]) -> float:
    """Wall-clock seconds of a command in the channel.

    Raises:
        CalledProcessError: it failed.
    """
    began = time.perf_counter()
    subprocess.run(command, cwd=channel, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
