"""The lines of deltas: make one from two releases, apply one to a channel.

create: both releases' trees -> patches that pay -> one signed file
apply: admit -> renew -> stage -> verify -> publish -> checklist of the medium, if it is on one
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repack.channel import manifest as manifests
from repack.channel.folder import Channels
from repack.channel.history import past_tree
from repack.channel.integrity import MANIFEST_PATH
from repack.delta import create as step
from repack.delta import file as delta_file
from repack.delta.renew import Standing, admit, renew, root_of
from repack.errors import (
    IntegrityError,
    KeyRefusedError,
    MetadataExpiredError,
    RepackError,
    UsageError,
)
from repack.fs import atomic
from repack.medium.write import is_medium, put_checklist
from repack.progress import SILENT, Progress
from repack.verify.verdict import Demand
from repack.verify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from repack.channel.manifest import Manifest
    from repack.delta.create import Made
    from repack.delta.manifest import Form
    from repack.keys.shared_key import Key
    from repack.names import LabelName
    from repack.store.store import Store
    from repack.verify.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Leap:
    """The two releases of a delta, and how it shall be made. See :class:`repack.delta.create.Order`.

    Attributes:
        key: gives the key that the label signs with; asked only when the releases are signed.
    """

    label: LabelName
    old: int
    new: int
    form: Form
    carry: float | None
    key: Callable[[], Key | None]


def create(
    leap: Leap, channels: Channels, store: Store, out: Path, progress: Progress = SILENT
) -> Made:
    """Write the delta between two releases.

    Raises:
        UsageError: a release is not kept, or it is twice the same.
        FetchError: the store has lost some of their packages.
        KeyRefusedError: the releases are signed, and there is no key to sign the delta with.
        SpaceError: the disk is full.
    """
    if leap.old == leap.new:
        raise UsageError("a delta leads from one release to another one", got=f"twice {leap.old}")
    with channels.exclusive(leap.label):
        old = past_tree(channels, leap.label, leap.old, store)
        new = past_tree(channels, leap.label, leap.new, store)
    target = manifests.parse(new.texts[MANIFEST_PATH], MANIFEST_PATH)
    order = step.Order(old, new, leap.form, leap.carry, _key(target, leap))
    return step.create(order, out, progress)


def _key(target: Manifest, leap: Leap) -> Key | None:
    if target.signature is None:
        return None
    key = leap.key()
    if key is None:
        raise KeyRefusedError(
            f"release {leap.new} is signed, so its delta must be",
            hint="give --key, or --labels-dir with the label that names it",
        )
    target.check(key, f"release {leap.new}")
    return key


@dataclass(frozen=True, slots=True)
class Applied:
    """A channel that a delta was applied to."""

    folder: Path
    before: str
    verdict: Verdict

    def to_json(self) -> dict[str, object]:
        """The document ``repack delta apply --json`` prints."""
        return {
            "channel": str(self.folder),
            "label": self.verdict.label,
            "from": self.before,
            "release": self.verdict.release,
            "changed": self.before != self.verdict.release,
            "signed_by": self.verdict.signed_by,
            "files": self.verdict.files,
            "bytes": self.verdict.bytes,
            "warnings": self.verdict.warnings,
        }


def apply(
    folder: Path, file: Path, key: Key | None, now: datetime, progress: Progress = SILENT
) -> Applied:
    """Make a channel the release that a delta leads to.

    Killed at any instant, it leaves the old or the new channel, and the next call goes on.

    Raises:
        IntegrityError: the delta is damaged or for another base, or the channel is damaged.
        SignatureError: a signature is missing or wrong.
        TargetError: the new metadata is not to be believed by what the channel has.
        SpaceError: there is not room enough; the channel is as it was.
        PlaceError: a file cannot be read or written. If it is the checklist of the medium around
            the channel, the channel is renewed already; the next call writes it.
    """
    channels, name = Channels.around(folder)
    with channels.exclusive(name):
        standing = Standing.of(folder)
        try:
            with delta_file.opened(file) as opened:
                admit(standing, opened, key)
                work = channels.work(name) / opened.sha256
                renewed = renew(standing, opened, work, progress)
            staged = channels.stage(name, renewed.tree)
            demand = Demand(key=key, root=root_of(standing))
            verdict = verify(staged, demand, now, renewed.known)
            verdict = _sound(verdict, channels.unstaged(name, renewed.tree), standing)
        except RepackError:
            # A killed run leaves what it made to the next one; a refused one leaves nothing.
            channels.discard(name)
            atomic.remove(channels.work(name))
            raise
        channels.publish(name, renewed.tree)
        atomic.remove(channels.work(name))
    channels.tidy()
    if is_medium(folder.parent):
        put_checklist(folder.parent, f"{now:%Y-%m-%d %H:%M} UTC")
    return Applied(folder, standing.manifest.version, verdict)


def _sound(verdict: Verdict, known: frozenset[str], standing: Standing) -> Verdict:
    """The verdict on what is staged, if it may be published; ``known`` lies there already."""
    late = [one for one in verdict.refusals if isinstance(one, MetadataExpiredError)]
    for refusal in verdict.refusals:
        if refusal not in late:
            raise refusal
    wrong = [one for one in verdict.findings if one.kind != "missing" or one.path not in known]
    if wrong:
        raise IntegrityError(
            f"what the delta makes is no sound channel: {len(wrong)} findings",
            where=standing.folder,
            got=str(wrong[0]),
        )
    # Whether metadata is still in time is for targets to judge; the copy is as good as it was.
    return replace(
        verdict,
        refusals=[],
        findings=[],
        warnings=[*verdict.warnings, *(error.text() for error in late)],
        files=verdict.files + len(known),
        bytes=verdict.bytes + sum(a.size for a in standing.manifest.artifacts if a.path in known),
    )
