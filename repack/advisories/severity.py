"""How grave an advisory is: CVSS vectors to words.

Source: CVSS 3.1 specification, sections 5 and 7.1 (base score and its equations; 3.0 has the same for
base metrics) and 2.0, section 3.2.1. Of CVSS 4.0, whose scores stand in a table of 270 rows, the word
that the database gives counts instead.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.advisories.policy import Severity

_VECTOR: Final = re.compile(r"CVSS:(3\.[01]|4\.0)((?:/[A-Za-z]+:[A-Za-z]+)+)\Z")
_VECTOR_2: Final = re.compile(r"[A-Za-z]+:[A-Z]+(?:/[A-Za-z]+:[A-Z]+)+\Z")
_METRICS: Final[Mapping[str, Mapping[str, float]]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "S": {"U": 0.0, "C": 1.0},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES_CHANGED: Final = {"N": 0.85, "L": 0.68, "H": 0.5}
_WORDS: Final[Mapping[str, Severity]] = {
    "LOW": "low",
    "MODERATE": "medium",
    "MEDIUM": "medium",
    "HIGH": "high",
    "CRITICAL": "critical",
}


def severity_of_word(word: object) -> Severity:
    """The severity that a database gives in a word; ``unknown`` for any other word."""
    return _WORDS.get(word.upper(), "unknown") if isinstance(word, str) else "unknown"


def severity_of_vector(kind: str, vector: str) -> Severity:
    """The severity of a vector of OSV's ``severity`` field.

    Raises:
        ValueError: ``kind`` names a CVSS, and the vector is none of it.
    """
    if kind == "CVSS_V3":
        return severity_of_score(base_score(vector))
    if kind == "CVSS_V4" and not ((m := _VECTOR.match(vector)) and m[1] == "4.0"):
        raise ValueError(f"no CVSS 4.0 vector: {vector[:80]!r}")
    if kind == "CVSS_V2" and not _VECTOR_2.match(vector):
        raise ValueError(f"no CVSS 2.0 vector: {vector[:80]!r}")
    return "unknown"


def severity_of_score(score: float) -> Severity:
    """The qualitative severity (section 5)."""
    if score >= 9.0:
        return "critical"
    if score >= 7.0:
        return "high"
    return "medium" if score >= 4.0 else "low"


def base_score(vector: str) -> float:
    """The base score of a CVSS 3 vector.

    Raises:
        ValueError: it is none, or lacks a base metric.
    """
    match = _VECTOR.match(vector)
    if match is None or match[1] == "4.0":
        raise ValueError(f"no CVSS 3 vector: {vector[:80]!r}")
    values = dict(metric.split(":") for metric in match[2][1:].split("/"))
    try:
        weights = {name: row[values[name]] for name, row in _METRICS.items()}
    except KeyError as error:
        raise ValueError(f"no value for {error} in {vector[:80]!r}") from None
    is_changed = values["S"] == "C"
    if is_changed:
        weights["PR"] = _PRIVILEGES_CHANGED[values["PR"]]
    base = 1 - math.prod(1 - weights[name] for name in ("C", "I", "A"))
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if is_changed else 6.42 * base
    if impact <= 0:
        return 0.0
    ease = 8.22 * math.prod(weights[name] for name in ("AV", "AC", "PR", "UI"))
    return _round_up(min((impact + ease) * (1.08 if is_changed else 1.0), 10.0))


def _round_up(number: float) -> float:
    """Up to one decimal, in whole numbers, as appendix A of the specification wants it."""
    scaled = round(number * 100_000)
    return scaled / 100_000 if scaled % 10_000 == 0 else (scaled // 10_000 + 1) / 10
