"""The label's key ``advisories``."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, cast

from repack.advisories.policy import DEFAULT_AGE, Acceptance, AdvisoryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.advisories.policy import DeniedFrom
    from repack.codec.tree import Line, ProblemList, View


def read_advisories(
    table: View, locate: Callable[[Line], str], problems: ProblemList
) -> AdvisoryPolicy:
    """What stands below the key; mistakes that the schema does not see go into ``problems``.

    Args:
        locate: makes the absolute path of a text.
    """
    source, accepted = table.text("source"), []
    age = re.fullmatch("([1-9][0-9]{0,3})d", table.word("max_age", ""))
    for row in table.views("accept"):
        until = row.text("until")
        try:
            day = dt.date.fromisoformat(until.text) if until else dt.date.min
        except ValueError:
            what = f"'advisories.accept.until' must be a day, not {row.word('until', '')[:60]!r}"
            problems.add(row.line, what, "such as 2027-01-31")
            continue
        accepted.append(Acceptance(row.word("id", ""), day, row.word("why", "")))
    return AdvisoryPolicy(
        source=locate(source) if source else "",
        max_age=int(age[1]) if age else DEFAULT_AGE,
        deny=cast("DeniedFrom | None", table.word("deny", "") or None),
        accept=tuple(accepted),
    )
