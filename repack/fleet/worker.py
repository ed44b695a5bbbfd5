"""A worker: a process that builds one label after another and tells how each ended."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.errors import RepackError
from repack.fleet.result import LabelResult
from repack.urls import redact_text

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from repack.release.outcome import Outcome
    from repack.release.session import BuildSession
    from repack.settings import Settings


class WorkerTask(Struct, frozen=True):
    """What a worker is to do with every label it gets."""

    settings: Settings
    is_preview: bool = False


def work(connection: Connection, task: WorkerTask) -> None:
    """Build the labels whose names come through ``connection`` until it is closed.

    Runs in a process of its own. Ctrl-C is for the parent, which then closes the connection.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    from repack.release.session import BuildSession

    session: BuildSession | None = None
    while True:
        try:
            label = connection.recv()
        except (EOFError, OSError):
            return
        began = time.monotonic()
        try:
            if session is None:
                session = BuildSession.open(task.settings, writes_overview=False)
            result = LabelResult.of(_run(label, task, session))
        except RepackError as error:
            result = LabelResult.of_error(label, error, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - a bug in one label must not stop the others
            what = redact_text(f"unexpected error: {type(error).__name__}: {error}")
            result = LabelResult.failed(label, "unexpected", what)
        try:
            connection.send(result)
        except (BrokenPipeError, OSError):
            return


def _run(label: str, task: WorkerTask, session: BuildSession) -> Outcome:
    from repack.release.line import build
    from repack.release.preview import preview

    if task.is_preview:
        return preview(label, task.settings)
    return build(label, task.settings, session=session)


def _die_with_parent() -> None:
    """Let a killed parent take its workers along, where the system can (prctl(2))."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
