"""A run over many labels: give them to workers, watch these, write down how each label ended."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.channel.folder import Channels
from repack.fleet.journal import journal_of
from repack.fleet.result import LabelResult
from repack.fleet.worker import WorkerTask, work
from repack.report.overview import write_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from repack.fleet.journal import RunJournal
    from repack.settings import Settings

_TICK = 0.2


class RunOptions(Struct, frozen=True):
    """How a run is made.

    Attributes:
        jobs: how many workers.
        budget: seconds after which no further label is begun.
        label_timeout: seconds that one label may take.
        fail_fast: whether the first failure ends the run; labels that are being built end first.
        is_preview: whether to say what would change only.
        on_result: hears how each label ended, as it ends.
    """

    jobs: int
    on_result: Callable[[LabelResult], None]
    budget: float | None = None
    label_timeout: float | None = None
    fail_fast: bool = False
    is_preview: bool = False


def build_labels(
    labels: Sequence[str], settings: Settings, options: RunOptions
) -> tuple[LabelResult, ...]:
    """Build many labels; one result for each, in the order of ``labels``.

    Raises:
        BusyError: another run works on these channels.
        PlaceError: the journal cannot be written.
    """
    channels = Channels(settings.channels_dir)
    with journal_of(channels.root / ".history", labels) as journal:
        run = _Run(settings, options, journal)
        try:
            results = run.build([label for label in labels if label not in journal.done])
        finally:
            run.close()
        if not options.is_preview and channels.root.is_dir():
            write_page(channels)
        if not any(result.state == "left" for result in results.values()):
            journal.end()
        return tuple(results.get(label) or journal.done[label] for label in labels)


class _Worker:
    """A process and the label it is building."""

    def __init__(self, task: WorkerTask) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(theirs, task), daemon=True)
        self.process.start()
        theirs.close()
        self.label: str | None = None
        self.began = 0.0

    def start(self, label: str) -> None:
        self.label, self.began = label, time.monotonic()
        self.connection.send(label)

    def stop(self) -> None:
        self.connection.close()
        self.process.join(5)
        self.kill()

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()


class _Run:
    def __init__(self, settings: Settings, options: RunOptions, journal: RunJournal) -> None:
        self._task = WorkerTask(settings, options.is_preview)
        self._options = options
        self._journal = journal
        self._workers: list[_Worker] = []
        self._results: dict[str, LabelResult] = {}
        self._is_ending = False

    def build(self, labels: Sequence[str]) -> dict[str, LabelResult]:
        waiting, began = deque(labels), time.monotonic()
        while waiting or any(worker.label for worker in self._workers):
            budget = self._options.budget
            if budget is not None and time.monotonic() - began > budget:
                self._is_ending = True
            if self._is_ending:
                while waiting:
                    self._end(LabelResult(waiting.popleft(), "left"))
            self._feed(waiting)
            self._collect()
        return self._results

    def close(self) -> None:
        """End all workers; whoever still builds is ended too, which leaves a whole channel."""
        for worker in self._workers:
            if worker.label is None:
                worker.stop()
            else:
                worker.kill()
        self._workers = []

    def _feed(self, waiting: deque[str]) -> None:
        for worker in self._workers:
            if worker.label is None and waiting:
                worker.start(waiting.popleft())
        while waiting and len(self._workers) < self._options.jobs:
            worker = _Worker(self._task)
            worker.start(waiting.popleft())
            self._workers.append(worker)

    def _collect(self) -> None:
        """Wait a moment, and take what has ended: labels, and workers."""
        busy = [worker for worker in self._workers if worker.label is not None]
        wait([worker.connection for worker in busy], _TICK)
        for worker in busy:
            label = str(worker.label)
            limit = self._options.label_timeout
            try:
                if worker.connection.poll():
                    self._end(worker.connection.recv())
                    worker.label = None
                elif not worker.process.is_alive():
                    self._lose(worker, "killed", _death(worker.process.exitcode))
                elif limit is not None and time.monotonic() - worker.began > limit:
                    what = f"took longer than --label-timeout ({limit:g} s) and was stopped"
                    self._lose(worker, "timeout", what)
            except (EOFError, OSError):
                worker.process.join(5)
                self._lose(worker, "killed", _death(worker.process.exitcode))
            if label in self._results and self._results[label].state == "failed":
                self._is_ending = self._is_ending or self._options.fail_fast

    def _lose(self, worker: _Worker, kind: str, what: str) -> None:
        label = str(worker.label)
        worker.connection.close()
        worker.kill()
        self._workers.remove(worker)
        self._end(LabelResult.failed(label, kind, what))

    def _end(self, result: LabelResult) -> None:
        self._results[result.label] = result
        self._journal.add(result)
        self._options.on_result(result)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed by signal {-code} (want of memory?)"
    return f"its process ended with {code}"
