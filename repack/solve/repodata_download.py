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
from repack.fs import atomic, beneath
from repack.fs.walk import read_or_none
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
# More than any ETag has.
_LONGEST_NOTE: Final = 8192
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
    text = read_or_none(note, _LONGEST_NOTE)
    validator = None if text is None else text.decode("latin-1")
    if validator is not None and not beneath.is_file(_path_of(stem, validator)):
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
    with atomic.os_errors_at(stem.parent):
        entries = beneath.scan(stem.parent, sizes=True)
    for entry in entries:
        is_old = time.time() - entry.mtime_ns / 1e9 > _KEPT_SECONDS
        if is_old and entry.name != path.name and _is_copy_of(stem, entry.name):
            with contextlib.suppress(OSError):
                beneath.unlink(stem.parent / entry.name)
    return path


def _is_copy_of(stem: Path, name: str) -> bool:
    return name.startswith(f"{stem.name}-") and name.endswith(".json")


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
