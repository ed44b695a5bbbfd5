"""What a release report says; read by people as ``index.html``, by programs as ``report.json``.

Rule of this module: every text that comes from a package's metadata has gone through
:func:`shown`, so that it is short and has nothing in it that reorders or hides text around it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from repack.codec.canonical import in_rows
from repack.codec.decode import encode
from repack.errors import IntegrityError
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.conda.spdx import Verdict

REPORT_PAGE: Final = RelPath("index.html")
REPORT_DATA: Final = RelPath("repack/report.json")
REPORT_SBOM: Final = RelPath("repack/sbom.cdx.json")
MAX_BYTES: Final = 64 << 20
_FORMAT: Final = "repack-report-1"

Kind = Literal["upstream", "bundle", "release"]
Step = Literal["added", "removed", "updated", "downgraded", "rebuilt", "relicensed"]
Trust = Literal["unsigned", "development", "shared", "own"]
Result = Literal["passed", "noted", "required"]


class ReportPackage(Struct, frozen=True):
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


class ReportPlatform(Struct, frozen=True):
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


class ReportSignature(Struct, frozen=True):
    """Who vouches for the release.

    Attributes:
        trust: which words an auditor may use.
        hmac: id and fingerprint of the shared key; empty when there is none.
        keys: one line a role of the metadata.
    """

    trust: Trust
    hmac: str = ""
    keys: tuple[str, ...] = ()


class Difference(Struct, frozen=True):
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


class PastRelease(Struct, frozen=True):
    """One release in the chart; ``new_bytes`` is what the release before did not have."""

    release: int
    date: str
    packages: int
    bytes: int
    new_bytes: int


class ReportFile(Struct, frozen=True):
    """One file of a bundle."""

    path: str
    size: int
    sha256: str


class ReportBundle(Struct, frozen=True):
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


class Check(Struct, frozen=True):
    """One check of the build; ``required`` ones come later, and without them nothing is published."""

    what: str
    result: Result
    detail: str
    when: str


class Report(Struct, frozen=True):
    """All of a release that people ask about.

    Attributes:
        repack: the version that built it.
        since: the release that ``changes`` compares with; None for the first.
        new_bytes: what has to be fetched by somebody who has that release.
        policy: the label's licence policy, in words.
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
    policy: tuple[str, ...]
    packages: tuple[ReportPackage, ...]
    bundles: tuple[ReportBundle, ...]
    since: int | None
    changes: tuple[Difference, ...]
    releases: tuple[PastRelease, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    new_bytes: int

    @property
    def size(self) -> int:
        """Of all archives."""
        return sum(package.size for package in self.packages)

    def to_bytes(self) -> bytes:
        """The file."""
        document = {"format": _FORMAT, **encode(self)}
        return in_rows(document)

    @classmethod
    def parse(cls, data: bytes, where: object) -> Report:
        """Read the file; fields that this repack does not know are ignored.

        Raises:
            IntegrityError: it is no report, or one of another format.
        """
        try:
            document = json.loads(data)
            if document["format"] != _FORMAT:
                raise IntegrityError(
                    "unknown kind of report", where=where, expected=_FORMAT, got=document["format"]
                )
            rows = {name: _rows(kind, document[name]) for name, kind in _PARTS.items()}
            bundles = [
                {**row, "files": _rows(ReportFile, row["files"])} for row in document["bundles"]
            ]
            packages = [
                {**row, "why": {key: tuple(way) for key, way in row["why"].items()}}
                for row in document["packages"]
            ]
            made: Report = _made(
                cls,
                document
                | rows
                | {
                    "signature": _made(ReportSignature, document["signature"]),
                    "bundles": _rows(ReportBundle, bundles),
                    "packages": _rows(ReportPackage, packages),
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as fault:
            raise IntegrityError("the report is malformed", where=where, got=fault) from fault
        return made


_PARTS: Final[Mapping[str, type[Struct]]] = {
    "platforms": ReportPlatform,
    "changes": Difference,
    "releases": PastRelease,
    "checks": Check,
}


def _rows(kind: type[Struct], rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(_made(kind, row) for row in rows)


def _made(kind: type[Struct], row: Mapping[str, Any]) -> Any:
    given = {name: row[name] for name in kind.__struct_fields__ if name in row}
    return kind(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    )
