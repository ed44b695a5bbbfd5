"""Recovers upstream's record from the one that a client wrote when it installed a package.

``conda-meta/*.json`` and a package cache's ``info/repodata_record.json`` hold the record that the
solver read, hot-fixes included, and fields of the client's own. Sources: conda,
``conda/models/records.py``; CEP 36 for the fields of a record.

After an install from an explicit list, micromamba and mamba 2.1.1 to 2.3.2 and others wrote zeroes
instead. Such a record has no dependencies and must not get into a channel.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from repack.conda.record import ARCHIVE_SUFFIXES
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECORD_FIELDS: Final = frozenset(
    {
        "arch",
        "build",
        "build_number",
        "constrains",
        "depends",
        "extra_depends",
        "features",
        "legacy_bz2_md5",
        "legacy_bz2_size",
        "license",
        "license_family",
        "md5",
        "name",
        "noarch",
        "platform",
        "preferred_env",
        "purls",
        "python_site_packages_path",
        "run_exports",
        "sha256",
        "size",
        "subdir",
        "timestamp",
        "track_features",
        "version",
    }
)
_IDENTITY: Final = ("name", "version", "build")
_SUBDIR: Final = re.compile(r"(noarch|(linux|win|osx)-[a-z0-9]+)\Z")
_HEX: Final = re.compile(r"[0-9a-fA-F]+\Z")
_PYPI: Final = frozenset({"pypi", "<pip>", "<develop>"})
# conda and mamba write this in place of a token.
_HIDDEN_TOKEN: Final = re.compile(r"/t/(<TOKEN>|%3CTOKEN%3E|\*+)(?=/)", re.IGNORECASE)


class PrefixRecord(Value, frozen=True):
    """One installed package.

    Attributes:
        raw: upstream's record as far as the client wrote it; ``subdir`` is always right.
        fn: the archive's file name.
        url: of the archive, possibly with a secret; None when it is not recorded.
        archives: paths of the archive that the client recorded.
        origin: ``pypi`` when it was no conda package.
    """

    hidden_fields: ClassVar = ("raw", "url")

    raw: Mapping[str, Any]
    fn: str
    url: str | None
    archives: tuple[str, ...] = ()
    origin: str = "conda"

    @property
    def dist(self) -> str:
        """The name of its folder in a package cache."""
        return self.fn.removesuffix(".conda").removesuffix(".tar.bz2")

    @property
    def sha256(self) -> str | None:
        """The recorded SHA-256; None when it is missing or malformed."""
        return digest_in(self.raw, "sha256", 64)

    @property
    def md5(self) -> str | None:
        """The recorded md5; None when it is missing or malformed."""
        return digest_in(self.raw, "md5", 32)


def parse_prefix_record(meta: Mapping[str, Any], platform: str) -> PrefixRecord | None:
    """Read a file of ``conda-meta``; None when it lacks a name, version or build.

    Args:
        meta: the file's content.
        platform: the environment's, for records of old clients, which have no subdir.
    """
    if not all(isinstance(meta.get(key), str) and meta[key] for key in _IDENTITY):
        return None
    url = meta.get("url")
    url = _HIDDEN_TOKEN.sub("", url) if isinstance(url, str) and url else None
    raw = record_fields(meta)
    raw["subdir"] = _subdir(meta, url, platform)
    channel, build = str(meta.get("channel") or ""), meta["build"]
    is_pypi = channel in _PYPI or build in _PYPI or build.startswith("pypi_")
    return PrefixRecord(
        raw=raw,
        fn=_file_name(meta, url),
        url=url,
        archives=tuple(_archives(meta)),
        origin="pypi" if is_pypi else "conda",
    )


def record_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``document`` that a repodata record has; clients write null for a missing one."""
    return {
        key: value
        for key, value in document.items()
        if key in _RECORD_FIELDS and value is not None and value != ""
    }


def is_poor(raw: Mapping[str, Any]) -> bool:
    """Whether the client that wrote a record left out or zeroed its fields."""
    depends = raw.get("depends")
    if not isinstance(depends, list) or not all(isinstance(spec, str) for spec in depends):
        return True
    number = raw.get("build_number")
    if not isinstance(number, int) or isinstance(number, bool):
        return True
    return not depends and (raw.get("timestamp") == 0 or raw.get("size") == 0)


def is_same(raw: Mapping[str, Any], cached: Mapping[str, Any]) -> bool:
    """Whether two records can be of one archive: same identity, no hashes that differ."""
    if any(raw.get(key) != cached.get(key) for key in _IDENTITY):
        return False
    for key, length in (("sha256", 64), ("md5", 32)):
        digests = digest_in(raw, key, length), digest_in(cached, key, length)
        if all(digests):
            return digests[0] == digests[1]
    return True


def restore_record(raw: Mapping[str, Any], better: Mapping[str, Any]) -> dict[str, Any]:
    """``better`` as a record, with the subdir, hashes and size of ``raw`` where it has them."""
    kept = {key: raw[key] for key in ("subdir", "sha256", "md5", "size") if raw.get(key)}
    return {**record_fields(better), **kept}


def digest_in(raw: Mapping[str, Any], key: str, length: int) -> str | None:
    """The hash under ``key`` in lower case; None when it has not ``length`` hex digits."""
    value = raw.get(key)
    if isinstance(value, str) and len(value) == length and _HEX.match(value):
        return value.lower()
    return None


def may_have_added_pip(raw: Mapping[str, Any]) -> bool:
    """Whether a client may have added ``pip`` to the dependencies of this record.

    conda and mamba do so for python (``add_pip_as_python_dependency``) before they solve, and record
    it like a dependency of upstream's.
    """
    depends = raw.get("depends")
    return raw.get("name") == "python" and isinstance(depends, list) and depends[-1:] == ["pip"]


def without_added_pip(raw: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` without its last dependency, ``pip``, unless the archive's own ``index`` has it."""
    depends = index.get("depends")
    names = {str(spec).split(" ", 1)[0] for spec in depends} if isinstance(depends, list) else ()
    return {**raw} if "pip" in names else {**raw, "depends": raw["depends"][:-1]}


def _file_name(meta: Mapping[str, Any], url: str | None) -> str:
    paths = [meta.get("fn"), url, meta.get("package_tarball_full_path")]
    for path in paths:
        name = re.split(r"[\\/]", path)[-1] if isinstance(path, str) else ""
        if name.endswith(ARCHIVE_SUFFIXES):
            return name
    # conda up to 4.3 has one format only, and some versions leave the suffix out.
    return "-".join(meta[key] for key in _IDENTITY) + ".tar.bz2"


def _subdir(meta: Mapping[str, Any], url: str | None, platform: str) -> str:
    """The subdir of the archive: by its URL, the record's subdir or channel, or its kind."""
    folders = [
        (url or "").rsplit("/", 2)[-2:-1],
        [str(meta.get("subdir") or "")],
        str(meta.get("channel") or "").rstrip("/").rsplit("/", 1)[-1:],
    ]
    for folder in folders:
        if folder and _SUBDIR.match(folder[0]):
            return folder[0]
    return "noarch" if meta.get("noarch") in {"python", "generic"} else platform


def _archives(meta: Mapping[str, Any]) -> list[str]:
    paths = [meta.get("package_tarball_full_path")]
    link = meta.get("link")
    if isinstance(link, dict) and isinstance(link.get("source"), str):
        paths += [link["source"] + suffix for suffix in ARCHIVE_SUFFIXES]
    return [path for path in paths if isinstance(path, str) and path.endswith(ARCHIVE_SUFFIXES)]
