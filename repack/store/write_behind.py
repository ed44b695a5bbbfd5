"""Flushes archives beside other work: the next download need not wait for the disk."""

from __future__ import annotations

import contextlib
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.store.partial import Partial
    from repack.store.store import Store


class WriteBehind:
    """Takes archives into a store; made by :func:`flushing`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1)
        self._due: list[Future[None]] = []

    def commit(self, partial: Partial) -> None:
        """As :meth:`Store.commit`, but for the flush. May be called from any thread."""
        if sys.platform == "win32":  # where no read-only file can be flushed
            self._store.commit(partial)
            return
        self._store.commit(partial, flush=False)
        self._due.append(self._pool.submit(self._store.flush, partial.sha256))

    def wait(self) -> None:
        """Wait until all is on the disk. Raises as :meth:`Store.flush` does."""
        for flushed in self._due:
            flushed.result()

    def close(self) -> None:
        """Cancel what is not flushed yet: it has no mark, so it is hashed again when needed."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def flushing(store: Store) -> Iterator[WriteBehind]:
    """Flush what is kept while the block runs; when it ends well, all of it is on the disk.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the store cannot be written.
    """
    flushed = WriteBehind(store)
    try:
        yield flushed
        flushed.wait()
    finally:
        flushed.close()
