"""A signing ceremony's file: what is to be signed, carried to the keys and back.

Made on the build machine, signed on one or more machines that hold keys and nothing else, taken
in on the build machine again. The file is not trusted anywhere: who signs is shown what stands in
it, and signs only for a role that his own key set gives him; what comes back is held against the
metadata that is published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from repack.codec.canonical import canonical, loads
from repack.errors import KeyRefusedError, MetadataInvalidError
from repack.keys.keyset import KeySet
from repack.keys.keyset import parse as parse_keyset
from repack.trust.metadata import DELEGATED, MAX_BYTES, ROLES_BELOW_ROOT, releases_in
from repack.trust.metadata import parse as parse_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuf.api.metadata import Metadata

_FORMAT: Final = "repack-ceremony-1"


@dataclass(frozen=True, slots=True)
class Ceremony:
    """New metadata that lacks signatures.

    Attributes:
        opened: role -> its new metadata, with the signatures made so far.
        signers: role -> key ids that may sign it.
        keyset: the key set that this brings into force, if it brings one.
    """

    label: str
    opened: Mapping[str, Metadata[Any]]
    signers: Mapping[str, tuple[str, ...]]
    keyset: KeySet | None = None

    def to_bytes(self) -> bytes:
        """The file that travels."""
        document = {
            "format": _FORMAT,
            "label": self.label,
            "what": list(self.lines()),
            "signers": {role: list(keyids) for role, keyids in self.signers.items()},
            "metadata": {role: metadata.to_dict() for role, metadata in self.opened.items()},
            "keyset": None if self.keyset is None else json.loads(self.keyset.to_bytes()),
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"

    def lines(self) -> tuple[str, ...]:
        """What is signed, in words, from the metadata itself."""
        found = [f"label {self.label}"]
        for role, metadata in self.opened.items():
            signed = metadata.signed
            found.append(f"{role} version {signed.version}, valid until {signed.expires:%Y-%m-%d}")
            if role in DELEGATED:
                found += [
                    f"  release {one.number} for {', '.join(one.platforms)}"
                    + (f", tags {', '.join(one.tags)}" if one.tags else "")
                    for one in releases_in(signed, role)
                ]
            elif role == "root":
                found += [
                    f"  {name}: {one.threshold} of {', '.join(k[:16] for k in one.keyids)}"
                    for name, one in signed.roles.items()
                ]
            elif signed.delegations is not None:
                found += [
                    f"  {name}: {one.threshold} of {', '.join(k[:16] for k in one.keyids)}"
                    for name, one in (signed.delegations.roles or {}).items()
                ]
        return tuple(found)


def parse(data: bytes, where: object) -> Ceremony:
    """Read a ceremony's file; signatures are not looked at.

    Raises:
        KeyRefusedError: it is none.
        MetadataInvalidError: the metadata in it is malformed.
        IntegrityError: not strict JSON.
    """
    document = loads(data, where, 4 * MAX_BYTES)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise KeyRefusedError("not a ceremony's file", where=where, expected=f"format {_FORMAT}")
    label, rows, signers = (document.get(name) for name in ("label", "metadata", "signers"))
    if not isinstance(label, str) or not isinstance(rows, dict) or not isinstance(signers, dict):
        raise KeyRefusedError("the ceremony's file is malformed", where=where)
    opened: dict[str, Metadata[Any]] = {}
    for role, row in rows.items():
        if role not in ("root", *ROLES_BELOW_ROOT[:3]):
            raise KeyRefusedError("a role that no ceremony signs", where=where, got=role[:40])
        opened[role] = parse_metadata(canonical(row), role, f"{where}, {role}")
    keyset = document.get("keyset")
    try:
        return Ceremony(
            label,
            opened,
            {role: tuple(map(str, signers[role])) for role in opened},
            None if keyset is None else parse_keyset(canonical(keyset), where),
        )
    except (KeyError, TypeError) as error:
        raise MetadataInvalidError("the ceremony's file is malformed", where=where) from error
