"""Takes the packages of a prepared environment instead of solving.

Exactly the packages in the environment's ``conda-meta`` are taken, each into its own subdir. An
archive in a package cache counts if its hash is the recorded one: SHA-256 or, where an old conda
recorded no other, md5. A package in no cache is fetched later from its recorded URL. Packages for
which neither is possible are reported, all of them at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.conda.record import Record
from repack.errors import FetchError, IntegrityError
from repack.fs import atomic
from repack.fs.digests import ArchiveHashes, hash_archive
from repack.inputs.conda_info import MAX_ENV_INFO, EnvInfo, parse_env_info
from repack.inputs.pip_distributions import (
    PipDistribution,
    developed_paths,
    pip_distributions,
)
from repack.inputs.prefix_record import (
    PrefixRecord,
    is_poor,
    is_same,
    may_have_added_pip,
    parse_prefix_record,
    restore_record,
    without_added_pip,
)
from repack.names import Digest
from repack.prefix import conda_meta
from repack.progress import SILENT
from repack.structs import Value
from repack.urls import redact_url, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from repack.progress import Progress


_THREADS: Final = 4


class Harvest(Value, frozen=True):
    """An environment as packages.

    Attributes:
        info: the environment's place and platform; its virtual packages are this host's.
        records: all packages, sorted by path. A URL may hold a secret.
        archives: those in package caches, by SHA-256; the others are to be fetched.
        secrets: those in the records' URLs.
        warnings: a line each.
        distributions: what pip installed beside them.
    """

    hidden_fields: ClassVar = ("secrets",)

    info: EnvInfo
    records: tuple[Record, ...]
    archives: Mapping[Digest, Path]
    secrets: frozenset[str]
    warnings: tuple[str, ...] = ()
    distributions: tuple[PipDistribution, ...] = ()

    @property
    def subdir(self) -> str:
        """The environment's platform."""
        return self.info.subdir


class _Package(Struct, frozen=True):
    """One package of the environment: its record, or why there is none."""

    record: Record | None = None
    archive: Path | None = None
    fault: str | None = None
    warnings: tuple[str, ...] = ()


class PackageAccess(Struct, frozen=True):
    """What can be fetched when no package cache has it.

    Attributes:
        find_url: from the recorded URL to the one to ask for, with its token; None when the channel
            wants a token that nobody has.
        is_stored: whether an archive of that SHA-256 and size is at hand.
    """

    find_url: Callable[[str], str | None] = str
    is_stored: Callable[[Digest, int], bool] = lambda _sha256, _size: False


class _UnavailableError(Exception):
    """A package can neither be found nor fetched; the text says why."""


def read_env_info(path: Path) -> EnvInfo:
    """Read such a file.

    Raises:
        UsageError: it is no output of ``conda info --json`` in an active environment.
        IntegrityError: it is too large for that.
        PlaceError: it cannot be read.
    """
    return parse_env_info(atomic.read(path, MAX_ENV_INFO), str(path))


def harvest(
    env_file: Path, progress: Progress = SILENT, access: PackageAccess | None = None
) -> Harvest:
    """Take the packages of the environment that ``env_file``, a ``conda info --json``, names.

    Raises:
        UsageError: the file is no such output, or the environment is not here.
        IntegrityError: the file is too large to be such an output.
        FetchError: packages that can neither be found nor fetched; names all of them.
        PlaceError: a file cannot be read.
    """
    info = read_env_info(env_file)
    access = access or PackageAccess()
    prefix, caches = Path(info.prefix), tuple(Path(folder) for folder in info.pkgs_dirs)
    metas, piped = _split_packages(conda_meta.read_meta(prefix, env_file))

    with (
        progress.phase("harvest", len(metas), "packages") as done,
        ThreadPoolExecutor(_THREADS) as pool,
    ):

        def take(item: tuple[str, Mapping[str, Any]]) -> _Package:
            name, meta = item
            try:
                return _take(name, parse_prefix_record(meta, info.subdir), caches, access)
            except _UnavailableError as error:
                return _Package(fault=str(error))
            finally:
                done(1)

        packages = list(pool.map(take, metas.items()))
    _report_faults([package.fault for package in packages if package.fault], prefix)
    pairs = [(package.record, package.archive) for package in packages if package.record]
    warnings = [warning for package in packages for warning in package.warnings]
    warnings += [
        f"{path} is on Python's path by `conda develop`, so left out"
        for path in developed_paths(prefix)
    ]
    return Harvest(
        info=info,
        records=tuple(sorted((record for record, _ in pairs), key=lambda record: record.path)),
        archives={record.sha256: archive for record, archive in pairs if archive},
        secrets=frozenset(secret for record, _ in pairs for secret in secrets_in_url(record.url)),
        warnings=tuple(warnings),
        distributions=pip_distributions(prefix, metas.values(), piped),
    )


def _split_packages(
    metas: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Mapping[str, Any]], list[PipDistribution]]:
    """The conda packages, and what clients wrote beside them of what pip installed."""
    packages, distributions = {}, []
    for name, meta in metas.items():
        package = parse_prefix_record(meta, "noarch")
        if package is not None and package.origin == "pypi":
            distributions.append(PipDistribution(package.raw["name"], package.raw["version"]))
        else:
            packages[name] = meta
    return packages, distributions


