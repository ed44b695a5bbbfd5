"""Solving, by rattler.

Rules of this module: what the solver is told about a machine comes from the target profile, never
from the host; what it answers is turned into :class:`~repack.conda.record.Record` at once; its
exceptions become repack's here. rattler is imported inside functions, it costs 50 ms.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from repack.conda.rattler import (
    is_same_package,
    run_async,
    to_rattler_virtual_packages,
    to_records,
    without_derived,
)
from repack.conda.record import Record
from repack.conda.repodata import repodata_bytes
from repack.conda.virtual_packages import TargetProfile, missing_virtual_packages
from repack.errors import FetchError, RepackError, UnsolvableError
from repack.solve.solution import SolveRequest
from repack.urls import folder_url, redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import rattler
    from rattler.networking import Client

    from repack.solve.upstream_repodata import UpstreamRepodata
    from repack.upstream.network import Network


# A proxy that no connection gets through to: port 1 (tcpmux) is nobody's.
_NOWHERE: Final = "http://127.0.0.1:1"


def solve(
    channels: Sequence[str], request: SolveRequest, repodata: UpstreamRepodata
) -> tuple[Record, ...]:
    """Ask upstream ``channels``, in priority order, for one subdir's packages.

    Args:
        channels: URLs, secrets included.

    Returns:
        The records, sorted by path, as upstream published them.

    Raises:
        UnsolvableError: with the solver's own explanation.
        FetchError: a channel cannot be read.
        IntegrityError: a record lacks what repack identifies packages by.
    """
    question = (tuple(channels), request)
    answer = repodata.answers.get(question)
    if answer is None:
        try:
            records = to_records(_run(channels, request, repodata))
            answer = tuple(_as_published(_without_pip(r, request), repodata) for r in records)
        except (UnsolvableError, FetchError) as error:
            # Another label that asks the same gets the same, without asking upstream again.
            repodata.answers[question] = error
            raise
        repodata.answers[question] = answer
    if isinstance(answer, RepackError):
        raise answer
    return answer


def offered_names(
    channels: Sequence[str], subdir: str, repodata: UpstreamRepodata
) -> frozenset[str]:
    """The names of all packages that ``channels`` have for a subdir, ``noarch`` included.

    Raises:
        FetchError: a channel cannot be read.
    """
    from rattler import exceptions as rx

    by_rattler = _left_to_rattler(channels, repodata.upstream.network)
    request = SolveRequest(TargetProfile(subdir, ()), ())
    sources = [s for url in channels for s in _sources(url, request, repodata, by_rattler)]

    channels_asked, files = _split(sources)
    fetched = {name for file in files for name in file.package_names()}

    async def ask() -> list[str]:
        names = await _gateway(by_rattler, repodata).names(
            channels_asked,
            [subdir, "noarch"],  # type: ignore[list-item]
        )
        return [name.normalized for name in names]

    try:
        return frozenset(run_async(ask())) | fetched
    except (rx.GatewayError, rx.FetchRepoDataError, rx.IoError) as error:
        raise _fetch_error(str(error), channels) from None


class UpstreamPackages(Struct, frozen=True):
    """What upstream has of some names now.

    Attributes:
        records: by the URL of the archive, as upstream publishes them.
        removed: URLs of the archives that upstream says it has withdrawn.
    """

    records: Mapping[str, Record]
    removed: frozenset[str]


def query_upstream(
    channels: Sequence[str], subdir: str, names: Sequence[str], repodata: UpstreamRepodata
) -> UpstreamPackages:
    """Every record of ``names`` that ``channels`` have for a subdir, ``noarch`` included.

    Raises:
        FetchError: a channel cannot be read.
    """
    natives, answer = _query(channels, subdir, names, repodata)
    records = to_records(natives)
    # py-rattler before 0.28 does not tell what is withdrawn.
    withdrawn = getattr(answer, "removed", None) or ()
    return UpstreamPackages(
        records={r.url: _as_published(r, repodata) for r in records},
        removed=frozenset(str(package.url) for group in withdrawn for package in group),
    )


def offered_packages(
    channels: Sequence[str], subdir: str, names: Sequence[str], repodata: UpstreamRepodata
) -> list[rattler.RepoDataRecord]:
    """The same as rattler has them, to be matched and compared."""
    return _query(channels, subdir, names, repodata)[0]


def _query(
    channels: Sequence[str], subdir: str, names: Sequence[str], repodata: UpstreamRepodata
) -> tuple[list[rattler.RepoDataRecord], Any]:
    from rattler import exceptions as rx

    request = SolveRequest(TargetProfile(subdir, ()), tuple(names))
    network = repodata.upstream.network
    by_rattler = _left_to_rattler(channels, network)
    sources = [s for url in channels for s in _sources(url, request, repodata, by_rattler)]

    channels_asked, files = _split(sources)

    async def ask() -> Any:
        return await _gateway(by_rattler, repodata).query(
            channels_asked,
            [subdir, "noarch"],  # type: ignore[list-item]
            list(names),
            recursive=False,
            channel_relations="disabled",
        )

    try:
        answer = run_async(ask())
    except (rx.GatewayError, rx.FetchRepoDataError, rx.IoError) as error:
        raise _fetch_error(str(error), channels) from None
    natives = [record for group in answer for record in group]
    natives += [r for file in files for name in names for r in file.load_records(name)]
    return natives, answer


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
    sources: Sequence[rattler.Channel | rattler.SparseRepoData],
    request: SolveRequest,
    gateway: rattler.Gateway,
) -> list[rattler.RepoDataRecord]:
    import rattler

    return await rattler.solve(
        sources,
        list(request.specs),
        gateway=gateway,
        platforms=[request.profile.subdir, "noarch"],  # type: ignore[list-item]
        virtual_packages=to_rattler_virtual_packages(request.profile.virtual_packages),
        constraints=list(request.constraints),
        exclude_newer=request.exclude_newer,
        add_pip_as_python_dependency=request.add_pip,
        channel_relations="disabled",
    )


def _sources(
    url: str, request: SolveRequest, repodata: UpstreamRepodata | None, by_rattler: Sequence[str]
) -> Iterator[rattler.Channel | rattler.SparseRepoData]:
    """What the solver reads of one channel: the channel itself, or files that were fetched here."""
    import rattler

    channel = rattler.Channel(url)
    if repodata is None or url in by_rattler or not _is_http(url):
        yield channel
        return
    for subdir in (request.profile.subdir, "noarch"):
        if path := repodata.download(url, subdir):
            yield _open_repodata(channel, subdir, path)


def _left_to_rattler(channels: Iterable[str], network: Network) -> list[str]:
    """The channels over HTTP that rattler's client can fetch, and may.

    It follows a redirect from https to http. That is cut off by a proxy for http that does not
    exist (:func:`_client`), which takes that no channel needs http, nor to go past all proxies.
    """
    urls = [url for url in channels if _is_http(url) and network.beyond_rattler(url) is None]
    plain = [url for url in urls if url.lower().startswith("http:")]
    return plain or [url for url in urls if not network.proxies or network.route(url).proxy]


def _split(
    sources: Iterable[rattler.Channel | rattler.SparseRepoData],
) -> tuple[list[rattler.Channel], list[rattler.SparseRepoData]]:
    """Channels that a gateway asks, and files that were fetched here."""
    import rattler

    rows = list(sources)
    return (
        [row for row in rows if isinstance(row, rattler.Channel)],
        [row for row in rows if isinstance(row, rattler.SparseRepoData)],
    )


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http:", "https:"))


def _open_repodata(channel: rattler.Channel, subdir: str, path: Path) -> rattler.SparseRepoData:
    import rattler

    try:
        return rattler.SparseRepoData(channel, subdir, path)
    except OSError as error:
        raise FetchError(
            "the channel's repodata is damaged",
            where=redact_url(f"{channel.base_url}{subdir}"),
            got=error,
        ) from error


def _client(urls: Sequence[str], network: Network) -> Client | None:
    """The client of rattler with the proxies that repack uses; None when it has nothing to fetch.

    What it is told here goes before the environment, which it reads by other rules.
    """
    if not urls:
        return None
    from rattler.config import Config
    from rattler.networking import Client

    settings = ['tls-root-certs = "system"', "[proxy-config]"]
    proxies = {scheme: network.scheme_proxy(scheme) or "" for scheme in ("http", "https")}
    if any(url.lower().startswith("http:") for url in urls):
        direct = [urlsplit(url).hostname for url in urls if not network.route(url).proxy]
        exceptions = [*network.no_proxy, *filter(None, direct)]
    else:
        proxies["http"], exceptions = _NOWHERE, []
    # A JSON string is a TOML string as well.
    settings.append(f"non-proxy-hosts = {json.dumps(exceptions)}")
    settings += [
        f"{scheme} = {json.dumps(proxy)}"
        for scheme, proxy in proxies.items()
        if proxy.lower().startswith("http:")
    ]
    config = Config.from_toml("\n".join(settings))
    return Client.from_config(config, timeout=60, user_agent="repack")


def _run(
    channels: Sequence[str], request: SolveRequest, repodata: UpstreamRepodata | None
) -> list[rattler.RepoDataRecord]:
    import rattler
    from rattler import exceptions as rx

    subdir = request.profile.subdir
    network = repodata.upstream.network if repodata else None
    by_rattler = _left_to_rattler(channels, network) if network else []
    sources = [s for url in channels for s in _sources(url, request, repodata, by_rattler)]
    gateway = _gateway(by_rattler, repodata) if repodata else rattler.Gateway()
    try:
        return run_async(_solve(sources, request, gateway))
    except rx.SolverError as error:
        explanation = redact_text(str(error)).removeprefix("Cannot solve the request because of: ")
        advice = missing_virtual_packages(explanation, request.profile)
        raise UnsolvableError(subdir, explanation.strip(), advice) from None
    except (rx.GatewayError, rx.FetchRepoDataError, rx.IoError) as error:
        raise _fetch_error(str(error), channels) from None
    except rx.InvalidMatchSpecError as error:
        raise UnsolvableError(subdir, f"a MatchSpec cannot be read: {error}") from None


def _gateway(by_rattler: Sequence[str], repodata: UpstreamRepodata) -> rattler.Gateway:
    """The way of rattler to these channels; one for a whole session, so that each is asked once."""
    import rattler

    key = tuple(by_rattler)
    if key not in repodata.gateways:
        client = _client(by_rattler, repodata.upstream.network)
        repodata.gateways[key] = rattler.Gateway(cache_dir=repodata.cache, client=client)
    gateway: rattler.Gateway = repodata.gateways[key]
    return gateway


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


def _as_published(record: Record, repodata: UpstreamRepodata) -> Record:
    raw = repodata.get(record.url.rsplit("/", 1)[0], record.fn)
    if raw is not None and is_same_package(raw, record.raw):
        return Record.of(raw, record.fn, record.url)
    return without_derived(record)
