"""One package of a channel: the record as upstream published it.

Rule of this module: the ``raw`` record is upstream's, field for field, hot-fixes included, and goes
into channels as it is. The fields that repack itself uses are copied from it once, checked and typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from repack.errors import IntegrityError
from repack.names import Digest, RelPath
from repack.structs import Value
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


ARCHIVE_SUFFIXES: Final = (".conda", ".tar.bz2")
# Fields a solver or client adds to a record; they are no part of it (CEP 36, "repodata.json").
_ADDED: Final = frozenset({"fn", "url", "channel", "schannel", "requested_spec"})


class Record(Value, frozen=True):
    """A package record and the URL of its archive.

    Attributes:
        raw: the repodata record, without ``fn``, ``url`` and ``channel``.
        url: of the archive; may hold a secret, so it is redacted before it is written anywhere.
        size: bytes of the archive.
        md5: never relied on.
    """

    hidden_fields: ClassVar = ("raw",)
    uncompared_fields: ClassVar = ("url", "raw")

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    fn: str
    sha256: Digest
    size: int
    md5: str | None
    url: str
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any], fn: str, url: str) -> Record:
        """Make a record from a row of a repodata.

        Raises:
            IntegrityError: a field is missing, or ``fn`` is no plain archive name.
        """
        try:
            if not fn.endswith(ARCHIVE_SUFFIXES) or "/" in RelPath(fn):
                raise IntegrityError("not the file name of a conda package", where=fn)
            return cls(
                name=str(raw["name"]),
                version=str(raw["version"]),
                build=str(raw["build"]),
                build_number=int(raw["build_number"]),
                subdir=str(raw["subdir"]),
                fn=fn,
                sha256=Digest(raw["sha256"]),
                size=int(raw["size"]),
                md5=raw.get("md5"),
                url=url,
                raw={key: value for key, value in raw.items() if key not in _ADDED},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                "the repodata record is incomplete",
                where=fn,
                expected="name, version, build, build_number, subdir, sha256 and size",
                got=f"no usable {error}",
                hint="repack identifies packages by SHA-256; index the upstream channel anew",
            ) from error

    @property
    def path(self) -> RelPath:
        """The archive's path in a channel, as in ``linux-64/numpy-2.3.5-py311_0.conda``."""
        return RelPath(f"{self.subdir}/{self.fn}")

    @property
    def dist(self) -> str:
        """The file name without its suffix: the folder in a package cache."""
        return self.fn.removesuffix(".conda").removesuffix(".tar.bz2")

    @property
    def depends(self) -> tuple[str, ...]:
        """The run-time dependencies, as MatchSpecs."""
        return tuple(self.raw.get("depends", ()))

    def __str__(self) -> str:
        return self.dist


def merge_records(records: Iterable[Record]) -> dict[RelPath, Record]:
    """Records by path, sorted; of equal ones the first.

    Raises:
        IntegrityError: two records have the same path and different archives.
    """
    merged: dict[RelPath, Record] = {}
    for record in records:
        first = merged.setdefault(record.path, record)
        if first.sha256 != record.sha256:
            raise IntegrityError(
                f"two channels hold different files called {record.path}",
                expected=f"{first.sha256} from {redact_url(first.url)}",
                got=f"{record.sha256} from {redact_url(record.url)}",
                hint="take the package from one channel, by order of `channels` or by its build",
            )
    return dict(sorted(merged.items()))