def _report_faults(faults: list[str], prefix: Path) -> None:
    if faults:
        raise FetchError(
            f"{len(faults)} package{'s' if len(faults) > 1 else ''} of the environment"
            " can neither be found nor fetched",
            where=prefix,
            got="".join(f"\n    {fault}" for fault in faults),
            hint="put the archives into a package cache, or install the packages anew by conda",
        )


def _take(
    name: str, package: PrefixRecord | None, caches: tuple[Path, ...], access: PackageAccess
) -> _Package:
    if package is None:
        raise _UnavailableError(f"{name}: names no package, version and build")
    warnings: list[str] = []
    package = _with_hashes(package, caches)
    archive, hashes = _find_archive(package, caches, warnings)
    if is_poor(package.raw):
        package = _with_full_record(package, caches, archive, warnings)
    raw = dict(package.raw)
    if may_have_added_pip(raw):
        raw = without_added_pip(raw, _index(package, caches, archive))
    if hashes:
        raw.update(sha256=hashes.sha256, size=hashes.size)
        raw.setdefault("md5", hashes.md5)
    url = package.url or (archive.absolute().as_uri() if archive else "")
    if not hashes:
        url = _fetchable_url(package, access)
    try:
        record = Record.of(raw, package.fn, url)
    except IntegrityError as error:
        raise _UnavailableError(f"{package.fn}: {error.what}, {error.got}") from None
    return _Package(record, archive, warnings=tuple(warnings))


def _fetchable_url(package: PrefixRecord, access: PackageAccess) -> str:
    """Where the archive can be had, token included.

    Raises:
        _UnavailableError: nowhere, or it could not be checked.
    """
    if not package.url:
        raise _UnavailableError(f"{package.fn}: in no package cache, and no URL is recorded")
    sha256, size = package.sha256, package.raw.get("size")
    if not sha256 or not size:
        raise _UnavailableError(
            f"{package.fn}: in no package cache, and without a recorded SHA-256 and size it cannot"
            f" be fetched safely from {redact_url(package.url)}"
        )
    url = access.find_url(package.url)
    if url is None and not access.is_stored(Digest(sha256), size):
        raise _UnavailableError(
            f"{package.fn}: in no package cache, and {redact_url(package.url)} wants a token that"
            " conda hides: neither .condarc nor REPACK_CHANNELS holds it"
        )
    return url or package.url


def _with_hashes(package: PrefixRecord, caches: tuple[Path, ...]) -> PrefixRecord:
    """``package`` with the hashes of an unpacked copy, where the environment has recorded none."""
    if package.sha256 or package.md5:
        return package
    for _, document in conda_meta.cached_records(caches, package.dist):
        if is_same(package.raw, document) and (document.get("sha256") or document.get("md5")):
            hashes = {key: document[key] for key in ("sha256", "md5", "size") if document.get(key)}
            return replace(package, raw={**package.raw, **hashes})
    return package


def _with_full_record(
    package: PrefixRecord, caches: tuple[Path, ...], archive: Path | None, warnings: list[str]
) -> PrefixRecord:
    """``package`` with a complete record, from the best source that has one."""
    for name, document in _other_records(package, caches, archive):
        if is_same(package.raw, document) and not is_poor(document):
            caveat = ", where later fixes of upstream are missing" if name == "index.json" else ""
            warnings.append(
                f"{package.fn}: its record was emptied by the client that installed it;"
                f" taken from {name}{caveat}"
            )
            return replace(package, raw=restore_record(package.raw, document))
    raise _UnavailableError(
        f"{package.fn}: its record is incomplete, and no package cache has a whole one"
    )


def _index(
    package: PrefixRecord, caches: tuple[Path, ...], archive: Path | None
) -> Mapping[str, Any]:
    """The archive's own ``index.json``; empty when there is no archive or copy of it."""
    documents = (
        document
        for name, document in _other_records(package, caches, archive)
        if name == "index.json" and is_same(package.raw, document)
    )
    return next(documents, {})


def _other_records(
    package: PrefixRecord, caches: tuple[Path, ...], archive: Path | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records of the package by the file they are from: in the caches, then in the archive."""
    yield from conda_meta.cached_records(caches, package.dist)
    if archive is not None:
        from repack.archive.reader import scan_archive

        stand_in = Record.of(
            {**package.raw, "build_number": 0, "sha256": "0" * 64, "size": 0}, package.fn, ""
        )
        try:
            yield "index.json", scan_archive(archive, stand_in, "info").index
        except IntegrityError as error:
            raise _UnavailableError(f"{package.fn}: {error.what}") from None


def _find_archive(
    package: PrefixRecord, caches: tuple[Path, ...], warnings: list[str]
) -> tuple[Path | None, ArchiveHashes | None]:
    candidates = [cache / package.fn for cache in caches]
    candidates += [Path(path) for path in package.archives]
    for path in dict.fromkeys(candidates):
        if not path.is_file():
            continue
        hashes = hash_archive(path)
        if package.sha256:
            fits = hashes.sha256 == package.sha256
        elif package.md5:
            fits = hashes.md5 == package.md5
        else:
            fits = package.raw.get("size") in {None, 0, hashes.size}
        if not fits:
            warnings.append(f"{path}: is not the archive that was installed, so not used")
            continue
        if not package.sha256 and not package.md5:
            warnings.append(f"{package.fn}: no hash was recorded; taken from the cache by its name")
        return path, hashes
    return None, None
