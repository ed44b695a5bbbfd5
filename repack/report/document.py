"""What a release report says; read by people as ``index.html``, by programs as ``report.json``.

Rule of this module: every text that comes from a package's metadata has gone through
:func:`shown`, so that it is short and has nothing in it that reorders or hides text around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import field

from repack.advisories.document import Judgement
from repack.codec.canonical import encode_rows, loads
from repack.codec.decode import Document, decode, encode
from repack.conda.spdx import Verdict
from repack.errors import IntegrityError
from repack.names import RelPath

REPORT_PAGE: Final = RelPath("index.html")
REPORT_DATA: Final = RelPath("repack/report.json")
REPORT_SBOM: Final = RelPath("repack/sbom.cdx.json")
MAX_BYTES: Final = 64 << 20
_FORMAT: Final = "repack-report-1"

Kind = Literal["upstream", "bundle", "release"]
Step = Literal["added", "removed", "updated", "downgraded", "rebuilt", "relicensed", "replaced"]
Trust = Literal["unsigned", "development", "shared", "own"]
Result = Literal["passed", "noted", "required"]


class ReportPackage(Document, frozen=True):
    """One archive of the release.

    Attributes:
        sha384: None where nobody computed it.
        licence: as it stands in the record; empty when there is none.
        source: where it comes from, without secrets; empty for what repack made.
        hotfixed: the fields in which upstream's record differs from the archive.
        scripts: what it runs when it is linked or unlinked.
        why: per platform the names from a package that was asked for to this one.
        depends: paths of what it depends on, in any platform.
        status: how it differs from the release before.
        purls: package URLs beside the one of conda; a distribution of PyPI where it is known to be one.
    """

    path: str
    name: str
    version: str
    build: str
    subdir: str
    size: int
    sha256: str
    sha384: str | None
    licence: str
    licence_verdict: Verdict
    licence_is_spdx: bool
    summary: str
    home: str
    kind: Kind
    source: str
    hotfixed: tuple[str, ...]
    scripts: tuple[str, ...]
    why: Mapping[str, tuple[str, ...]]
    depends: tuple[str, ...]
    status: str = ""
    purls: tuple[str, ...] = ()


class ReportPlatform(Document, frozen=True):
    """One target platform.

    Attributes:
        specs: what is asked for.
        conda: the oldest conda in use there, if the label says so.
        proof: ``linked`` or ``solved``.
        longest_prefix: characters a prefix may have on Windows without long paths.
    """

    subdir: str
    specs: tuple[str, ...]
    virtual_packages: tuple[str, ...]
    conda: str | None
    proof: str
    packages: int
    bytes: int
    longest_prefix: int | None


class ReportSignature(Document, frozen=True):
    """Who vouches for the release.

    Attributes:
        trust: which words an auditor may use.
        hmac: id and fingerprint of the shared key; empty when there is none.
        keys: one line a role of the metadata.
    """

    trust: Trust
    hmac: str = ""
    keys: tuple[str, ...] = ()


class Difference(Document, frozen=True):
    """One package that is not as it was in the release before."""

    name: str
    platforms: tuple[str, ...]
    step: Step
    before: str
    after: str
    bytes_before: int
    bytes_after: int
    licence_before: str = ""
    licence_after: str = ""


class SettingChange(Document, frozen=True):
    """One setting of the label that is not as it was in the release before."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} -> {self.after}"


class PastRelease(Document, frozen=True):
    """One release in the chart; ``new_bytes`` is what the release before did not have."""

    release: int
    date: str
    packages: int
    bytes: int
    new_bytes: int


class ReportFile(Document, frozen=True):
    """One file of a bundle."""

    path: str
    size: int
    sha256: str


class ReportBundle(Document, frozen=True):
    """A folder that the label packs.

    Attributes:
        path: its package's.
        count: how many files it has; ``files`` are the first of them.
    """

    name: str
    version: str
    path: str
    count: int
    bytes: int
    files: tuple[ReportFile, ...]


class Check(Document, frozen=True):
    """One check of the build; ``required`` ones come later, and without them nothing is published."""

    what: str
    result: Result
    detail: str
    when: str


class Report(Document, frozen=True):
    """All of a release that people ask about.

    Attributes:
        repack: the version that built it.
        since: the release that ``changes`` compares with; None for the first.
        new_bytes: what has to be fetched by somebody who has that release.
        policy: the label's licence policy, in words.
        advisories: known vulnerabilities; None where nothing was judged.
        settings: what the label says beside its packages, in words.
        setting_changes: how that differs from release ``since``.
    """

    repack: str
    label: str
    description: str
    release: int
    date: str
    platforms: tuple[ReportPlatform, ...]
    signature: ReportSignature
    channels: tuple[str, ...]
    health_check: tuple[str, ...]
    after_install: str
    after_bundles: str
    policy: tuple[str, ...]
    packages: tuple[ReportPackage, ...]
    bundles: tuple[ReportBundle, ...]
    since: int | None
    changes: tuple[Difference, ...]
    releases: tuple[PastRelease, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    new_bytes: int
    advisories: Judgement | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    setting_changes: tuple[SettingChange, ...] = ()

    @property
    def size(self) -> int:
        """Of all archives."""
        return sum(package.size for package in self.packages)

    def to_bytes(self) -> bytes:
        """The file."""
        return encode_rows({"format": _FORMAT, **encode(self)})

    @classmethod
    def parse(cls, data: bytes, where: object) -> Report:
        """Read the file; fields that this repack does not know are ignored.

        Raises:
            IntegrityError: it is no report, or one of another format.
        """
        document = loads(data, where, MAX_BYTES)
        kind = document.get("format") if isinstance(document, dict) else None
        if kind != _FORMAT:
            raise IntegrityError("unknown kind of report", where=where, expected=_FORMAT, got=kind)
        return decode(cls, document, where, "report")
