"""The report of a release that is being made: gathers what the line has in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from repack.conda.rattler import is_older
from repack.label.label import names
from repack.prove.channel import read_whole
from repack.report.changes import compare
from repack.report.compose import ReportSubject, compose_report
from repack.report.document import ReportSignature
from repack.report.history import bundles, earlier_releases, hotfixes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.channel.contents import ChannelContents
    from repack.channel.manifest import Release
    from repack.names import RelPath
    from repack.release.context import BuildContext
    from repack.release.draft import PublishedRelease
    from repack.report.document import Difference, Report
    from repack.solve.solution import Solution
    from repack.trust.sign import Signing


class Making(Struct, frozen=True):
    """A release about to be signed.

    Attributes:
        texts: its metadata files so far.
        before: the release that stands.
    """

    found: Solution
    shipment: ChannelContents
    release: Release
    texts: Mapping[RelPath, bytes]
    signing: Signing
    before: PublishedRelease | None
    warnings: tuple[str, ...]


def compose_build_report(making: Making, bench: BuildContext) -> Report:
    """What the report says.

    Raises:
        IntegrityError: metadata of the release before, or a bundle's archive, is damaged.
    """
    shipment, label = making.shipment, bench.label
    last = None if making.before is None else making.before.release
    subject = ReportSubject(
        label=label,
        release=making.release,
        shipment=shipment,
        requests=making.found.requests,
        how=making.found.how,
        signature=_signature(making.signing),
        own=names(label),
        hotfixes=hotfixes(making.texts),
        modes=bench.modes(making.found.requests),
        whole=len(read_whole(shipment, bench.proof(making.found.requests))),
        bundles=bundles(
            label,
            shipment,
            {path: bench.store.path(item.record.sha256) for path, item in shipment.items.items()},
        ),
        warnings=making.warnings,
        older=is_older,
        secrets=bench.label.secrets | making.found.secrets | making.signing.secrets,
    )
    return compose_report(subject, earlier_releases(bench.channels, label.name, last))


def preview_changes(
    found: Solution, standing: PublishedRelease | None, bench: BuildContext
) -> tuple[Difference, ...]:
    """What a build would change of the packages that are not the label's own.

    Raises:
        IntegrityError: metadata of the release before is damaged.
    """
    if standing is None:
        return ()
    mine = names(bench.label)
    was = earlier_releases(bench.channels, bench.label.name, standing.release).records
    return compare(
        [record for record in was if record.name not in mine], found.unique_records, is_older
    )


def _signature(signing: Signing) -> ReportSignature:
    hmac = ""
    if signing.hmac is not None:
        name = f"{signing.hmac.key_id}, " if signing.hmac.key_id else ""
        hmac = f"{name}fingerprint {signing.hmac.fingerprint}"
    if signing.keys is None:
        return ReportSignature("shared" if hmac else "unsigned", hmac)
    keyset = signing.keys.keyset
    keys = tuple(
        f"{role}: {one.threshold} of {', '.join(keyid[:16] for keyid in one.keys)}"
        for role, one in sorted(keyset.roles.items())
    )
    return ReportSignature("development" if keyset.development else "own", hmac, keys)
