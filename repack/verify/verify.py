"""Verify a channel: who signed it, is it all there and unchanged, does it say one thing.

Nothing is written and nothing is taken on trust: every file is hashed, every signature that can
be checked is checked, all findings are listed. Without a pinned root the metadata is only checked
against its own first root; the verdict says so.
"""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
from typing import TYPE_CHECKING, Final

from repack.channel import integrity, layout, manifest
from repack.channel.layout import MANIFEST
from repack.channel.leftovers import leftover_paths
from repack.channel.metadata_folder import read_folder
from repack.channel.releases import extra_files
from repack.codec import sha256sums, zstd
from repack.conda.record import ARCHIVE_SUFFIXES
from repack.conda.subdir import NOARCH
from repack.errors import IntegrityError, RootChainError, SignatureError, TargetError
from repack.fs import atomic
from repack.fs.inventory import take_inventory
from repack.timestamps import stamp
from repack.trust.recalls import describe_recalls
from repack.trust.selection import check_not_future, check_times, warnings
from repack.verify.consistency import (
    MAX_REPODATA,
    Finding,
    Subdir,
    check_subdir,
    compare_artifacts,
    compare_release,
)
from repack.verify.places import check_places
from repack.verify.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from repack.channel.manifest import Manifest
    from repack.file_entry import FileEntry
    from repack.fs.inventory import Inventory
    from repack.names import RelPath
    from repack.trust.client import TrustedMetadata
    from repack.verify.verdict import Requirements


_REINDEXED: Final = (
    "repodata.json.bz2 is gone, as after a `conda index`: conda 4.3 reads no other index and finds no"
    " package here; copy the folder again as it was delivered, or say `conda index --bz2`"
)


def verify(
    channel: Path,
    requirements: Requirements,
    now: datetime,
    known: Mapping[RelPath, FileEntry] | None = None,
) -> Verdict:
    """Check everything that can be checked in ``channel``.

    Args:
        known: files that the caller has just hashed, by path.

    Raises:
        UsageError: there is no such folder.
        IntegrityError: there is no manifest, or one that cannot be read at all.
        PlaceError: a file cannot be read.
    """
    inventory = take_inventory(channel, known)
    if MANIFEST not in inventory.files:
        raise IntegrityError(
            "there is no manifest: not a repack channel, or not whole", where=channel
        )
    data = atomic.read(channel / MANIFEST, manifest.MAX_BYTES)
    release = manifest.parse(data, MANIFEST)
    verdict = Verdict(release.id, release.version)
    verdict.litter = inventory.litter
    verdict.files = len(inventory.files)
    verdict.bytes = sum(entry.size for entry in inventory.files.values())
    _check_signature(release, requirements, verdict)
    _check_files(channel, release, inventory, verdict)
    platforms = (release.platform,) if isinstance(release.platform, str) else release.platform
    for name in dict.fromkeys((NOARCH, *platforms)):
        verdict.findings += check_subdir(_subdir(channel, name, inventory, verdict))
    wrong = {finding.path for finding in verdict.findings}
    verdict.findings += check_places(channel, platforms, wrong)
    _check_extra_files(channel, release, requirements, inventory, verdict)
    _accept_leftovers(channel, inventory, requirements, verdict)
    _check_metadata(channel, data, requirements, verdict, now)
    _check_need(requirements, verdict)
    verdict.findings = list(dict.fromkeys(verdict.findings))
    if any(f.kind == "missing" and f.path.endswith("/repodata.json.bz2") for f in verdict.findings):
        verdict.warnings.append(_REINDEXED)
    return verdict


def _check_signature(release: Manifest, requirements: Requirements, verdict: Verdict) -> None:
    if release.signature is None:
        if requirements.key is not None:
            verdict.refusals.append(SignatureError("the manifest is not signed", where=MANIFEST))
        return
    verdict.signature, key_id = "unchecked", release.signature.get("key_id")
    verdict.key_id = key_id if isinstance(key_id, str) else None
    if requirements.key is None:
        return
    if requirements.key.warning:
        verdict.warnings.append(requirements.key.warning)
    try:
        release.check(requirements.key, MANIFEST)
        verdict.signature = "good"
    except SignatureError as error:
        verdict.signature = "bad"
        verdict.refusals.append(error)


def _check_need(requirements: Requirements, verdict: Verdict) -> None:
    if requirements.need == "nothing" or verdict.refusals:
        return
    if verdict.signature != "good" and verdict.metadata not in {"pinned", "unpinned"}:
        what = (
            "the signature was not checked"
            if verdict.signature == "unchecked"
            else "the channel is unsigned"
        )
        hint = "give --key" if verdict.signature == "unchecked" else None
        verdict.refusals.append(SignatureError(what, where=MANIFEST, hint=hint))


