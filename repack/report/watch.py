"""What is found of one package, and the file that keeps it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from repack.codec.decode import Document, decode, encode
from repack.display import counted, shown
from repack.errors import RepackError
from repack.fs import atomic
from repack.fs.walk import read_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.channel.folder import Channels
    from repack.names import LabelName

Kind = Literal["withdrawn", "gone", "replaced", "hotfixed", "unsolvable"]
_NAME: Final = "watch.json"
_WORDS: Final[dict[Kind, str]] = {
    "withdrawn": "withdrawn by upstream",
    "gone": "no longer upstream",
    "replaced": "other content under the same name",
    "hotfixed": "hot-fixed since",
    "unsolvable": "no longer solvable",
}


class FieldChange(Document, frozen=True):
    """A field of a record that upstream has changed."""

    name: str
    before: Any
    after: Any


class WatchFinding(Document, frozen=True):
    """What became of one package, or of one platform's solution.

    Attributes:
        package: its path in the channel; the platform for ``unsolvable``.
        changes: for hot-fixes, field by field.
        detail: for people.
    """

    kind: Kind
    package: str
    changes: tuple[FieldChange, ...] = ()
    detail: str = ""

    @property
    def line(self) -> str:
        """For people."""
        fields = ", ".join(change.name for change in self.changes)
        detail = f" ({fields})" if fields else f": {self.detail}" if self.detail else ""
        return f"{shown(self.package)}: {_WORDS[self.kind]}{detail}"


class WatchReport(Document, frozen=True):
    """What is found of one release.

    Attributes:
        when: the moment, UTC.
    """

    label: str
    release: int
    when: str
    findings: tuple[WatchFinding, ...] = ()

    @property
    def withdrawn(self) -> tuple[WatchFinding, ...]:
        """Packages that upstream took back."""
        return tuple(finding for finding in self.findings if finding.kind == "withdrawn")

    def lines(self) -> Iterator[str]:
        """For people."""
        state = counted(len(self.findings), "finding") if self.findings else "as upstream has it"
        yield f"{self.label} release {self.release}: {state}"
        for finding in self.findings:
            yield f"  {finding.line}"
            for change in finding.changes:
                yield f"    {change.name}: {_text(change.before)} -> {_text(change.after)}"

    def summary(self) -> str | None:
        """One line for other commands; None when there is nothing to say."""
        if not self.findings:
            return None
        counts: dict[str, int] = {}
        for finding in self.findings:
            word = _WORDS[finding.kind]
            counts[word] = counts.get(word, 0) + 1
        parts = ", ".join(f"{number} {word}" for word, number in counts.items())
        return f"upstream, as of {self.when}: {parts}; see repack watch {self.label}"


def keep_report(channels: Channels, report: WatchReport) -> None:
    """Keep a report beside the label's history, for other commands to tell of."""
    from repack.names import LabelName

    path = channels.history(LabelName(report.label)) / _NAME
    atomic.write(path, json.dumps(encode(report), ensure_ascii=False).encode() + b"\n")


def kept_report(channels: Channels, label: LabelName, release: int) -> WatchReport | None:
    """What was last found of this very release; None when that is not known."""
    path = channels.history(label) / _NAME
    try:
        data = read_or_none(path)
        report = decode(WatchReport, json.loads(data), path, "watch report") if data else None
    except (RepackError, ValueError):
        return None
    return report if report is not None and report.release == release else None


def _text(value: Any) -> str:
    return shown(json.dumps(value, ensure_ascii=False), 200)
