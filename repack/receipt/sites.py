"""The vendor's list of sites: the last receipt of each, and the key that signs them.

::

    SITES/NAME.json    the last receipt, as it was signed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import IntegrityError, SignatureError, UsageError
from repack.fs import atomic, beneath
from repack.names import LabelName
from repack.receipt.receipt import LIMIT, Receipt, read_receipt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repack.conda.virtual_packages import TargetProfile

_SUFFIX: Final = ".json"


class Site(Struct, frozen=True):
    """A site and what it said last."""

    name: str
    receipt: Receipt

    def to_json(self) -> dict[str, object]:
        """The row that ``--json`` prints."""
        from repack.codec.decode import encode

        fields = {k: v for k, v in encode(self.receipt).items() if k not in ("format", "key")}
        return {"site": self.name, **fields, "key_id": self.receipt.key_id}


class Sites:
    """A folder of sites; it need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = beneath.guard(folder.absolute())

    def list(self) -> tuple[Site, ...]:
        """Every site, by name.

        Raises:
            IntegrityError: a file is damaged.
        """
        names = sorted(
            entry.name.removesuffix(_SUFFIX)
            for entry in beneath.scan_if_there(self._folder)
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith(".")
        )
        return tuple(self.get(name) for name in names)

    def get(self, name: str) -> Site:
        """One site.

        Raises:
            UsageError: there is none of that name.
            IntegrityError: its file is damaged.
        """
        path = self._path(name)
        if not beneath.is_file(path):
            known = ", ".join(sorted(p.name for p in beneath.scan_if_there(self._folder)))
            raise UsageError(
                f"no site {name!r}",
                where=self._folder,
                got=known.replace(_SUFFIX, "")[:300] or None,
                hint="repack sites import RECEIPT --as NAME",
            )
        return Site(name, read_receipt(atomic.read(path, LIMIT), path))

    def take(self, data: bytes, where: object, name: str | None, accepted: str | None) -> Site:
        """Take a receipt over.

        Args:
            name: of the site; None for the one that the device already has.
            accepted: the key that somebody compared with the site, as :attr:`Receipt.key_id`.

        Raises:
            IntegrityError: no receipt; one of another device than the site's; an old one again.
            SignatureError: edited, or signed by a key that nobody accepted.
            UsageError: a device without a name.
        """
        receipt = read_receipt(data, where)
        known = next((s for s in self.list() if _is_same_device(s.receipt, receipt)), None)
        name = name or (known.name if known else None)
        if name is None:
            raise UsageError(
                "a receipt of a device that is not known", where=where, hint="name it: --as SITE"
            )
        path = self._path(name)
        if known is not None and known.name != name:
            raise IntegrityError(
                "a receipt of another site's device", where=where, expected=name, got=known.name
            )
        before = self.get(name) if beneath.is_file(path) else None
        if before is not None and not _is_same_device(before.receipt, receipt):
            raise IntegrityError(
                f"a receipt of another device than that of site {name}",
                where=where,
                expected=before.receipt.fingerprint,
                got=receipt.fingerprint,
                hint=f"a device that was exchanged is a site of its own, or remove {path}",
            )
        if before is None or before.receipt.key != receipt.key:
            self._check_accepted(receipt, accepted, where)
        elif receipt.number <= before.receipt.number:
            raise IntegrityError(
                "a receipt that was taken already, or an older one",
                where=where,
                expected=f"a number above {before.receipt.number}",
                got=str(receipt.number),
                hint="make a new one: repack target receipt",
            )
        atomic.write(path, data)
        return Site(name, receipt)

    @staticmethod
    def _check_accepted(receipt: Receipt, accepted: str | None, where: object) -> None:
        plain = (accepted or "").replace("-", "").lower()
        if plain != receipt.key_id.replace("-", ""):
            raise SignatureError(
                "the receipt is signed by a key that is not known",
                where=where,
                expected=accepted or None,
                got=receipt.key_id,
                hint="compare with `repack target receipt` on the device, then"
                f" --accept {receipt.key_id}",
            )

    def _path(self, name: str) -> Path:
        return self._folder / f"{LabelName(name)}{_SUFFIX}"


def missing_at(receipt: Receipt, profile: TargetProfile) -> tuple[str, ...]:
    """What a label assumes of its targets and a site's machine does not have, a sentence each."""
    from repack.conda.rattler import is_older

    lines = []
    for package in profile.virtual_packages:
        has = receipt.virtual_packages.get(package.name)
        if package.name == "__archspec" or not receipt.virtual_packages:
            continue
        if has is None:
            lines.append(f"the label assumes {package.name} {package.version}, the site has none")
        elif is_older(has, package.version):
            lines.append(f"the label assumes {package.name} {package.version}, the site has {has}")
    return tuple(lines)


def running(sites: Iterable[Site], label: str) -> dict[str, int | None]:
    """The release in use by site, for one label."""
    return {site.name: site.receipt.release for site in sites if site.receipt.label == label}


def _is_same_device(one: Receipt, other: Receipt) -> bool:
    return one.fingerprint == other.fingerprint and one.label == other.label
