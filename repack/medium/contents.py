"""A medium: which release it is to carry, and what lies on it.

```
index.html  verify.py  SHA256SUMS  check-sha256.cmd  sync.sh  sync.cmd     repack/medium/top.py
installers/             what a bare target needs first, and SHA256SUMS
oem/  notary/           what OEM sites need as well: repack/medium/oem_bundle.py
LABEL/                  a channel: the release that was written last
LABEL/repack/releases/N/    the metadata of release N, where more than one is here, each file under
                        the path that it has in the channel; packages of all lie in LABEL/ once
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from repack.errors import RecalledError, UsageError, WrongTypeError
from repack.names import windows_fault
from repack.trust.recalls import recalled_error
from repack.trust.selection import ReleaseFilter, RollbackState, choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.label.label import Installer
    from repack.names import LabelName
    from repack.sync.plan import SyncResult
    from repack.trust.recalls import Recalls
    from repack.trust.selection import SignedFor, SignedRelease

PAGE: Final = "index.html"
INSTALLERS: Final = "installers"
OEM: Final = "oem"
NOTARY: Final = "notary"
# At the top of a medium these are no labels' channels.
RESERVED: Final = frozenset({INSTALLERS, OEM, NOTARY})


class ReleaseChoice(Struct, frozen=True):
    """Which release a medium is to carry.

    Attributes:
        release: None for the newest that fits.
        type: whom it must be signed for.
        keep_others: whether the label's other releases stay on the medium.
    """

    release: int | None = None
    tag: str | None = None
    type: SignedFor = "ci"
    keep_others: bool = True

    @property
    def needs_signature(self) -> bool:
        """Whether an unsigned release cannot be meant."""
        return self.type == "production" or self.tag is not None


def select(
    label: LabelName,
    signed: Sequence[SignedRelease],
    choice: ReleaseChoice,
    kept: Sequence[int],
    recalled: Recalls,
) -> int:
    """The number of the release that is asked for.

    Args:
        signed: what the label's metadata signs.
        kept: the releases that there are, the published one first.
        recalled: those that are not written unless they are named.

    Raises:
        WrongTypeError: it is not signed for production.
        WrongTagError: it is signed for other tags only.
        NoSuchReleaseError: it is not signed at all.
        RecalledError: every one that could be meant was recalled.
    """
    if not choice.needs_signature:
        if choice.release or kept[0] not in recalled:
            return choice.release or kept[0]
        if usable := [number for number in kept if number not in recalled]:
            return max(usable)
        hint = f"build a new one: repack label {label}; or name it: --release {kept[0]}"
        raise recalled_error(recalled, kept[:1], hint)
    if not signed:
        raise WrongTypeError(
            "the label is not signed, so nothing of it is for production or for a tag",
            where=label,
            expected=choice.type,
            hint="give the label a `signing:`, build it, then: repack promote",
        )
    candidates = [
        release for release in signed if choice.release is None or choice.release == release.number
    ]
    # A recalled release is only written where it is named
    state = RollbackState(recalled={} if choice.release else recalled)
    numbers, refusals = set(), []
    for platform in sorted({name for release in candidates for name in release.platforms}):
        request = ReleaseFilter(label, platform, choice.type, choice.tag, choice.release)
        try:
            numbers.add(choose(signed, request, state).number)
        except RecalledError as error:
            refusals.append(error)
    if refusals and not numbers:
        raise refusals[0]
    # Platforms come and go with releases; the newest that fits any of them is meant.
    return max(numbers, default=kept[0])


def file_names(installers: Sequence[Installer]) -> dict[str, Installer]:
    """Each installer by the name of its file on a medium.

    Raises:
        UsageError: two would have one name, or a URL ends in none.
    """
    by_name: dict[str, Installer] = {}
    for installer in installers:
        name = unquote(urlsplit(installer.url).path).rsplit("/", 1)[-1]
        twin = next((key for key in by_name if key.casefold() == name.casefold()), None)
        if twin is not None and by_name[twin].sha256 != installer.sha256:
            raise UsageError("two installers have the same file name", where=INSTALLERS, got=name)
        if not name or windows_fault(name):
            raise UsageError("an installer's URL ends in no file name", where=INSTALLERS, got=name)
        by_name[name] = installer
    return by_name


class ListedRelease(Struct, frozen=True):
    """One release on a medium, as the page shows it.

    Attributes:
        sha256: of its manifest, to be compared with what came another way.
        signed_for: ``production, tags a b``, ``ci`` or ``nobody``.
    """

    label: str
    release: int
    platforms: tuple[str, ...]
    packages: int
    bytes: int
    sha256: str
    signed_for: str
    expires: str


class MediumResult(Struct, frozen=True):
    """What was written to a medium.

    Attributes:
        warnings: which of its releases were recalled, or were passed over for that.
    """

    sent: SyncResult
    type: SignedFor
    tag: str | None
    installers: tuple[str, ...]
    releases: tuple[int, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The document ``repack medium --json`` prints."""
        return {
            **self.sent.to_json(),
            "type": self.type,
            "tag": self.tag,
            "installers": list(self.installers),
            "releases": list(self.releases),
            "warnings": list(self.warnings),
        }
