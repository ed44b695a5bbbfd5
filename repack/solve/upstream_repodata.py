"""Upstream's records as their bytes stand in upstream's ``repodata.json``.

The solver hands out records in its own, normalised form. This module finds the same record in the
file the solver read, so that a channel carries upstream's fields unchanged. A repodata file may
have a million records: it is searched by bisection, never parsed whole.
"""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from repack.conda.repodata import read_rows
from repack.errors import FetchError, IntegrityError, RepackError
from repack.fs import atomic, beneath
from repack.upstream.errors import NotAvailableError
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.conda.record import Record
    from repack.solve.solution import SolveRequest
    from repack.upstream.client import Upstream

# Below this a file is parsed whole, which takes no longer than bisecting for a hundred records.
_INFO_LIMIT: Final = 1 << 20
SMALL: Final = 4 << 20
_WINDOW: Final = 1 << 20
_KEY: Final = re.compile(rb'"([^"\\\s/]+(\.conda|\.tar\.bz2))"\s*:\s*\{')
_DECODER: Final = json.JSONDecoder()


class RepodataIndex:
    """One ``repodata.json`` on disk, read a record at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole: dict[str, Any] | None = None
        self._map: mmap.mmap | None = None
        size = path.stat().st_size
        if size < SMALL:
            self._whole = read_rows(json.loads(atomic.read(path, SMALL)), path)
        else:
            with beneath.reading(path) as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def get(self, fn: str) -> Mapping[str, Any] | None:
        """The record of ``fn``, or None when it is not found (an unsorted large file)."""
        if self._map is None:
            return (self._whole or {}).get(fn)
        return _bisect(self._map, fn.encode())


def _bisect(data: mmap.mmap, fn: bytes) -> Mapping[str, Any] | None:
    # Indexers write `packages` (.tar.bz2) before `packages.conda`, each sorted by file name.
    key = (fn.endswith(b".conda"), fn)
    low, high = 0, len(data)
    while low < high:
        middle = (low + high) // 2
        match = _KEY.search(data, middle, min(middle + _WINDOW, len(data)))
        if match is None or match.start() >= high:
            if high - low < _WINDOW:
                return _scan(data, fn, low, high)
            high = middle
            continue
        here = (match[2] == b".conda", match[1])
        if here == key:
            return _decode(data, match.end() - 1)
        if here < key:
            low = match.end()
        else:
            high = middle
    return None


def _scan(data: mmap.mmap, fn: bytes, low: int, high: int) -> Mapping[str, Any] | None:
    for match in _KEY.finditer(data, low, min(high + _WINDOW, len(data))):
        if match[1] == fn:
            return _decode(data, match.end() - 1)
    return None


def _decode(data: mmap.mmap, start: int) -> Mapping[str, Any] | None:
    # A record is cut out whole: none is longer than the window.
    text = data[start : start + _WINDOW].decode("utf-8", errors="ignore")
    record, _ = _DECODER.raw_decode(text)
    return record if isinstance(record, dict) else None


class UpstreamRepodata:
    """Upstream's repodata: what the solver reads, and the records in it as upstream published them.

    Args:
        cache: where repodata is kept; it may end up holding secret URLs.
        upstream: fetches repodata where rattler's own client cannot.
    """

    def __init__(self, cache: Path, upstream: Upstream) -> None:
        self.cache = cache
        self.upstream = upstream
        # For a session of several builds: answers by question, and rattler's gateways by channels.
        self.answers: dict[
            tuple[tuple[str, ...], SolveRequest], tuple[Record, ...] | RepackError
        ] = {}
        self.gateways: dict[tuple[str, ...], Any] = {}
        self._downloaded: dict[str, Path | None] = {}
        self._folders: dict[str, RepodataIndex | None] = {}

    def download(self, channel: str, subdir: str) -> Path | None:
        """The repodata of one subdir, fetched once; None: the channel has nothing for it.

        Raises:
            FetchError: it cannot be had, or there is no such channel.
        """
        # Brings zstd, which a build that keeps its lock does without.
        from repack.solve.repodata_download import download_repodata

        url = f"{channel.rstrip('/')}/{subdir}"
        key = redact_url(url)
        if key not in self._downloaded:
            try:
                path = download_repodata(url, self.cache / "downloaded", self.upstream)
            except NotAvailableError as error:
                if subdir == "noarch":
                    # Every channel has this one (CEP 26), so there is no channel.
                    raise FetchError(
                        "the channel's repodata cannot be read",
                        where=redact_url(channel),
                        got=error.got,
                        hint="no conda channel is there; check the URL for a spelling mistake",
                    ) from error
                self._downloaded[key] = None
            else:
                self._downloaded[key] = path
        return self._downloaded[key]

    def get(self, folder_url: str, fn: str) -> Mapping[str, Any] | None:
        """The record of ``fn`` in the subdir at ``folder_url``, secrets included, if it is there.

        A sharded upstream leaves no such file, and a concurrent build may have replaced it: then
        the solver's own view has to serve.
        """
        if folder_url not in self._folders:
            self._folders[folder_url] = self._open(folder_url)
        index = self._folders[folder_url]
        return None if index is None else index.get(fn)

    def _open(self, folder_url: str) -> RepodataIndex | None:
        path = self._file_of(folder_url)
        try:
            return None if path is None else RepodataIndex(path)
        except (OSError, ValueError, IntegrityError):
            return None

    def _file_of(self, folder_url: str) -> Path | None:
        if path := self._downloaded.get(redact_url(folder_url)):
            return path
        parts = urlsplit(folder_url)
        if parts.scheme == "file":
            host = f"//{parts.netloc}" if parts.netloc else ""
            from urllib.request import url2pathname

            return Path(url2pathname(host + parts.path)) / "repodata.json"
        repodata_url = f"{folder_url}/repodata.json"
        with atomic.os_errors_at(self.cache):
            names = [entry.name for entry in beneath.scan_if_there(self.cache)]
        for info in (self.cache / name for name in names if name.endswith(".info.json")):
            try:
                url = json.loads(atomic.read(info, _INFO_LIMIT))["url"]
            except (RepackError, ValueError, KeyError, TypeError):
                continue
            if url.removesuffix(".zst").removesuffix(".bz2") == repodata_url:
                return info.with_name(info.name.removesuffix(".info.json") + ".json")
        return None
