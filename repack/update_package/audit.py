"""The checks made on an update package, in the order in which they were made."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.codec.decode import encode
from repack.errors import IntegrityError, RepackError
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator


class AuditEntry(Struct, frozen=True):
    """One check: what was checked, of which file, whether it passed, and what was seen."""

    check: str
    target: str
    ok: bool
    detail: str


class Audit:
    """Collects checks, errors and warnings; a failed check does not end the others.

    Args:
        progress: hears of long work.
    """

    def __init__(self, progress: Progress = SILENT) -> None:
        self.progress = progress
        self.entries: list[AuditEntry] = []
        self.errors: list[RepackError] = []
        self.warnings: list[str] = []

    def note(self, check: str, target: str, detail: str) -> None:
        """Write down a check that passed."""
        self.entries.append(AuditEntry(check, target, ok=True, detail=detail))

    def warn(self, check: str, target: str, detail: str) -> None:
        """Write down something that is allowed and should be known."""
        self.note(check, target, detail)
        self.warnings.append(f"{target}: {detail}")

    def fail(self, check: str, target: str, error: RepackError) -> None:
        """Write down a check that failed."""
        seen = "; ".join(
            f"{name} {value}"
            for name, value in (("expected", error.expected), ("got", error.got))
            if value is not None
        )
        detail = f"{error.what} ({seen})" if seen else error.what
        self.entries.append(AuditEntry(check, target, ok=False, detail=detail))
        self.errors.append(error)

    def compare(self, check: str, target: str, expected: object, got: object) -> None:
        """Write down whether two values are the same."""
        if expected == got:
            self.note(check, target, str(got))
        else:
            what = f"the {check} is wrong"
            self.fail(check, target, IntegrityError(what, where=target, expected=expected, got=got))

    @contextlib.contextmanager
    def check(self, check: str, target: str, detail: str = "as it should be") -> Iterator[None]:
        """Write down the check that the block makes; an error of the house fails it and is kept."""
        try:
            yield
        except RepackError as error:
            self.fail(check, target, error)
        else:
            self.note(check, target, detail)

    def to_json(self) -> dict[str, object]:
        """The document that the script and ``repack verify --json`` print."""
        status = "error" if self.errors else "ok"
        errors = {"errors": [error.text() for error in self.errors]} if self.errors else {}
        rows = encode(self.entries)
        return {"status": status, **errors, "warnings": self.warnings, "audit": rows}

    def end(self) -> None:
        """Finish checking.

        Raises:
            RepackError: the first thing that was wrong.
        """
        if self.errors:
            raise self.errors[0]
