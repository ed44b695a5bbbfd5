"""Dependencies in the words of conda 4.3.

That conda splits a dependency at white space into name, version and build; more words, brackets, a
single ``=`` and ``~=`` it does not understand, and the package then can't be installed. Which forms
it takes was measured with 4.3.16; its grammar is ``conda.resolve.MatchSpec`` and
``conda.version.VersionSpec`` of that release.
"""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(.*?)\s*(?:\[(.*)\])?\s*\Z", re.DOTALL)
_FIELD: Final = re.compile(
    r"\s*(version|build)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,'\"]+?))\s*(?:,|\Z)"
)
_TERM: Final = re.compile(r"(~=|==|!=|>=|<=|=|>|<)?([A-Za-z0-9_.+!*-]+)\Z")
_BUILD: Final = re.compile(r"[A-Za-z0-9_.+*|-]+\Z")


def old_spec(spec: str) -> str | None:
    """``spec`` so that conda 4.3 takes it and means the same, or None when it has no words for it."""
    head = _HEAD.match(spec)
    if head is None or "::" in spec:
        return None
    name, rest, brackets = head.groups()
    version, build = _split(rest)
    for key, value in _fields(brackets or "").items():
        if key == "version" and version is None:
            version = value
        elif key == "build" and build is None:
            build = value
        else:
            return None
    if version is None and build is None:
        return name
    new = _version(version or "*")
    if new is None or (build is not None and not _BUILD.match(build)):
        return None
    return f"{name} {new}" if build is None else f"{name} {new} {build}"


def _split(rest: str) -> tuple[str | None, str | None]:
    """Version and build of what stands behind the name, ``>=1, <2 *_cpython`` or ``=1.2=0``."""
    if not rest:
        return None, None
    together = re.sub(r"\s*([,|])\s*", r"\1", rest)
    together = re.sub(r"(~=|==|!=|>=|<=|=|>|<)\s+", r"\1", together)
    version, _, build = together.partition(" ")
    if not build:
        exact = re.match(r"=?([^=<>!~,|]+)=([^=<>!~,|]+)\Z", version)
        if exact:
            return f"=={exact[1]}" if "*" not in exact[1] else exact[1], exact[2]
    return version, build.strip() or None


def _fields(brackets: str) -> dict[str, str]:
    """What stands in brackets; a key that is unknown here makes the whole an unknown one."""
    found: dict[str, str] = {}
    at = 0
    while at < len(brackets):
        field = _FIELD.match(brackets, at)
        if field is None:
            return {"": brackets}
        found[field[1]] = next(value for value in field.groups()[1:] if value is not None)
        at = field.end()
    return found


def _version(version: str) -> str | None:
    alternatives = []
    for alternative in re.sub(r"[()\s]", lambda m: m[0] if m[0] in "()" else "", version).split(
        "|"
    ):
        terms = [_term(term) for term in alternative.split(",")]
        if None in terms:
            return None
        alternatives.append(",".join(term for term in terms if term))
    return "|".join(alternatives)


def _term(term: str) -> str | None:
    match = _TERM.match(term)
    if match is None:
        return None
    sign, version = match.groups()
    if sign == "=":
        return version if version.endswith("*") else f"{version}.*"
    if sign == "~=":
        stem, dot, _ = version.rpartition(".")
        return f">={version},{stem}.*" if dot else None
    if sign == "==" and version.endswith("*"):
        return version
    if sign == "<=" and version.endswith("*"):
        return None  # leaves out 1.5 itself where others have it in `<=1.5.*`
    return term
