"""Upstream's repodata by repack's own HTTP client, where rattler's cannot go.

A client certificate, a CA file, a proxy over TLS or SOCKS, mirrors and stored credentials are not
rattler's to use (:meth:`repack.upstream.network.Network.beyond_rattler`). Then the file is fetched
here, kept beside rattler's cache, and asked for again by its validator only: a server whose file is
the same sends nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from repack.codec import zstd
from repack.errors import FetchError
from repack.fs import atomic
from repack.upstream.errors import NotAvailableError
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.upstream.client import Upstream
    from repack.upstream.response import Response

# conda-forge's largest has 0.4 GB; what decompresses to more than this is an attack or a mistake.
_LIMIT: Final = 8 << 30
# Another build may still read a file that was replaced.
_KEPT_SECONDS: Final = 86_400


def download_repodata(url: str, cache: Path, upstream: Upstream) -> Path:
    """Fetch ``repodata.json`` of the subdir at ``url`` unless it is in ``cache`` and current.

    Raises:
        NotAvailableError: there is none.
        FetchError: it cannot be had, or is damaged.
        SpaceError: the disk is full.
        PlaceError: ``cache`` cannot be written.
    """
    try:
        return _download(f"{url}/repodata.json.zst", cache, upstream)
    except NotAvailableError:
        return _download(f"{url}/repodata.json", cache, upstream)


def _download(url: str, cache: Path, upstream: Upstream) -> Path:
    key = hashlib.sha256(url.encode()).hexdigest()[:32]
    return upstream.first_of(url, partial(_refresh, cache / key, upstream))


def _refresh(stem: Path, upstream: Upstream, url: str) -> Path:
    """Ask one location; the file's name holds its validator's digest, so the two never part."""
    note = stem.with_suffix(".validator")
    validator = note.read_text("latin-1") if note.is_file() else None
    if validator is not None and not _path_of(stem, validator).is_file():
        validator = None
    with upstream.open(url, validator=validator) as response:
        if response.is_unchanged and validator is not None:
            return _path_of(stem, validator)
        path = _path_of(stem, response.validator or "")
        with atomic.writing(path) as out:
            for data in _body(response, url):
                out.write(data)
    if response.validator:
        atomic.write(note, response.validator.encode("latin-1", "replace"))
    for old in stem.parent.glob(f"{stem.name}-*.json"):
        with contextlib.suppress(OSError):
            if old != path and time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                old.unlink()
    return path


def _path_of(stem: Path, validator: str) -> Path:
    digest = hashlib.sha256(validator.encode("latin-1", "replace")).hexdigest()
    return stem.with_name(f"{stem.name}-{digest[:16]}.json")


def _body(response: Response, url: str) -> Iterator[bytes]:
    """The JSON, decompressed.

    Raises:
        FetchError: it is damaged, or too large.
    """
    stream = cast("BinaryIO", response)  # it has the `read` that is asked for
    size = 0
    try:
        source = zstd.ZstdFile(stream) if url.endswith(".zst") else stream
        while data := source.read(1 << 20):
            size += len(data)
            if size > _LIMIT:
                raise FetchError(
                    "the channel's repodata is too large",
                    where=redact_url(url),
                    expected=f"at most {_LIMIT} bytes",
                )
            yield data
    except (zstd.ZstdError, EOFError) as error:
        raise FetchError(
            "the channel's repodata is damaged", where=redact_url(url), got=error
        ) from error
