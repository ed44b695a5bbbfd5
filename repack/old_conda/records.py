"""What a record must become so that conda below 4.7 can install its package.

Such a conda reads ``.tar.bz2`` only and knows no virtual packages, so a dependency on ``__glibc`` is
never fulfilled there. The solver has checked these dependencies already against the target profile,
so they are dropped. MatchSpecs in a form that it does not understand are respelled. Everything else
stays upstream's, hot-fixes included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from repack.conda.record import Record
from repack.old_conda.match_spec import old_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.archive.facts import Facts
    from repack.names import Digest, RelPath
    from repack.store.derived import DerivedArchive

_WITH_SPECS: Final = ("depends", "constrains")
# They describe the archive that upstream has, or had, as .tar.bz2, which is another one.
_OF_UPSTREAM: Final = frozenset({"legacy_bz2_md5", "legacy_bz2_size"})
# conda 4.3.16 takes the first three characters of the version for the name of the interpreter.
_FIRST_BROKEN_PYTHON: Final = (3, 10)


class ConversionChange(Struct, frozen=True):
    """What was changed about a package, for the lock and for ``--json``.

    Attributes:
        before: path of upstream's archive.
        after: path in the channel.
        dropped: specs that went, as in ``depends __glibc >=2.17``.
        respelled: dependencies before and after, as in ``a =2 -> a 2.*``.
    """

    before: RelPath
    after: RelPath
    sha256_before: Digest
    sha256_after: Digest
    dropped: tuple[str, ...]
    respelled: tuple[str, ...] = ()

    def __str__(self) -> str:
        without = f", without {'; '.join(self.dropped)}" if self.dropped else ""
        return f"{self.before} -> {self.after}{without}"


def for_old_conda(
    record: Record, derived: DerivedArchive | None
) -> tuple[Record, ConversionChange | None]:
    """The record for conda below 4.7, and what was changed about it if anything was.

    Args:
        record: upstream's.
        derived: the ``.tar.bz2`` made of its archive; None where upstream's is one already.
    """
    raw: dict[str, Any] = {k: v for k, v in record.raw.items() if k not in _OF_UPSTREAM}
    dropped: list[str] = []
    for field in _WITH_SPECS:
        specs = raw.get(field) or ()
        virtual = [spec for spec in specs if _is_virtual(spec)]
        if virtual:
            raw[field] = [spec for spec in specs if spec not in virtual]
            dropped += [f"{field} {spec}" for spec in virtual]
    before = raw.get("depends") or []
    after = [old_spec(spec) or spec for spec in before]
    respelled = [f"{a} -> {b}" for a, b in zip(before, after, strict=True) if a != b]
    if respelled:
        raw["depends"] = after
    if derived is None and not dropped and not respelled:
        return record, None
    if derived is not None:
        raw |= asdict(derived)
    new = Record.of(raw, f"{record.dist}.tar.bz2", record.url)
    digests = (record.sha256, new.sha256)
    return new, ConversionChange(record.path, new.path, *digests, tuple(dropped), tuple(respelled))


def unspeakable(records: Iterable[Record]) -> tuple[str, ...]:
    """Dependencies that conda 4.3 has no words for, as in ``app: a[build_number=1]``."""
    specs = {f"{r.name}: {spec}" for r in records for spec in r.depends if old_spec(spec) is None}
    return tuple(sorted(specs))


def noarch_python_trouble(records: Iterable[Record]) -> tuple[str, ...]:
    """Names of the packages that conda 4.3 cannot link beside the Python of these ``records``.

    It looks for ``python3.1`` where Python is 3.10 or later, so that no ``noarch: python`` package
    can be installed there. Empty when Python is older or not among the records.
    """
    installed = list(records)
    if not any(r.name == "python" and _is_broken_for(r.version) for r in installed):
        return ()
    return tuple(sorted({r.name for r in installed if r.raw.get("noarch") == "python"}))


def without_link_json(packages: Iterable[tuple[Record, Facts]]) -> tuple[str, ...]:
    """Names of the ``noarch: python`` packages that conda 4.3 takes for ordinary ones.

    Only ``info/link.json`` tells it that ``site-packages/`` goes below ``lib/pythonX.Y/``.
    """
    return tuple(
        sorted({r.name for r, f in packages if f.noarch == "python" and not f.has_link_json})
    )


def changes_json(changes: Iterable[ConversionChange]) -> list[Mapping[str, Any]]:
    """All changes for machines, sorted by path."""
    return [asdict(change) for change in sorted(changes, key=lambda change: change.after)]


def _is_virtual(spec: str) -> bool:
    return spec.rpartition("::")[2].lstrip().startswith("__")


def _is_broken_for(version: str) -> bool:
    major, minor = (*version.split("."), "")[:2]
    return major.isdigit() and minor.isdigit() and (int(major), int(minor)) >= _FIRST_BROKEN_PYTHON
