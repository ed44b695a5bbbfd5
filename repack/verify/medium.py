"""Verify a medium: each channel on it, and what lies beside them.

The rules are those of ``shipped/verify.py``, which does the same without repack. Beside the channels
only what repack writes there, what a list of its own names and what the site keeps may lie.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.channel import integrity, manifest
from repack.channel.layout import INTEGRITY_PATH, MANIFEST
from repack.channel.releases import extra_files
from repack.codec.sha256sums import MAX_SUMS, SUMS, parse_sums
from repack.errors import IntegrityError, RepackError, TargetError
from repack.fs import atomic, beneath, digests
from repack.fs.inventory import take_inventory
from repack.names import RelPath
from repack.verify.consistency import Finding
from repack.verify.verdict import Verdict
from repack.verify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.fs.inventory import Inventory
    from repack.verify.verdict import Requirements

TOP: Final = re.compile(
    r"licence[^/]*\.json|index\.html|CHECKLIST\.md|SHA256SUMS|verify\.py|check-sha256\.cmd"
    r"|sync\.sh|sync\.cmd|\.locks/[^/]+\.lock|notary/[^/]+\.json"
)
SITE: Final = re.compile(
    r"licen[cs]e[^/]*\.json[^/]*|backups/[^/]+/(fingerprint|license_store)\.[^/]+"
)
_LISTS: Final = re.compile(r"(installers|notary|oem/[^/]+)/SHA256SUMS")


class MediumVerdict(Struct, frozen=True):
    """What was found on a medium.

    Attributes:
        findings: what is wrong beside the channels.
    """

    channels: tuple[Verdict, ...]
    findings: tuple[Finding, ...]
    litter: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong; 6 for wrong bytes, else that of the first channel that is."""
        if self.findings:
            return IntegrityError.exit_code
        return next((row.exit_code for row in self.channels if row.exit_code), 0)

    def to_json(self) -> dict[str, object]:
        """The document ``repack verify --json`` prints."""
        return {
            "status": "ok" if self.exit_code == 0 else "error",
            "channels": [verdict.to_json() for verdict in self.channels],
            "findings": [finding.to_json() for finding in self.findings],
            "litter": list(self.litter),
        }


def channels_on(root: Path) -> list[Path]:
    """The channels on a medium; none if ``root`` is a channel itself, or neither."""
    with atomic.os_errors_at(root):
        if beneath.is_file(root / MANIFEST):
            return []
        names = sorted(e.name for e in beneath.scan_if_there(root) if e.kind == "folder")
        return [root / name for name in names if (root / name / MANIFEST).is_file()]


def verify_medium(root: Path, requirements: Requirements, now: datetime) -> MediumVerdict:
    """Check everything that can be checked on a medium.

    Raises:
        PlaceError: a file cannot be read.
    """
    channels = channels_on(root)
    verdicts = []
    for channel in channels:
        others = [other for other in channels if other != channel]
        verdicts.append(_verify_channel(channel, others, requirements, now))
    inventory = take_inventory(root)
    prefixes = tuple(f"{channel.name}/" for channel in channels)
    litter = tuple(path for path in inventory.litter if not path.startswith(prefixes))
    return MediumVerdict(tuple(verdicts), tuple(_check_beside(root, inventory, prefixes)), litter)


def _verify_channel(
    channel: Path, others: Sequence[Path], requirements: Requirements, now: datetime
) -> Verdict:
    """One channel's verdict; what cannot be read at all is a refusal."""
    try:
        verdict = verify(channel, requirements, now)
    except (IntegrityError, TargetError) as error:
        return Verdict(channel.name, "?", refusals=[error])
    # Where the medium has no links, a package that channels share lies in one of them only.
    expected = _expected(channel) if any(f.kind == "missing" for f in verdict.findings) else {}
    verdict.findings = [
        finding
        for finding in verdict.findings
        if finding.kind != "missing" or not _lies_in(others, finding.path, expected)
    ]
    return verdict


def _expected(channel: Path) -> Mapping[str, str]:
    """Path -> SHA-256 of what the releases in a channel list."""
    owned = {str(path): str(entry.sha256) for path, entry in extra_files(channel).items()}
    try:
        release = manifest.parse(atomic.read(channel / MANIFEST, manifest.MAX_BYTES), MANIFEST)
        data = atomic.read(channel / INTEGRITY_PATH, integrity.MAX_BYTES)
        standing = integrity.parse(data, INTEGRITY_PATH)
    except RepackError:
        return {}
    packages = {artifact.path for artifact in release.artifacts} | owned.keys()
    listed = {str(path): str(entry.sha256) for path, entry in standing.items()}
    return {path: digest for path, digest in {**owned, **listed}.items() if path in packages}


def _lies_in(channels: Sequence[Path], path: str, expected: Mapping[str, str]) -> bool:
    return path in expected and any(
        beneath.is_file(channel / path) and digests.digest(channel / path)[0] == expected[path]
        for channel in channels
    )


def _check_beside(root: Path, inventory: Inventory, prefixes: tuple[str, ...]) -> Iterator[Finding]:
    """What lies beside the channels and is in no list, or is not what its list says."""
    files = {p: entry for p, entry in inventory.files.items() if not p.startswith(prefixes)}
    sums: dict[str, str] = {}
    listed: set[str] = set()
    for path in [p for p in files if p == SUMS or _LISTS.fullmatch(p)]:
        folder = path.removesuffix(SUMS)
        listed |= {path} if folder else set()
        try:
            rows = parse_sums(atomic.read(root / path, MAX_SUMS), path, has_folders=not folder)
        except IntegrityError as error:
            yield Finding("malformed", path, error.what, error.expected, error.got)
            continue
        rows_here = {folder + name: str(digest) for name, digest in rows.items()}
        listed |= rows_here.keys() if folder else set()
        sums |= {name: d for name, d in rows_here.items() if not name.startswith(prefixes)}
    for name, digest in sums.items():
        if (entry := files.get(RelPath(name))) is None:
            yield Finding("missing", name, "missing")
        elif entry.sha256 != digest:
            yield Finding("changed", name, "is not what its list says", digest, entry.sha256)
    odd = {path for path in inventory.odd if not path.startswith(prefixes)}
    for name in sorted({*files, *odd} - listed):
        if name in odd or not (TOP.fullmatch(name) or SITE.fullmatch(name)):
            yield Finding("extra", name, "is no part of the medium")
