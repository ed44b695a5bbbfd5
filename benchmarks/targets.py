"""What was measured against what it must reach, as lines of a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One promise and what came of it.

    Attributes:
        what: the promise.
        limit: what the figure may be at most.
        got: the figure; None if the yardstick was not there.
        unit: of both.
        detail: the figures behind it.
    """

    what: str
    limit: float
    got: float | None
    unit: str
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None if it could not be measured."""
        return None if self.got is None else self.got <= self.limit

    def row(self) -> str:
        """A line of a Markdown table."""
        verdict = {True: "met", False: "**not met**", None: "not measured"}[self.met]
        got = "" if self.got is None else f"{self.got:.3g} {self.unit}"
        return (
            f"| {self.what} | ≤ {self.limit:.3g} {self.unit} | {got} | {verdict} | {self.detail} |"
        )


HEAD = "| what | limit | measured | | behind it |\n|---|---|---|---|---|"


def table(targets: list[Target]) -> str:
    """All targets as a Markdown table."""
    return "\n".join([HEAD, *(target.row() for target in targets)])
