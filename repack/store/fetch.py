"""Fetch: every archive of a release into the store, several at once.

An archive that is in the store is not asked for. The rest is fetched by a few threads, largest
first, each straight from the connection into the hash and the file; more join in while that leaves
the processors idle. What fails is tried again, from where it broke off; what is wrong is fetched
once more from zero, then from the next place.

A file that cannot be had does not stop the others: all that are missing are reported together, and
what did come is in the store for the next run. A place that gives nothing at all (credentials, TLS,
proxy, no answer) and a full disk stop everything.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from repack.errors import FetchError, IntegrityError, RepackError, SpaceError
from repack.progress import SILENT
from repack.upstream.errors import NotAvailableError, TransientError
from repack.upstream.response import AdaptiveReader
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repack.conda.record import Record
    from repack.names import Digest
    from repack.progress import Advance, Progress
    from repack.store.partial import Partial
    from repack.store.store import Store
    from repack.store.write_behind import WriteBehind
    from repack.upstream.client import Upstream
    from repack.upstream.response import Response

# How much must come for a connection that keeps breaking to count as getting on.
_GETTING_ON: Final = 64 << 10
_REPORTED: Final = 10
_GRACE: Final = 0.5
# On a fast line more connections only push each other out of the processor's cache.
_AT_FIRST: Final = 4
_SLICE: Final = 0.1


class FetchResult(Struct, frozen=True):
    """What a fetch did.

    Attributes:
        files: archives that were not in the store before.
        bytes: what was transferred for them.
        seconds: how long it took.
    """

    files: int
    bytes: int
    seconds: float


class _Archive(Struct, frozen=True):
    """One archive to download, and the URLs it can be had from."""

    record: Record
    urls: tuple[str, ...]


class _FetchState(Struct):
    """What the threads share; ``lock`` guards all but the flags."""

    advance: Advance
    commit: Callable[[Partial], object]
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    files: int = 0
    bytes: int = 0
    errors: list[RepackError] = field(default_factory=list)
    crash: BaseException | None = None


class _CpuLoad:
    """How busy this process keeps the processors."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()

    def is_light(self) -> bool:
        """Whether more than half of their time was idle since the last call; at most each slice."""
        now, used = time.monotonic(), time.process_time()
        passed = now - self._at
        if passed < _SLICE:
            return False
        idle = used - self._used < passed * (os.cpu_count() or 1) / 2
        self._at, self._used = now, used
        return idle


class _StoppedError(Exception):
    """Another thread's failure ends this one; never leaves the module."""


def fetch(
    records: Sequence[Record],
    store: Store,
    upstream: Upstream,
    progress: Progress = SILENT,
    flushed: WriteBehind | None = None,
) -> FetchResult:
    """Download the archive of every record into ``store``.

    Args:
        flushed: takes the archives in and flushes them while it is open; else each is flushed
            before this returns.

    Raises:
        FetchError: archives could not be had; the first few are named.
        IntegrityError: some came, but wrong, from every place they can be had from.
        SpaceError: the disk is too small.
        PlaceError: the store cannot be written.
        UsageError: this machine's proxy or certificates are set wrongly.
    """
    began = time.monotonic()
    archives = _missing_archives(records, store, upstream)
    if not archives:
        return FetchResult(0, 0, time.monotonic() - began)
    _check_room(archives, store)
    total = sum(archive.record.size for archive in archives)
    with progress.phase("fetch", total, "bytes") as advance:
        state = _FetchState(advance, (flushed or store).commit)
        _run_threads(archives, state, store, upstream)
    if state.errors:
        if isinstance(state.errors[0], SpaceError):
            _check_room(
                [a for a in archives if not store.is_marked(a.record.sha256, a.record.size)], store
            )
        raise _merge_errors(state.errors)
    return FetchResult(state.files, state.bytes, time.monotonic() - began)


