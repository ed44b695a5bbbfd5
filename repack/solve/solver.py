"""Solving, by rattler.

Rules of this module: what the solver is told about a machine comes from the target profile, never
from the host; what it answers is turned into :class:`~repack.conda.record.Record` at once; its
exceptions become repack's here. rattler is imported inside functions, it costs 50 ms.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from repack.conda.rattler import (
    is_same_package,
    run_async,
    to_rattler_virtual_packages,
    to_records,
    without_derived,
)
from repack.conda.record import Record
from repack.conda.repodata import repodata_bytes
from repack.errors import FetchError, UnsolvableError
from repack.solve.upstream_repodata import UpstreamRepodata
from repack.urls import folder_url, redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import rattler

    from repack.solve.solution import SolveRequest


def solve(
    channels: Sequence[str],
    request: SolveRequest,
    cache: Path,
) -> tuple[Record, ...]:
    """Ask upstream ``channels``, in priority order, for one subdir's packages.

    Args:
        channels: URLs, secrets included.
        request: what to solve for.
        cache: folder for upstream's repodata; it may end up holding secret URLs.

    Returns:
        The records, sorted by path, as upstream published them.

    Raises:
        UnsolvableError: with the solver's own explanation.
        FetchError: a channel cannot be read.
        IntegrityError: a record lacks what repack identifies packages by.
    """
    records = to_records(_run(channels, request, cache))
    published = UpstreamRepodata(cache)
    return tuple(_as_published(_without_pip(r, request), published) for r in records)


def solve_folder(channel: Path, request: SolveRequest) -> tuple[Record, ...]:
    """Solve from a channel on disk and nothing else, as the target will.

    Raises:
        UnsolvableError: with the solver's own explanation.
        FetchError: the channel's index cannot be read.
    """
    return to_records(_run([folder_url(channel)], request, None))


def solve_among(records: Iterable[Record], request: SolveRequest) -> tuple[Record, ...]:
    """Solve as if ``records`` were all there is; raises as :func:`solve_folder` does."""
    # Windows removes no file that the solver still has open, and it holds on to them for a while.
    with tempfile.TemporaryDirectory(prefix="repack-solve-", ignore_cleanup_errors=True) as name:
        _write_index(records, Path(name), request.profile.subdir)
        return solve_folder(Path(name), request)


def _write_index(records: Iterable[Record], folder: Path, subdir: str) -> None:
    by_subdir: dict[str, list[Record]] = {"noarch": [], subdir: []}
    for record in records:
        by_subdir.setdefault(record.subdir, []).append(record)
    for name, group in by_subdir.items():
        (folder / name).mkdir()
        (folder / name / "repodata.json").write_bytes(repodata_bytes(name, group))


async def _solve(
    channels: Sequence[str], request: SolveRequest, cache: Path | None
) -> list[rattler.RepoDataRecord]:
    import rattler
    from rattler.config import Config
    from rattler.networking import Client

    local = all(url.startswith("file:") for url in channels)
    client = None
    if not local:
        settings = Config.from_toml('tls-root-certs = "system"')
        client = Client.from_config(settings, timeout=60, user_agent="repack")
    return await rattler.solve(
        [rattler.Channel(url) for url in channels],
        list(request.specs),
        gateway=rattler.Gateway(cache_dir=cache, client=client),
        platforms=[request.profile.subdir, "noarch"],  # type: ignore[list-item]
        virtual_packages=to_rattler_virtual_packages(request.profile.virtual_packages),
        constraints=list(request.constraints),
        exclude_newer=request.exclude_newer,
        add_pip_as_python_dependency=request.add_pip,
        channel_relations="disabled",
    )


def _run(
    channels: Sequence[str],
    request: SolveRequest,
    cache: Path | None,
) -> list[rattler.RepoDataRecord]:
    from rattler import exceptions as rx

    subdir = request.profile.subdir
    try:
        return run_async(_solve(channels, request, cache))
    except rx.SolverError as error:
        explanation = redact_text(str(error)).removeprefix("Cannot solve the request because of: ")
        raise UnsolvableError(subdir, explanation.strip()) from None
    except (rx.GatewayError, rx.FetchRepoDataError, rx.IoError) as error:
        raise _fetch_error(str(error), channels) from None
    except rx.InvalidMatchSpecError as error:
        raise UnsolvableError(subdir, f"a MatchSpec cannot be read: {error}") from None


def _fetch_error(text: str, channels: Sequence[str]) -> FetchError:
    clean = redact_text(text)
    lower = clean.lower()
    hint = "check the channel's URL, the network and the proxy settings"
    if "401" in clean or "403" in clean:
        hint = "the channel refuses the token, or needs one"
    elif "404" in clean or "could not find subdir" in lower or "no such file" in lower:
        hint = "no conda channel is there; check the URL for a spelling mistake"
    elif "certificate" in lower:
        hint = "the TLS certificate is not trusted; name your CA file in SSL_CERT_FILE"
    elif "timed out" in lower or "timeout" in lower:
        hint = "the server does not answer; check the network and HTTPS_PROXY"
    elif "expected" in lower and "line" in lower:
        hint = "the channel's repodata.json is damaged"
    where = next(
        (redact_url(url) for url in channels if redact_url(url).rstrip("/") in clean), None
    )
    return FetchError(
        "the channel's repodata cannot be read", where=where, got=clean.strip(), hint=hint
    )


def _without_pip(record: Record, request: SolveRequest) -> Record:
    """Take back the ``pip`` that rattler puts behind python's dependencies when told to add it."""
    if not request.add_pip or record.name != "python" or record.depends[-1:] != ("pip",):
        return record
    raw = {**record.raw, "depends": list(record.depends[:-1])}
    return Record.of(raw, record.fn, record.url)


def _as_published(record: Record, published: UpstreamRepodata) -> Record:
    raw = published.get(record.url.rsplit("/", 1)[0], record.fn)
    if raw is not None and is_same_package(raw, record.raw):
        return Record.of(raw, record.fn, record.url)
    return without_derived(record)