def _check_files(channel: Path, release: Manifest, inventory: Inventory, verdict: Verdict) -> None:
    pin = release.integrity
    if pin is None or pin.path != layout.INTEGRITY_PATH:
        verdict.findings.append(
            Finding("malformed", MANIFEST, "names no integrity list", layout.INTEGRITY_PATH)
        )
        return
    listed = inventory.files.get(pin.path)
    if listed is None:
        verdict.findings.append(Finding("missing", pin.path, "missing"))
        return
    if listed.sha256 != pin.sha256:
        what = "is not the list that the manifest names"
        verdict.findings.append(Finding("changed", pin.path, what, pin.sha256, listed.sha256))
        return
    entries = integrity.parse(atomic.read(channel / pin.path, integrity.MAX_BYTES), pin.path)
    verdict.findings += compare_release(entries, inventory, release.release)
    verdict.findings += compare_artifacts(release.artifacts, entries)


def _check_extra_files(
    channel: Path,
    release: Manifest,
    requirements: Requirements,
    inventory: Inventory,
    verdict: Verdict,
) -> None:
    """What other releases keep in this folder, on a medium, is not extra; it is checked as well.

    A release that is signed for in fewer ways than the standing one is none: anybody can put one
    there, and its list would let any file pass. The metadata is asked in :func:`_check_target`.
    """

    def is_vouched(other: Manifest) -> bool:
        if (other.signature is None) != (release.signature is None):
            return False
        if requirements.key is None or other.signature is None:
            return True
        with contextlib.suppress(SignatureError):
            other.check(requirements.key, MANIFEST)
            return True
        return False

    owned = extra_files(channel, is_vouched)
    findings = [f for f in verdict.findings if f.kind != "extra" or f.path not in owned]
    for path, entry in owned.items():
        if (there := inventory.files.get(path)) is None:
            findings.append(Finding("missing", path, "missing"))
        elif there.sha256 != entry.sha256:
            findings.append(Finding("changed", path, "changed", entry.sha256, there.sha256))
    verdict.findings = findings


def _accept_leftovers(
    channel: Path, inventory: Inventory, requirements: Requirements, verdict: Verdict
) -> None:
    """What a plain delta could not remove is no fault; it is warned about."""
    dropped = leftover_paths(channel, verdict.label, requirements.key)
    left = {
        finding.path
        for finding in verdict.findings
        if finding.kind == "extra" and finding.path in dropped and finding.path not in inventory.odd
    }
    if left:
        verdict.findings = [
            finding
            for finding in verdict.findings
            if finding.kind != "extra" or finding.path not in left
        ]
        verdict.warnings.append(
            f"left over from earlier releases: {len(left)} files;"
            " python3 repack/verify.py --tidy removes them"
        )


def _subdir(channel: Path, name: str, inventory: Inventory, verdict: Verdict) -> Subdir:
    archives = {
        path.removeprefix(f"{name}/"): entry
        for path, entry in inventory.files.items()
        if path.startswith(f"{name}/") and path.endswith(ARCHIVE_SUFFIXES) and path.count("/") == 1
    }
    variants: dict[str, bytes | None] = {}
    for suffix in ("", ".zst", ".bz2"):
        path = f"{name}/repodata.json{suffix}"
        variants[f"repodata.json{suffix}"] = None
        if path in inventory.files:
            plain = variants.get("repodata.json")
            try:
                data = atomic.read(channel / path, MAX_REPODATA)
                variants[f"repodata.json{suffix}"] = _unpack(data, suffix, len(plain or b""))
            except (IntegrityError, zstd.ZstdError, OSError, EOFError) as error:
                why = str(error)[:200]
                verdict.findings.append(Finding("malformed", path, "cannot be unpacked", None, why))
                del variants[f"repodata.json{suffix}"]
    return Subdir(name, variants, archives)


def _unpack(data: bytes, suffix: str, size: int) -> bytes:
    """The content; of what is longer than ``size`` no more than shows that it is."""
    if suffix == ".bz2":
        unpacker = bz2.BZ2Decompressor()
        content = unpacker.decompress(data, size + 1)
        if len(content) <= size and (not unpacker.eof or unpacker.unused_data):
            raise IntegrityError("cut off, or followed by more")
        return content
    if suffix == ".zst":
        with zstd.ZstdFile(io.BytesIO(data)) as stream:
            return stream.read(size + 1)
    return data


