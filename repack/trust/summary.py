"""What signed metadata says, read without verifying a signature: for overviews and warnings only.

Whoever receives a release verifies it with :mod:`repack.trust.client`. What cannot be read here
counts as absent. python-tuf is not imported, so that an unchanged rebuild does not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from repack.codec.canonical import loads
from repack.errors import IntegrityError, MetadataInvalidError
from repack.timestamps import read_time
from repack.trust.recalls import RECALLED, parse_recalls
from repack.trust.selection import DEVELOPMENT, SignedFor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.trust.recalls import Recalls

_ROLES: Final[tuple[SignedFor, ...]] = ("ci", "production")


class MetadataSummary(Struct, frozen=True):
    """What the metadata of a label says, unverified.

    Attributes:
        expiries: role -> when its metadata expires, as RFC 3339 text; of roots the newest alone.
        development: whether the newest root says that its keys are development keys.
        tags: ``ci`` and ``production`` -> number of each release signed there -> its tags.
        recalled: the releases that were recalled.
    """

    expiries: Mapping[str, str] = field(default_factory=dict)
    development: bool = False
    tags: Mapping[SignedFor, Mapping[int, tuple[str, ...]]] = field(default_factory=dict)
    recalled: Recalls = field(default_factory=dict)

    @property
    def expires(self) -> str | None:
        """When the first of the roles below root expires."""
        return min((at for role, at in self.expiries.items() if role != "root"), default=None)

    def signed_for(self, release: int) -> dict[SignedFor, tuple[str, ...]]:
        """The roles that sign ``release``, ``ci`` first, with the tags each gives it."""
        return {role: tags[release] for role, tags in self.tags.items() if release in tags}


def summarize_metadata(files: Mapping[str, bytes]) -> MetadataSummary:
    """Read the metadata ``files``, given by file name."""
    signed = {name: _signed_part(data, name) for name, data in sorted(files.items())}
    roots = [part for name, part in signed.items() if name.endswith(".root.json")]
    root = max(roots, key=_version, default={})
    parts = {name.removesuffix(".json"): part for name, part in signed.items()}
    parts = {role: part for role, part in parts.items() if not role.endswith(".root")}
    return MetadataSummary(
        expiries={
            role: part["expires"]
            for role, part in {"root": root, **parts}.items()
            if read_time(part.get("expires")) is not None
        },
        development=root.get(DEVELOPMENT) is True,
        tags={role: _tags_by_release(parts.get(role, {})) for role in _ROLES},
        recalled=_recalls(parts.get("targets", {})),
    )


def _signed_part(data: bytes, name: str) -> dict[str, Any]:
    try:
        document = loads(data, name, len(data)) if name.endswith(".json") else None
    except IntegrityError:
        return {}
    signed = document.get("signed") if isinstance(document, dict) else None
    return signed if isinstance(signed, dict) else {}


def _version(root: Mapping[str, Any]) -> int:
    version = root.get("version")
    return version if isinstance(version, int) else 0


def _recalls(signed: Mapping[str, Any]) -> dict[int, str]:
    try:
        return parse_recalls(signed.get(RECALLED, []), "targets.json")
    except MetadataInvalidError:
        return {}


def _tags_by_release(signed: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    targets = signed.get("targets")
    customs = [
        target.get("custom")
        for target in (targets.values() if isinstance(targets, dict) else ())
        if isinstance(target, dict)
    ]
    return {
        custom["release"]: tuple(tag for tag in _list(custom.get("tags")) if isinstance(tag, str))
        for custom in customs
        if isinstance(custom, dict) and isinstance(custom.get("release"), int)
    }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