def _missing_archives(
    records: Sequence[Record], store: Store, upstream: Upstream
) -> tuple[_Archive, ...]:
    """What is to be downloaded, largest first; records of one archive are mirrors of each other."""
    urls: dict[Digest, dict[str, None]] = {}
    record_by_digest: dict[Digest, Record] = {}
    for record in records:
        # Also of what is there: its URL's secrets must be known to the search for secrets.
        locations = upstream.locations(record.url)
        if not store.is_marked(record.sha256, record.size):
            record_by_digest.setdefault(record.sha256, record)
            urls.setdefault(record.sha256, {}).update(dict.fromkeys(locations))
    archives = (
        _Archive(record, tuple(urls[sha256])) for sha256, record in record_by_digest.items()
    )
    return tuple(sorted(archives, key=lambda archive: (-archive.record.size, archive.record.fn)))


def _check_room(archives: Sequence[_Archive], store: Store) -> None:
    needed = sum(max(0, a.record.size - store.partial_size(a.record.sha256)) for a in archives)
    room = store.prepare()
    if needed > room:
        raise SpaceError(
            "too little space for the packages",
            where=store.root,
            expected=f"{needed} bytes free",
            got=f"{room} bytes",
            hint="free some space (`repack store gc`), or put the store elsewhere (`--store`)",
        )


def _run_threads(
    archives: Sequence[_Archive], state: _FetchState, store: Store, upstream: Upstream
) -> None:
    """Let threads work off the archives; whatever ends this function ends them too."""
    queue = deque(archives)
    limit = min(upstream.connections, len(archives))
    threads: list[threading.Thread] = []

    def start_thread() -> None:
        thread = threading.Thread(
            target=_work, args=(queue, state, store, upstream), name="fetch", daemon=True
        )
        threads.append(thread)
        thread.start()

    try:
        for _ in range(min(_AT_FIRST, limit)):
            start_thread()
        load = _CpuLoad()
        while not state.stop.is_set() and (busy := [t for t in threads if t.is_alive()]):
            # In slices: on Windows, Ctrl-C does not get through a wait without end.
            busy[-1].join(_SLICE)
            if queue and len(threads) < limit and load.is_light():
                start_thread()
    except BaseException:
        state.stop.set()
        raise
    finally:
        if state.stop.is_set():
            # A thread that waits for bytes sees `stop` only when its connection ends.
            upstream.abort()
            until = time.monotonic() + _GRACE
            for thread in threads:
                # One that is still looking up a host has nothing to spoil; it ends by itself.
                if thread.ident:
                    thread.join(max(0.0, until - time.monotonic()))
        upstream.close()
    if state.crash:
        raise state.crash


def _work(queue: deque[_Archive], state: _FetchState, store: Store, upstream: Upstream) -> None:
    reader = AdaptiveReader()
    while not state.stop.is_set():
        try:
            archive = queue.popleft()
        except IndexError:
            return
        try:
            _Download(archive, store, upstream, state, reader).run()
        except _StoppedError:
            return
        except (NotAvailableError, IntegrityError) as error:
            # This archive alone cannot be had; the others still can.
            with state.lock:
                state.errors.append(_with_name(error, archive))
        except RepackError as error:
            with state.lock:
                state.errors.insert(0, _with_name(error, archive))
            state.stop.set()
        except BaseException as crash:  # noqa: BLE001 - raised again by the thread that waits
            state.crash = crash
            state.stop.set()


