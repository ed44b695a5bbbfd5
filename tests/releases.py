"""Release archives for tests: sound ones, and ones that nobody sane would make."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from repack.keys.shared_key import SharedKey, sign_hmac_sha384

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

KEY = SharedKey("oem", b"k" * 32)
FILES = {"models/a.bin": b"model" * 1000, "models/sub/b.bin": b"b", "strategies/s.json": b"{}"}
Member = tuple[tarfile.TarInfo, bytes]


def manifest(files: Mapping[str, bytes] = FILES, **more: Any) -> dict[str, Any]:
    rows = [
        {"path": path, "sha384": hashlib.sha384(data).hexdigest(), "size": len(data)}
        for path, data in files.items()
    ]
    return {
        "version": "1.0.0",
        "generated_at": "2026-11-20T12:00:00Z",
        "artifacts": rows,
        **more,
    }


def plain(name: str, data: bytes, **more: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def signature(document: object, key: SharedKey = KEY, **more: Any) -> bytes:
    return json.dumps({"signature": {**sign_hmac_sha384(document, key), **more}}).encode()


def members(
    document: object | None = None,
    files: Mapping[str, bytes] = FILES,
    signed: bytes | None = None,
) -> list[Member]:
    described = manifest(files) if document is None else document
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    found = [plain("manifest.json", text)]
    if signed is not None:
        found.append(plain("manifest.sig", signed))
    return found + [plain(name, data) for name, data in files.items()]


def tarball(rows: Iterable[Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in rows:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archive(path: Path, rows: Iterable[Member]) -> Path:
    path.write_bytes(gzip.compress(tarball(rows), 1, mtime=0))
    return path