def _check_metadata(
    channel: Path, data: bytes, requirements: Requirements, verdict: Verdict, now: datetime
) -> None:
    folder = channel / layout.METADATA_DIR
    if not folder.is_dir():
        if requirements.root is not None:
            verdict.refusals.append(
                SignatureError("there is no signed metadata to check", where=folder)
            )
        return
    try:
        metadata_files = read_folder(folder)
        verdict.findings += _check_sums(metadata_files)
        trusted = _refresh(folder, metadata_files, requirements)
        check_times(trusted.metadata.expiries(), now, None)
        check_not_future(trusted.metadata.signed_at(), now)
        recalled = trusted.metadata.recalled
    except (TargetError, IntegrityError) as error:
        verdict.metadata = "bad"
        verdict.refusals.append(error)
        return
    verdict.metadata = "unpinned" if requirements.root is None else "pinned"
    verdict.development = trusted.metadata.development
    if now < (latest := max(trusted.metadata.signed_at().values(), default=now)):
        verdict.warnings.append(
            f"the clock stands at {stamp(now)}, before the signing, {stamp(latest)}"
        )
    verdict.warnings += warnings(trusted.metadata.expiries(), now)
    numbers = [number for number in recalled if str(number) == verdict.release]
    verdict.warnings += [describe_recalls(recalled, [number]) for number in numbers]
    verdict.findings += _check_target(channel, data, trusted, verdict)


def _refresh(
    folder: Path, metadata_files: Mapping[str, bytes], requirements: Requirements
) -> TrustedMetadata:
    """The client's own verdict, and the whole chain of roots from the first one."""
    from repack.trust import client
    from repack.trust.metadata import load_roots

    roots = load_roots(metadata_files, folder)
    chain = [metadata_files[f"{root.signed.version}.root.json"] for root in roots]
    if requirements.root is not None and requirements.root not in chain:
        raise RootChainError(
            "the pinned root is none of this channel's", where=folder, hint="is it another label's?"
        )
    return client.refresh_once(folder, requirements.root or chain[0])


def _check_target(
    channel: Path, data: bytes, trusted: TrustedMetadata, verdict: Verdict
) -> Iterator[Finding]:
    """Whether the metadata signs this very manifest."""
    sha256 = hashlib.sha256(data).hexdigest()
    if trusted.metadata.label != verdict.label:
        yield Finding(
            "contradiction", MANIFEST, "the metadata is another label's", verdict.label,
            trusted.metadata.label,
        )  # fmt: skip
    for path, entry in extra_files(channel).items():
        number = path.split("/")[2] if path.endswith("/manifest.json") else ""
        signed = {r.sha256 for r in trusted.releases if str(r.number) == number}
        if number and signed != {entry.sha256}:
            yield Finding("changed", path, "is not the manifest that the metadata signs for")
    roles = [role for role in trusted.releases if str(role.number) == verdict.release]
    if not any(role.type == "ci" for role in roles):
        yield Finding("contradiction", MANIFEST, "the metadata does not sign for this release")
    for role in roles:
        if role.sha256 != sha256:
            what = f"is not the manifest that role {role.type} signs for"
            yield Finding("changed", MANIFEST, what, role.sha256, sha256)
        if role.type == "production":
            verdict.tags = role.tags
    copy = f"repack/releases/{verdict.release}/manifest.json"
    if not (channel / copy).is_file():
        yield Finding("missing", copy, "missing")
    elif atomic.read(channel / copy, manifest.MAX_BYTES) != data:
        yield Finding("changed", copy, f"differs from {MANIFEST}")


def _check_sums(metadata_files: Mapping[str, bytes]) -> Iterator[Finding]:
    """The plain list of the metadata's hashes, for programs that know no public keys."""
    folder = layout.METADATA_DIR
    if sha256sums.SUMS not in metadata_files:
        yield Finding("missing", f"{folder}/{sha256sums.SUMS}", "missing")
        return
    listed = sha256sums.parse_sums(metadata_files[sha256sums.SUMS], f"{folder}/{sha256sums.SUMS}")
    for name, digest in listed.items():
        if name not in metadata_files:
            yield Finding("missing", f"{folder}/{name}", "missing")
        elif (got := hashlib.sha256(metadata_files[name]).hexdigest()) != digest:
            yield Finding("changed", f"{folder}/{name}", "changed", digest, got)
    for name in sorted(set(metadata_files) - set(listed) - {sha256sums.SUMS}):
        yield Finding("extra", f"{folder}/{name}", "is not part of the metadata")
