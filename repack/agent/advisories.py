"""What is installed, judged by the advisories that a newer medium carries."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.advisories.document import ADVISORIES_PATH, MAX_BYTES, Judgement
from repack.advisories.judge import Request, Subject, judge
from repack.agent.accept import InstallRequest, accept, take_first_whole
from repack.agent.medium import Medium
from repack.codec.decode import encode
from repack.errors import ContentMissingError, IntegrityError, NoSuchReleaseError, PlaceError
from repack.fs import atomic
from repack.fs.ownership import check_own_file
from repack.prefix.conda_meta import read_meta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.agent.context import AgentContext
    from repack.trust.selection import SignedRelease

_HINT = "have a release built with `advisories:` in its label, and put it on the medium"


class InstalledJudgement(Struct, frozen=True):
    """What is known of the release in use.

    Attributes:
        release: the release in use.
        age_fault: what is wrong with the age of the advisories, for people.
    """

    label: str
    release: int
    judgement: Judgement
    age_fault: str = ""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.label}: release {self.release} in use"
        yield from self.judgement.lines()
        if self.age_fault:
            yield f"  {self.age_fault}"

    def to_json(self) -> dict[str, object]:
        """The answer to ``--json``; entries on other versions are left out."""
        return {
            "label": self.label,
            "release": self.release,
            "age_fault": self.age_fault or None,
            **encode(replace(self.judgement, advisories=(), covers=())),
        }


def judge_installed(context: AgentContext, source: Path | None) -> InstalledJudgement:
    """Judge the release in use; nothing is installed.

    Args:
        source: a channel or medium. Its advisories are kept for later, unless newer ones are; the
            newest that were ever brought judge.

    Raises:
        NoSuchReleaseError: nothing is in use.
        TargetError: the medium's metadata is refused.
        ContentMissingError: there are no advisories, or they are damaged.
        PlaceError: something cannot be read or written.
    """
    current = context.storage.pointer.get()
    if current is None:
        raise NoSuchReleaseError("no release is in use", where=context.storage.folder)
    kept = _read_kept(context)
    if source is not None:
        with context.storage.exclusive():
            carried = _read_medium(context, source)
            if kept is None or carried.database.date >= kept.database.date:
                atomic.write(context.storage.advisories, carried.to_bytes())
                kept = carried
    if kept is None:
        raise ContentMissingError(
            "no advisories were brought here yet",
            where=context.storage.folder,
            hint="name a medium: --src-dir",
        )
    prefix = context.storage.prefix(current)
    own = {str(context.label), f"{context.label}-manifest"}
    subjects = [
        Subject.of_fields(f"{meta.get('subdir', '')}/{meta.get('fn', name)}", meta)
        for name, meta in read_meta(prefix, prefix).items()
        if meta.get("name") not in own
    ]
    now = context.clock()
    result = judge(subjects, kept.advisories, Request(kept.database, kept.rules, now.date()))
    # Of names that nobody asked the database about, nothing is known.
    covered = set(kept.covers)
    unasked = {s.path for s in subjects if not {":".join(key) for key in s.keys} <= covered}
    result = replace(result, unknown=tuple(sorted({*result.unknown, *unasked})))
    fault = kept.database.age_fault(now, kept.rules.max_age) or ""
    return InstalledJudgement(context.label, current, result, fault)


def _read_kept(context: AgentContext) -> Judgement | None:
    path = context.storage.advisories
    if not check_own_file(path, "advisories"):
        return None
    try:
        return Judgement.parse(atomic.read(path, MAX_BYTES), path)
    except IntegrityError as error:
        raise PlaceError(
            "the advisories that are kept here are damaged",
            where=path,
            got=error.got,
            hint="remove the file, then name a medium: --src-dir",
        ) from error


def _read_medium(context: AgentContext, source: Path) -> Judgement:
    """The advisories of the release that ``install`` would take."""
    medium = Medium.find(source, context.label)
    state = context.storage.load()

    def read(signed: SignedRelease) -> Judgement:
        release = medium.release(signed)
        data = release.text(ADVISORIES_PATH)
        if data is None:
            raise ContentMissingError(
                f"release {signed.number} carries no advisories", where=medium.folder, hint=_HINT
            )
        return Judgement.parse(data, medium.folder / ADVISORIES_PATH)

    with tempfile.TemporaryDirectory(prefix="repack-trust-") as folder:
        trust = Path(folder) / "trust"
        if context.storage.trust.is_dir():
            shutil.copytree(context.storage.trust, trust)
        accepted = accept(context, medium, state, InstallRequest(None, trust, False))
        judgement, _ = take_first_whole(accepted, read)
    return judgement
