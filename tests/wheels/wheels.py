"""Wheels made to measure."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_wheel(
    folder: Path,
    name: str = "acme_scoring",
    version: str = "2.1",
    tag: str = "py3-none-any",
    files: dict[str, bytes] | None = None,
    metadata: str = "",
    entry_points: str = "",
    executable: tuple[str, ...] = (),
) -> Path:
    """A wheel with a module, metadata, RECORD, and whatever else is asked for."""
    info = f"{name}-{version}.dist-info"
    contents = {f"{name}/__init__.py": f"__version__ = {version!r}\n".encode(), **(files or {})}
    head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}"
    contents[f"{info}/METADATA"] = head.encode()
    pure = "true" if tag.endswith("none-any") else "false"
    wheel = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    contents[f"{info}/WHEEL"] = wheel.encode()
    if entry_points:
        contents[f"{info}/entry_points.txt"] = entry_points.encode()
    rows = [f"{path},sha256={digest_of(data)},{len(data)}" for path, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in contents.items():
            entry = zipfile.ZipInfo(member, (2024, 1, 2, 3, 4, 6))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if member in executable else 0o644) << 16
            archive.writestr(entry, data)
    return path


def digest_of(data: bytes) -> str:
    """A hash as RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
