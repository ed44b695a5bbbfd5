"""Runs work in a forked child that never comes back into the test, whatever it raises."""

from __future__ import annotations

import os
import traceback


def start(work) -> int:
    """Fork a child that ends with what ``work()`` returns (None is 0), or 1; return its process id."""
    if child := os.fork():  # noqa: TID251
        return child
    code = 1
    try:
        code = work() or 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


def run(work) -> int:
    """Run ``work()`` in a child; its exit code, or the negative number of the signal it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(start(work), 0)[1])
