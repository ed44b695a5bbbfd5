"""Every error repack raises, by who must act; the exit code stands on the class.

Nothing else leaves the library. The command line catches :class:`RepackError` once, prints
:meth:`RepackError.text` and exits with :attr:`RepackError.exit_code`. Callers fill fields, which must
hold no secret; the text is made from them here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from repack.display import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RepackError(Exception):
    """Something went wrong that repack understands.

    Args:
        what: what is wrong, as a sentence without a full stop.
        where: the file, URL or place it is wrong in.
        expected: what should have been there.
        got: what was there.
        hint: what to do now.

    Attributes:
        problems: for an error that is a list of mistakes, all of them.
    """

    kind: ClassVar[str] = "unexpected"
    exit_code: ClassVar[int] = 1
    problems: tuple[Problem, ...] = ()

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = None if expected is None else str(expected)
        self.got = None if got is None else str(got)
        self.hint = hint
        super().__init__(what)

    def text(self) -> str:
        """The whole message: cause first, then the fields and the problems, a line each."""
        # A name that somebody else chose must not make lines of its own
        lines = [f"{printable(str(self.where))}: {self.what}" if self.where else self.what]
        lines += [
            f"  {name}: {value}"
            for name, value in (("expected", self.expected), ("got", self.got), ("hint", self.hint))
            if value is not None
        ]
        lines += [f"  {problem}" for problem in self.problems]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def to_json(self) -> dict[str, object]:
        """The fields for ``--json``."""
        fields = ("what", "where", "expected", "got", "hint")
        filled = {name: getattr(self, name) for name in fields if getattr(self, name) is not None}
        rows = [problem._asdict() for problem in self.problems]
        problems = {"problems": rows} if rows else {}
        return {"error": self.kind, "exit_code": self.exit_code, **filled, **problems}


class UsageError(RepackError):
    """The command line, or a path given on it, makes no sense."""

    kind = "usage"
    exit_code = 2


class SigningDateError(UsageError):
    """Metadata would be signed with a date that may be wrong, and nobody has confirmed it."""

    kind = "signing-date"


class Problem(NamedTuple):
    """One mistake in a file a person wrote."""

    where: str
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class ProblemsError(RepackError):
    """A file or folder has mistakes; holds every one that was found.

    Attributes:
        summary: the message; ``{n}`` is the number of mistakes, ``{s}`` their plural.
        advice: the hint.
    """

    summary: ClassVar[str]
    advice: ClassVar[str | None] = None

    def __init__(self, problems: Sequence[Problem], *, where: object = None) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        text = self.summary.format(n=count, s="" if count == 1 else "s")
        super().__init__(text, where=where, hint=self.advice)


class LabelError(ProblemsError):
    """A label file is wrong; holds every mistake that was found."""

    kind = "label-invalid"
    exit_code = 3
    summary = "the label is invalid ({n} mistake{s})"


class DefaultsError(ProblemsError):
    """``repack.toml`` is wrong; holds every mistake that was found."""

    kind = "defaults-invalid"
    exit_code = 2
    summary = "the defaults are invalid ({n} mistake{s})"


class UnsolvableError(RepackError):
    """No set of packages fulfils the label; carries the solver's explanation per subdir.

    Args:
        subdir: where there is no solution.
        explanation: the solver's own words.
        advice: what to do, a sentence each, where more is known than that it cannot be solved.
        problems: what of the label is the cause, as far as that could be found out.
        needs: the virtual packages with which there would be a solution.
    """

    kind = "unsolvable"
    exit_code = 4

    def __init__(
        self,
        subdir: str,
        explanation: str,
        advice: Sequence[str] = (),
        problems: Sequence[Problem] = (),
        needs: Mapping[str, str] | None = None,
    ) -> None:
        self.explanations = {subdir: explanation}
        self.problems = tuple(problems)
        self.needs: dict[str, Mapping[str, str]] = {subdir: needs} if needs else {}
        self.advice = tuple(advice)
        loosen = "loosen a MatchSpec or constraint, or add a channel that has what is missing"
        super().__init__(
            "no set of packages fulfils the label",
            hint="\n        ".join(advice) if advice else loosen,
        )

    @classmethod
    def together(cls, errors: Sequence[UnsolvableError]) -> UnsolvableError:
        """One error for several subdirs."""
        whole = cls("", "", [sentence for error in errors for sentence in error.advice])
        whole.explanations = {s: text for error in errors for s, text in error.explanations.items()}
        whole.problems = tuple(dict.fromkeys(problem for e in errors for problem in e.problems))
        whole.needs = {subdir: needs for e in errors for subdir, needs in e.needs.items()}
        return whole

    def text(self) -> str:
        """The causes, the solver's explanation per subdir, then what to do."""
        parts = [self.what, *(f"  {problem}" for problem in self.problems)]
        for subdir, explanation in self.explanations.items():
            parts.append(f"  {subdir}:")
            parts += [f"    {line}" for line in explanation.splitlines()]
        has_hint = self.advice or not self.problems
        return "\n".join([*parts, *([f"  hint: {self.hint}"] if has_hint else [])])

    def to_json(self) -> dict[str, object]:
        """The fields, and the explanations by subdir."""
        return {**super().to_json(), "explanations": self.explanations}


class FetchError(RepackError):
    """Upstream did not deliver: network, TLS, HTTP status, or nothing by that name."""

    kind = "fetch-failed"
    exit_code = 5


