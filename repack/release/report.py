"""The report of a release that is being made: gathers what the line has in hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from repack.conda.rattler import older
from repack.label.label import names
from repack.prove.channel import read_whole
from repack.report.changes import compare
from repack.report.compose import Subject, account
from repack.report.document import Signature
from repack.report.history import before, bundles, hotfixes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.channel.contents import Shipment
    from repack.channel.manifest import Release
    from repack.names import RelPath
    from repack.release.context import Bench
    from repack.release.draft import Standing
    from repack.report.document import Difference, Report
    from repack.solve.solution import Found
    from repack.trust.sign import Signing


@dataclass(frozen=True, slots=True)
class Making:
    """A release about to be signed.

    Attributes:
        texts: its metadata files so far.
        before: the release that stands.
    """

    found: Found
    shipment: Shipment
    release: Release
    texts: Mapping[RelPath, bytes]
    signing: Signing
    before: Standing | None
    warnings: tuple[str, ...]


def told(making: Making, bench: Bench) -> Report:
    """What the report says.

    Raises:
        IntegrityError: metadata of the release before, or a bundle's archive, is damaged.
    """
    shipment, label = making.shipment, bench.label
    last = None if making.before is None else making.before.release
    subject = Subject(
        label=label,
        release=making.release,
        shipment=shipment,
        questions=making.found.questions,
        how=making.found.how,
        signature=_signature(making.signing),
        own=names(label),
        hotfixes=hotfixes(making.texts),
        modes=bench.modes(making.found.questions),
        whole=len(read_whole(shipment, bench)),
        bundles=bundles(
            label,
            shipment,
            {path: bench.store.path(item.record.sha256) for path, item in shipment.items.items()},
        ),
        warnings=making.warnings,
        older=older,
        secrets=bench.label.secrets | making.found.secrets | making.signing.secrets,
    )
    return account(subject, before(bench.channels, label.name, last))


def foreseen(found: Found, standing: Standing | None, bench: Bench) -> tuple[Difference, ...]:
    """What a build would change of the packages that are not the label's own.

    Raises:
        IntegrityError: metadata of the release before is damaged.
    """
    if standing is None:
        return ()
    mine = names(bench.label)
    was = before(bench.channels, bench.label.name, standing.release).records
    return compare([record for record in was if record.name not in mine], found.distinct, older)


def _signature(signing: Signing) -> Signature:
    hmac = ""
    if signing.hmac is not None:
        name = f"{signing.hmac.key_id}, " if signing.hmac.key_id else ""
        hmac = f"{name}fingerprint {signing.hmac.fingerprint}"
    if signing.keys is None:
        return Signature("shared" if hmac else "unsigned", hmac)
    keyset = signing.keys.keyset
    keys = tuple(
        f"{role}: {one.threshold} of {', '.join(keyid[:16] for keyid in one.keys)}"
        for role, one in sorted(keyset.roles.items())
    )
    return Signature("development" if keyset.development else "own", hmac, keys)
