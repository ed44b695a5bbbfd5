"""MatchSpecs as text, in spellings that conda reads and rattler's strict parser does not."""

from __future__ import annotations

import re
from typing import Any, Final

# Source: conda, ``conda/models/match_spec.py``; `conda env export` writes nothing else.
_TRIPLE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*) ?={1,2}(?P<version>[^\s=<>~\[\]]+)=(?P<build>[^\s=\[\]]+)"
)


def normalize_spec(text: str) -> str:
    """Rewrite ``name=version=build`` as ``name ==version build``."""
    text = " ".join(text.split())
    match = _TRIPLE.fullmatch(text)
    if match is None:
        return text
    name, version, build = match.groups()
    return f"{name} {version if '*' in version else f'=={version}'} {build}"


def spec_fault(text: str) -> str | None:
    """Return why ``text`` is no MatchSpec, or None when it is one."""
    import rattler
    from rattler import exceptions as rx

    try:
        rattler.MatchSpec(text, strict=True)
    except (rx.InvalidMatchSpecError, rx.InvalidPackageNameError, ValueError, TypeError) as error:
        return str(error)
    return None


def spec_name(text: str) -> str:
    """The name of the package that a MatchSpec selects; empty when it selects any."""
    import rattler

    name = rattler.MatchSpec(text, strict=True).name
    return "" if name is None else str(name.normalized)


def matches_spec(text: str, native: Any) -> bool:
    """Whether a record of rattler's is one that the MatchSpec ``text`` selects."""
    import rattler

    return bool(rattler.MatchSpec(text, strict=True).matches(native))


def is_in_bound(version: str, bound: str) -> bool:
    """Whether ``version`` is in a bound such as ``>=2.28,<3``."""
    import rattler

    return bool(rattler.VersionSpec(bound).matches(rattler.Version(version)))
