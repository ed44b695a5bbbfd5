"""How far a phase is, how fast it goes, and how long it still takes, as one line of text."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repack.progress import Unit

EVERY: Final = 5.0  # seconds between two lines


class Meter:
    """Counts one phase; its functions may be called from any thread.

    Args:
        what: the phase, such as ``fetch``.
        total: how many units it has; None if nobody knows.
        unit: what is counted.
        clock: seconds that only go on.
    """

    def __init__(
        self, what: str, total: int | None, unit: Unit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._total, self._unit, self._clock = what, total, unit, clock
        self._began = clock()
        self._done, self._name = 0, ""
        self._lock = threading.Lock()

    def advance(self, count: int, name: str = "") -> None:
        """``count`` more are done; ``name`` is what is worked on."""
        with self._lock:
            self._done += count
            self._name = name

    def text(self) -> str:
        """Such as ``fetch: 12.3 of 64.1 MB, 3.1 MB/s, 17 s left: scipy-1.17-0.conda``."""
        with self._lock:
            done, name = self._done, self._name
        passed = max(self._clock() - self._began, 0.001)
        parts = [self._amount(done)] if self._total is not None or done else []
        if self._unit == "bytes":
            parts.append(f"{done / passed / 1e6:.1f} MB/s")
        if self._total is None or not 0 < done < self._total:
            parts.append(f"{_duration(passed)} so far")
        else:
            parts.append(f"{_duration(passed / done * (self._total - done))} left")
        return f"{self._what}: {', '.join(parts)}" + (f": {name}" if name else "")

    def _amount(self, done: int) -> str:
        of = "" if self._total is None else f" of {_number(self._total, self._unit)}"
        return f"{_number(done, self._unit)}{of} {'MB' if self._unit == 'bytes' else self._unit}"


@contextlib.contextmanager
def reporting(meter: Meter, say: Callable[[str], None], every: float = EVERY) -> Iterator[None]:
    """Say the meter's text every few seconds, also while nothing moves."""
    over = threading.Event()

    def report() -> None:
        while not over.wait(every):
            say(meter.text())

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _number(count: int, unit: Unit) -> str:
    return f"{count / 1e6:.1f}" if unit == "bytes" else str(count)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