class IntegrityError(RepackError):
    """Bytes are not what they should be: hash, size, signature or structure."""

    kind = "integrity"
    exit_code = 6


class FolderError(ProblemsError, IntegrityError):
    """A folder holds what no package or archive can carry everywhere; lists every such file."""

    kind = "folder"
    exit_code = IntegrityError.exit_code
    summary = "{n} thing{s} in this folder cannot be packed"
    advice = "bundles and archives carry plain files with names that every system can hold"


class KeyRefusedError(IntegrityError):
    """A key cannot be used: empty, unset, badly encoded or of an unknown kind."""

    kind = "key-refused"


class SignatureError(IntegrityError):
    """A signature is missing, malformed, of another algorithm or made by another key."""

    kind = "signature"


class FingerprintError(IntegrityError):
    """A device cannot be identified, or is not the one that was expected."""

    kind = "fingerprint"


class LicenseError(IntegrityError):
    """A licence or the licence store is not what it should be; nothing was written."""

    kind = "license"


class ProofError(RepackError):
    """The staged channel could not be proved installable; nothing was published."""

    kind = "proof-failed"
    exit_code = 7


class BusyError(RepackError):
    """Another build of the same label is running."""

    kind = "busy"
    exit_code = 8


class SpaceError(RepackError):
    """A disk is full, or would be."""

    kind = "no-space"
    exit_code = 9


class PlaceError(RepackError):
    """A file or folder cannot be read or written for a reason other than space."""

    kind = "place"
    exit_code = 2


class TargetError(RepackError):
    """What a target refuses to install, or a check refuses to trust; codes after aktualizr-lite."""

    kind = "target"


class MetadataUnsupportedError(TargetError):
    """The signed metadata is of a kind this repack does not know."""

    kind = "metadata-unsupported"
    exit_code = 4


class NoMatchError(TargetError):
    """No release fits this target's platform and tag."""

    kind = "no-match"
    exit_code = 6


class ContentMissingError(TargetError):
    """The release is signed for, but its content is not on the medium, or not whole."""

    kind = "content-missing"
    exit_code = 8


class MetadataInvalidError(TargetError):
    """Signed metadata is malformed or does not fit together."""

    kind = "metadata-invalid"
    exit_code = 11


class RootChainError(MetadataInvalidError):
    """No unbroken chain leads from the pinned root to the newest one."""

    kind = "root-chain"


class ThresholdError(MetadataInvalidError):
    """Metadata is signed by fewer of the right keys than it needs."""

    kind = "threshold"


class RollbackError(MetadataInvalidError):
    """Metadata, or a release, is older than what was seen before."""

    kind = "rollback"


class FutureMetadataError(MetadataInvalidError):
    """Metadata says that it was signed at a time that has not come yet."""

    kind = "metadata-from-the-future"


class MixAndMatchError(MetadataInvalidError):
    """Parts that were never signed together: another label's, or another release's."""

    kind = "mix-and-match"


class MetadataExpiredError(TargetError):
    """Metadata is past its date: a medium too old to be sure that nothing newer was held back."""

    kind = "metadata-expired"
    exit_code = 12


class ClockSetBackError(MetadataExpiredError):
    """Metadata looks valid only because the clock stands before times already seen signed."""

    kind = "clock-set-back"


class MetadataNotFoundError(TargetError):
    """There is no signed metadata here, or a part of it is missing."""

    kind = "metadata-not-found"
    exit_code = 14


class WrongTypeError(TargetError):
    """The release is signed for ci where production is asked for, or the other way round."""

    kind = "wrong-type"
    exit_code = 15


class WrongTagError(TargetError):
    """The release is signed for other tags than this target's."""

    kind = "wrong-tag"
    exit_code = 15


class RecalledError(TargetError):
    """The vendor has recalled the release: it is not installed, run or gone back to any more."""

    kind = "recalled"
    exit_code = 16


class NoSuchReleaseError(TargetError):
    """The release that was named is not signed for at all."""

    kind = "no-such-release"
    exit_code = 20


class SettingsError(ProblemsError, TargetError):
    """A target's settings are wrong; holds every mistake that was found."""

    kind = "settings"
    exit_code = 2
    summary = "this target's settings are wrong ({n} mistake{s})"


class ChangedByHandError(TargetError):
    """An installed environment is not as it was installed; it is left as it is."""

    kind = "changed-by-hand"
    exit_code = 6


class NothingToRollBackToError(TargetError):
    """There is no earlier release here that ran well."""

    kind = "nothing-to-roll-back-to"
    exit_code = 21


class RunAwaitedError(TargetError):
    """An installed release waits for ``run``; another can only be installed after that."""

    kind = "run-awaited"
    exit_code = 30


class NothingPendingError(TargetError):
    """There is nothing to run."""

    kind = "nothing-pending"
    exit_code = 40


class TargetSpaceError(TargetError):
    """The target's disk is full, or would be; what runs there was not touched."""

    kind = "target-space"
    exit_code = 60


class RolledBackError(TargetError):
    """The new release failed; the one before runs again."""

    kind = "rolled-back"
    exit_code = 110


class RollbackAwaitsRebootError(TargetError):
    """The new release failed; the one before runs again after a reboot and ``run``."""

    kind = "rollback-awaits-reboot"
    exit_code = 100


class RollbackFailedError(TargetError):
    """The new release failed and so did the rollback; a person has to repair the target."""

    kind = "rollback-failed"
    exit_code = 130
