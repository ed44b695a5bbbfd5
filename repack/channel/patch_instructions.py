"""What differs between upstream's records and the archives, so that a re-index keeps hot-fixes.

``conda index`` reads each archive's own ``index.json`` and then applies the folder's
``patch_instructions.json``. From the first repack makes ``repodata_from_packages.json``, from the
difference to upstream's records the second.

Source: conda-index 0.13, ``conda_index/index/cache.py`` (``filter_fields``) and
``conda_index/index/__init__.py`` (``_apply_instructions``): a patch is merged object by object, any
other value replaces, null removes; patches of ``NAME.tar.bz2`` go to ``NAME.conda`` as well, before
those of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from repack.conda.repodata import SECTIONS, section_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.archive.facts import Facts
    from repack.conda.record import Record

_NOT_INDEXED: Final = frozenset(
    {
        "arch",
        "binstar",
        "has_prefix",
        "machine",
        "mtime",
        "operatingsystem",
        "platform",
        "requires_features",
        "target-triplet",
        "ucs",
    }
)
# An index computes these from the archive's bytes; a patch has no say in them.
_OF_THE_BYTES: Final = ("md5", "sha256", "size")


def record_from_package(record: Record, facts: Facts) -> dict[str, Any]:
    """The record that ``conda index`` makes of the archive before it applies any patch."""
    own = {key: value for key, value in facts.index.items() if key not in _NOT_INDEXED}
    return own | {key: record.raw[key] for key in _OF_THE_BYTES if key in record.raw}


def repodata_from_packages(subdir: str, packages: Iterable[tuple[Record, Facts]]) -> dict[str, Any]:
    """The document ``repodata_from_packages.json`` of one subdir."""
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for record, facts in packages:
        sections[section_of(record.fn)][record.fn] = record_from_package(record, facts)
    return {
        "info": {"subdir": subdir},
        **sections,
        "removed": [],
        "repodata_version": 1,
    }


def patch_instructions(packages: Iterable[tuple[Record, Facts]]) -> dict[str, Any]:
    """The document ``patch_instructions.json`` of one subdir.

    conda-index cannot be told everything: a field that is null upstream comes out missing, and one
    that turned from a value into an object stays as it is in the archive. Neither is in use.
    """
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    # The older format first: its patches reach the twin in the newer one.
    for record, facts in sorted(packages, key=lambda pair: section_of(pair[0].fn)):
        base = record_from_package(record, facts)
        if record.fn.endswith(".conda"):
            base = _patched(base, sections["packages"].get(f"{record.dist}.tar.bz2", {}))
        if patch := _difference(base, record.raw):
            sections[section_of(record.fn)][record.fn] = patch
    return {"patch_instructions_version": 1, **sections, "revoke": [], "remove": []}


def _difference(base: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
    removed = base.keys() - upstream.keys() - set(_OF_THE_BYTES)
    patch: dict[str, Any] = dict.fromkeys(sorted(removed))
    for key, value in upstream.items():
        if key in _OF_THE_BYTES or (key in base and base[key] == value):
            continue
        if isinstance(value, Mapping) and key in base:
            # Where the archive has no object, conda-index would end with a traceback.
            if isinstance(base[key], Mapping):
                patch[key] = _difference(base[key], value)
        else:
            patch[key] = value
    return patch


def _patched(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a patch as conda-index does."""
    result = dict(base)
    for key, value in patch.items():
        if value is None and key in result:
            del result[key]
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _patched(result[key], value)
        else:
            result[key] = value
    return result
