"""How the build of one label among many ended, and the words for all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, Literal

from repack.codec.decode import Document
from repack.display import amount, counted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repack.errors import RepackError
    from repack.release.outcome import Outcome

State = Literal["published", "unchanged", "repaired", "previewed", "failed", "left"]
# Exit codes from the one that needs least attention to the one that needs most: what could not be
# done is better than what must not be used. The worst one ends a run.
_WORST_LAST: Final = (0, 8, 5, 9, 2, 3, 4, 7, 6, 1)
_LABELS_SHOWN: Final = 40


class LabelResult(Document, frozen=True):
    """One label of a run.

    Attributes:
        exit_code: what ``repack label NAME`` alone would have ended with.
        kind: the error's kind, for failures.
        what: the error's text, for failures.
        cause: what failures of several labels have in common: the text without the label.
    """

    label: str
    state: State
    exit_code: int = 0
    release: int = 0
    bytes_fetched: int = 0
    seconds: float = 0.0
    kind: str = ""
    what: str = ""
    cause: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> LabelResult:
        """The result of a build that went well."""
        return cls(
            label=str(outcome.label),
            state=outcome.state,
            release=outcome.release,
            bytes_fetched=outcome.bytes_fetched,
            seconds=round(outcome.seconds, 3),
            warnings=outcome.warnings,
        )

    @classmethod
    def of_error(cls, label: str, error: RepackError, seconds: float) -> LabelResult:
        """The result of a build that failed with an error of the house."""
        cause = f"{error.what} {error.got or ''}".replace(label, "LABEL")
        return cls(
            label=label,
            state="failed",
            exit_code=error.exit_code,
            seconds=round(seconds, 3),
            kind=error.kind,
            what=error.text(),
            cause=shown(cause, 300),
        )

    @classmethod
    def failed(cls, label: str, kind: str, what: str, exit_code: int = 1) -> LabelResult:
        """The result of a build that ended in another way."""
        return cls(label, "failed", exit_code, kind=kind, what=what, cause=what)

    @property
    def line(self) -> str:
        """One line, for a log."""
        if self.state == "failed":
            return f"{self.label}: FAILED ({self.exit_code}) {self.what.splitlines()[0]}"
        if self.state == "left":
            return f"{self.label}: not built"
        words = {"published": "published", "repaired": "whole again", "previewed": "would change"}
        fetched = f", {amount(self.bytes_fetched)} fetched" if self.bytes_fetched else ""
        state = words.get(self.state, self.state)
        return f"{self.label}: release {self.release} {state}{fetched} ({self.seconds:.1f} s)"


def worst_code(results: Sequence[LabelResult]) -> int:
    """The exit code of the whole run."""
    codes = [result.exit_code for result in results]
    return max(
        codes, default=0, key=lambda code: _WORST_LAST.index(code) if code in _WORST_LAST else 99
    )


def summarize(results: Sequence[LabelResult], seconds: float) -> Iterator[str]:
    """The end of a run: counts, then each kind of failure once with the labels it hit."""
    counts: Counter[str] = Counter(result.state for result in results)
    order = ("published", "repaired", "unchanged", "previewed", "failed", "left")
    words = {"left": "not built"}
    parts = [f"{counts[state]} {words.get(state, state)}" for state in order if counts[state]]
    fetched = sum(result.bytes_fetched for result in results)
    yield f"{counted(len(results), 'label')}: {', '.join(parts)}; {amount(fetched)} fetched ({seconds:.0f} s)"
    groups: dict[tuple[int, str, str], list[LabelResult]] = defaultdict(list)
    for result in results:
        if result.state == "failed":
            groups[result.exit_code, result.kind, result.cause].append(result)
    for (code, kind, _), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        names = ", ".join(result.label for result in group[:_LABELS_SHOWN])
        more = f" and {len(group) - _LABELS_SHOWN} more" if len(group) > _LABELS_SHOWN else ""
        yield f"  {kind} (exit code {code}), {counted(len(group), 'label')}: {names}{more}"
        yield from (f"    {line}" for line in group[0].what.splitlines())
    left = [result.label for result in results if result.state == "left"]
    if left:
        names = ", ".join(left[:_LABELS_SHOWN])
        yield f"  not built: {names}{' and more' if len(left) > _LABELS_SHOWN else ''}"


def summary_json(results: Sequence[LabelResult], seconds: float) -> dict[str, Any]:
    """The last line of ``--json``."""
    counts = Counter(result.state for result in results)
    return {
        "summary": dict(sorted(counts.items())),
        "failed": [result.label for result in results if result.state == "failed"],
        "left": [result.label for result in results if result.state == "left"],
        "exit_code": worst_code(results),
        "seconds": round(seconds, 3),
    }
