"""What PyPI calls a conda package: the names that advisories and scanners look for.

The table beside this file is the one that conda-pypi ships (made by regro and grayskull), turned
round; its first lines say of which version. It says which package is which distribution. A package
that it lacks is not known to be none: such a package is unknown, never clean.

Sources: purl-spec, "pypi" and "generic"; the ``purls`` field of repodata records as rattler has it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.conda.record import Record

_TABLE: Final = "pypi_names.txt"
_PYPI_URL: Final = re.compile(r"pkg:pypi/(?P<name>[A-Za-z0-9._-]{1,200})@(?P<version>[^?#\s]+)")


class Distribution(Struct, frozen=True, order=True):
    """A distribution of PyPI; the name is normalized."""

    name: str
    version: str

    @property
    def url(self) -> str:
        """The package URL."""
        return f"pkg:pypi/{self.name}@{quote(self.version, safe='')}"


@cache
def known_names() -> Mapping[str, tuple[str, ...]]:
    """Conda name -> the distributions that it is, by the table."""
    text = resources.files("repack.conda").joinpath(_TABLE).read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {row[0]: tuple(row[1:]) or (row[0],) for row in rows}


def normalized(name: str) -> str:
    """The name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions_of(record: Record) -> tuple[Distribution, ...]:
    """The distributions of PyPI that a package is known to be.

    What its record says itself, as those of converted wheels do, counts before the table.
    """
    return distributions_of_fields(record.raw, record.name, record.version)


def distributions_of_fields(
    fields: Mapping[str, Any], name: str, version: str
) -> tuple[Distribution, ...]:
    """As :func:`distributions_of`, of the fields of a repodata record or of ``conda-meta``."""
    urls = fields.get("purls")
    matches = [_PYPI_URL.match(url) for url in urls if isinstance(url, str)] if urls else []
    own = {
        Distribution(normalized(unquote(match["name"])), unquote(match["version"]))
        for match in matches
        if match
    }
    if own:
        return tuple(sorted(own))
    return tuple(Distribution(normalized(n), version) for n in known_names().get(name.lower(), ()))


def package_urls(record: Record) -> tuple[str, ...]:
    """Package URLs that scanners know, beside the one of conda.

    A package that is no known distribution has a generic one, which names it and claims nothing.
    """
    urls = tuple(distribution.url for distribution in distributions_of(record))
    name, version = quote(record.name.lower(), safe=""), quote(record.version, safe="")
    return urls or (f"pkg:generic/{name}@{version}",)