class _Download:
    """One archive on its way, by one thread."""

    def __init__(
        self,
        archive: _Archive,
        store: Store,
        upstream: Upstream,
        state: _FetchState,
        reader: AdaptiveReader,
    ) -> None:
        self._archive = archive
        self._store = store
        self._upstream = upstream
        self._state = state
        self._reader = reader

    def run(self) -> None:
        """Download the archive from the first URL that has it right."""
        record = self._archive.record
        with self._store.receiving(record, self._state.stop.is_set) as partial:
            if partial is None:
                # Another builder has brought it meanwhile.
                self._state.advance(record.size)
                return
            self._state.advance(partial.offset)
            last_error: RepackError | None = None
            for url in self._archive.urls:
                try:
                    self._download_from(url, partial)
                except (FetchError, IntegrityError) as error:
                    # Wrong bytes weigh more than none.
                    if not isinstance(last_error, IntegrityError):
                        last_error = error
                else:
                    with self._state.lock:
                        self._state.files += 1
                    return
            assert last_error is not None  # noqa: S101 - there is at least one URL
            raise last_error

    def _download_from(self, url: str, partial: Partial) -> None:
        failed, has_restarted = 0, False
        while True:
            before = partial.offset
            try:
                self._transfer(url, partial)
                self._state.commit(partial)
            except IntegrityError as error:
                # What an earlier run left may be the wrong part: once more from zero.
                self._restart(partial)
                if has_restarted:
                    raise _with_url(error, url) from error
                has_restarted = True
            except TransientError as error:
                self._check_stop()
                failed = 1 if partial.offset - before >= _GETTING_ON else failed + 1
                pause = self._upstream.retry_policy.pause(failed, error.retry_after)
                if pause is None:
                    raise
                if self._state.stop.wait(pause):
                    raise _StoppedError from None
            else:
                return

    def _transfer(self, url: str, partial: Partial) -> None:
        """Get what is missing of the archive.

        Raises:
            TransientError: it broke off; what came is in ``partial``.
            IntegrityError: what comes cannot be it.
        """
        if partial.offset == partial.size:
            return
        self._check_stop()
        with self._upstream.open(url, partial.offset, partial.validator) as response:
            if response.start != partial.offset or not response.start:
                self._restart(partial, response.validator)
            _check_length(response, partial)
            while data := self._reader.read(response):
                self._check_stop()
                partial.write(memoryview(data))
                with self._state.lock:
                    self._state.bytes += len(data)
                self._state.advance(len(data), self._archive.record.fn)
        if response.length is None and partial.offset < partial.size:
            # A server that says no length may have been cut off without a sign.
            raise TransientError("less came than there should be", where=redact_url(url))

    def _restart(self, partial: Partial, validator: str | None = None) -> None:
        self._state.advance(-partial.offset)
        partial.restart(validator)

    def _check_stop(self) -> None:
        if self._state.stop.is_set():
            raise _StoppedError


def _check_length(response: Response, partial: Partial) -> None:
    """Refuse before the first byte what is too long or too short: a login page, mostly."""
    if response.start not in {0, partial.offset} or (
        response.length is not None and response.start + response.length != partial.size
    ):
        kind = f" of {response.content_type}" if response.content_type else ""
        raise IntegrityError(
            "the size is not that of the record",
            expected=f"{partial.size} bytes",
            got=f"{response.start + (response.length or 0)} bytes{kind}",
        )


def _with_url(error: IntegrityError, url: str) -> IntegrityError:
    return IntegrityError(
        error.what, where=redact_url(url), expected=error.expected, got=error.got, hint=error.hint
    )


def _with_name(error: RepackError, archive: _Archive) -> RepackError:
    """The same error, saying which package it is about."""
    kind = FetchError if isinstance(error, FetchError) else type(error)
    return kind(
        f"{archive.record.fn}: {error.what}",
        where=error.where,
        expected=error.expected,
        got=error.got,
        hint=error.hint,
    )


def _merge_errors(errors: Sequence[RepackError]) -> RepackError:
    """One error for all; what stopped the others came first, wrong bytes weigh more than none."""
    first = next((error for error in errors if isinstance(error, IntegrityError)), errors[0])
    if len(errors) == 1 or not isinstance(errors[0], FetchError | IntegrityError):
        return errors[0]
    lines = [f"{error.what} ({error.where})" for error in errors[:_REPORTED]]
    if unlisted := len(errors) - len(lines):
        lines.append(f"and {unlisted} more")
    return type(first)(
        f"{len(errors)} packages cannot be fetched",
        got="\n    ".join(["", *lines]),
        hint=first.hint,
    )
