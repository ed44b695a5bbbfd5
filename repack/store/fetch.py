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
    from repack.progress import Progress
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


class _Download(Struct, frozen=True):
    """One archive to bring, and the URLs it can be had from."""

    record: Record
    urls: tuple[str, ...]


class _FetchState(Struct):
    """What the threads share; ``lock`` guards all but the flags."""

    done: Callable[[int], None]
    keep: Callable[[Partial], object]
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    files: int = 0
    bytes: int = 0
    faults: list[RepackError] = field(default_factory=list)
    crash: BaseException | None = None


class _CpuLoad:
    """How busy this process keeps the processors."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()

    def is_light(self) -> bool:
        """Whether more than half of their time was left since this was last said; not too often."""
        now, used = time.monotonic(), time.process_time()
        passed = now - self._at
        if passed < _SLICE:
            return False
        idle = used - self._used < passed * (os.cpu_count() or 1) / 2
        self._at, self._used = now, used
        return idle


class _StoppedError(Exception):
    """Somebody else's failure ends this thread; never leaves the module."""


def fetch(
    records: Sequence[Record],
    store: Store,
    upstream: Upstream,
    progress: Progress = SILENT,
    flushed: WriteBehind | None = None,
) -> FetchResult:
    """Bring the archive of every record into ``store``.

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
    errands = _errands(records, store, upstream)
    if not errands:
        return FetchResult(0, 0, time.monotonic() - began)
    _check_room(errands, store)
    total = sum(errand.record.size for errand in errands)
    with progress.phase("fetch", total, "bytes") as done:
        tally = _FetchState(done, (flushed or store).commit)
        _run(errands, tally, store, upstream)
    if tally.faults:
        if isinstance(tally.faults[0], SpaceError):
            _check_room(
                [e for e in errands if not store.is_marked(e.record.sha256, e.record.size)], store
            )
        raise _together(tally.faults)
    return FetchResult(tally.files, tally.bytes, time.monotonic() - began)


def _errands(records: Sequence[Record], store: Store, upstream: Upstream) -> tuple[_Download, ...]:
    """What is to be brought, largest first; records of one archive are places of each other."""
    urls: dict[Digest, dict[str, None]] = {}
    wanted: dict[Digest, Record] = {}
    for record in records:
        places = upstream.places(record.url)
        if not store.is_marked(record.sha256, record.size):
            wanted.setdefault(record.sha256, record)
            urls.setdefault(record.sha256, {}).update(dict.fromkeys(places))
    errands = (_Download(record, tuple(urls[sha256])) for sha256, record in wanted.items())
    return tuple(sorted(errands, key=lambda errand: (-errand.record.size, errand.record.fn)))


def _check_room(errands: Sequence[_Download], store: Store) -> None:
    needed = sum(max(0, e.record.size - store.partial_size(e.record.sha256)) for e in errands)
    room = store.prepare()
    if needed > room:
        raise SpaceError(
            "too little space for the packages",
            where=store.root,
            expected=f"{needed} bytes free",
            got=f"{room} bytes",
            hint="free some space (`repack store gc`), or put the store elsewhere (`--store`)",
        )


def _run(
    errands: Sequence[_Download], tally: _FetchState, store: Store, upstream: Upstream
) -> None:
    """Let threads work off the errands; whatever ends this function ends them too."""
    queue = deque(errands)
    most = min(upstream.connections, len(errands))
    threads: list[threading.Thread] = []

    def one_more() -> None:
        work = threading.Thread(
            target=_work, args=(queue, tally, store, upstream), name="fetch", daemon=True
        )
        threads.append(work)
        work.start()

    try:
        for _ in range(min(_AT_FIRST, most)):
            one_more()
        load = _CpuLoad()
        while not tally.stop.is_set() and (busy := [t for t in threads if t.is_alive()]):
            # In slices: on Windows, Ctrl-C does not get through a wait without end.
            busy[-1].join(_SLICE)
            if queue and len(threads) < most and load.is_light():
                one_more()
    except BaseException:
        tally.stop.set()
        raise
    finally:
        if tally.stop.is_set():
            upstream.hang_up()
            until = time.monotonic() + _GRACE
            for thread in threads:
                # One that is still looking up a host has nothing to spoil; it ends by itself.
                if thread.ident:
                    thread.join(max(0.0, until - time.monotonic()))
        upstream.close()
    if tally.crash:
        raise tally.crash


def _work(queue: deque[_Download], tally: _FetchState, store: Store, upstream: Upstream) -> None:
    pace = AdaptiveReader()
    while not tally.stop.is_set():
        try:
            errand = queue.popleft()
        except IndexError:
            return
        try:
            _Fetch(errand, store, upstream, tally, pace).bring()
        except _StoppedError:
            return
        except (NotAvailableError, IntegrityError) as fault:
            with tally.lock:
                tally.faults.append(_named(fault, errand))
        except RepackError as fault:
            with tally.lock:
                tally.faults.insert(0, _named(fault, errand))
            tally.stop.set()
        except BaseException as crash:  # noqa: BLE001 - raised again by the thread that waits
            tally.crash = crash
            tally.stop.set()


class _Fetch:
    """One archive being brought by one thread."""

    def __init__(
        self,
        errand: _Download,
        store: Store,
        upstream: Upstream,
        tally: _FetchState,
        pace: AdaptiveReader,
    ) -> None:
        self._record = errand.record
        self._urls = errand.urls
        self._store = store
        self._upstream = upstream
        self._tally = tally
        self._pace = pace

    def bring(self) -> None:
        """Get the archive from the first place that has it right."""
        with self._store.receiving(self._record, self._tally.stop.is_set) as partial:
            if partial is None:
                self._tally.done(self._record.size)
                return
            self._tally.done(partial.offset)
            fault: RepackError | None = None
            for url in self._urls:
                try:
                    self._bring_from(url, partial)
                except (FetchError, IntegrityError) as error:
                    # Wrong bytes weigh more than none.
                    fault = fault if isinstance(fault, IntegrityError) else error
                else:
                    with self._tally.lock:
                        self._tally.files += 1
                    return
            assert fault is not None  # noqa: S101 - there is at least one place
            raise fault

    def _bring_from(self, url: str, partial: Partial) -> None:
        patience, failed, again = self._upstream.patience, 0, False
        while True:
            before = partial.offset
            try:
                self._transfer(url, partial)
                self._tally.keep(partial)
            except IntegrityError as error:
                self._restart(partial)
                if again:
                    raise _at(error, url) from error
                again = True
            except TransientError as error:
                self._check_stop()
                failed = 1 if partial.offset - before >= _GETTING_ON else failed + 1
                pause = patience.pause(failed, error.retry_after)
                if pause is None:
                    raise
                if self._tally.stop.wait(pause):
                    raise _StoppedError from None
            else:
                return

    def _transfer(self, url: str, partial: Partial) -> None:
        """Get what is missing of the archive.

        Raises:
            PassingError: it broke off; what came is in ``partial``.
            IntegrityError: what comes cannot be it.
        """
        if partial.offset == partial.size:
            return
        self._check_stop()
        with self._upstream.open(url, partial.offset, partial.validator) as answer:
            if answer.start != partial.offset or not answer.start:
                self._restart(partial, answer.validator)
            self._check_length(answer, partial)
            while data := self._pace.read(answer):
                self._check_stop()
                partial.write(data)
                with self._tally.lock:
                    self._tally.bytes += len(data)
                self._tally.done(len(data))
        if answer.length is None and partial.offset < partial.size:
            # A server that says no length may have been cut off without a sign.
            raise TransientError("less came than there should be", where=redact_url(url))

    def _check_length(self, answer: Response, partial: Partial) -> None:
        """Refuse before the first byte what is too long or too short: a login page, mostly."""
        if answer.start not in {0, partial.offset} or (
            answer.length is not None and answer.start + answer.length != partial.size
        ):
            kind = f" of {answer.kind}" if answer.kind else ""
            raise IntegrityError(
                "the size is not that of the record",
                expected=f"{partial.size} bytes",
                got=f"{answer.start + (answer.length or 0)} bytes{kind}",
            )

    def _restart(self, partial: Partial, validator: str | None = None) -> None:
        self._tally.done(-partial.offset)
        partial.restart(validator)

    def _check_stop(self) -> None:
        if self._tally.stop.is_set():
            raise _StoppedError


def _at(error: IntegrityError, url: str) -> IntegrityError:
    return IntegrityError(
        error.what, where=redact_url(url), expected=error.expected, got=error.got, hint=error.hint
    )


def _named(fault: RepackError, errand: _Download) -> RepackError:
    """The same error, saying which package it is about."""
    kind = FetchError if isinstance(fault, FetchError) else type(fault)
    return kind(
        f"{errand.record.fn}: {fault.what}",
        where=fault.where,
        expected=fault.expected,
        got=fault.got,
        hint=fault.hint,
    )


def _together(faults: Sequence[RepackError]) -> RepackError:
    """One error for all; what stopped the rest came first, wrong bytes weigh more than none."""
    first = next((fault for fault in faults if isinstance(fault, IntegrityError)), faults[0])
    if len(faults) == 1 or not isinstance(faults[0], FetchError | IntegrityError):
        return faults[0]
    lines = [f"{fault.what} ({fault.where})" for fault in faults[:_REPORTED]]
    if more := len(faults) - len(lines):
        lines.append(f"and {more} more")
    return type(first)(
        f"{len(faults)} packages cannot be fetched",
        got="\n    ".join(["", *lines]),
        hint=first.hint,
    )
