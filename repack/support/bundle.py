"""Collect what second-line support needs into one file that can be read before it is sent.

A zip, since every system opens one by itself. ``CONTENTS.json`` in it lists every file with size
and hash, and every file that was left out and why. Nothing is taken that is no text, nothing that
may hold keys, no licence store; from all the rest secrets are taken out, and what comes of it is
searched for them once more.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import stat
import zipfile
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from repack.errors import IntegrityError, RepackError
from repack.fs import atomic, beneath
from repack.fs.links import refuse_symlinks
from repack.structs import Value
from repack.support.redact import redact
from repack.timestamps import stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

TAIL: Final = 2 << 20
MAX_FILES: Final = 500
MAX_BYTES: Final = 64 << 20
_NEVER: Final = (".pem", ".key", ".p12", ".pfx", ".gpg", ".netrc", "_netrc", ".kdbx")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the zip format's first day: same content, same bytes
_SURE: Final = 8


class Request(Value, frozen=True):
    """What is to be collected.

    Attributes:
        places: files and folders of logs and reports; what is not there is said.
        documents: what commands answered, by name in the bundle.
        secrets: what must not be in it.
    """

    hidden_fields: ClassVar = ("secrets",)

    places: tuple[Path, ...]
    documents: Mapping[str, object]
    secrets: frozenset[str]


class CollectedFile(Value, frozen=True):
    """A file of the bundle."""

    hidden_fields: ClassVar = ("data",)

    name: str
    data: bytes
    note: str | None = None

    def to_json(self) -> dict[str, object]:
        """Its row in the contents."""
        row = {
            "name": self.name,
            "size": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
        }
        return row | ({"note": self.note} if self.note else {})


class Collected(Struct, frozen=True):
    """What is in the bundle, and what is not and why."""

    pieces: tuple[CollectedFile, ...]
    left_out: Mapping[str, str]
    made_at: str

    def to_json(self) -> dict[str, object]:
        """The contents, as they stand in the bundle."""
        return {
            "kind": "repack-support-bundle",
            "made_at": self.made_at,
            "files": [piece.to_json() for piece in self.pieces],
            "left_out": [{"name": name, "why": why} for name, why in sorted(self.left_out.items())],
        }


def collect(request: Request, output: Path, now: datetime) -> Collected:
    """Write the bundle.

    Raises:
        IntegrityError: a secret was found in what would have been sent; nothing was written.
        UsageError: ``output`` leads through a symlink.
        SpaceError: the disk is full.
    """
    refuse_symlinks(output)
    left_out: dict[str, str] = {}
    pieces = [
        _piece(f"status/{name}.json", _json(document), None, request)
        for name, document in sorted(request.documents.items())
    ]
    total = 0
    for piece in _gather(request, left_out):
        if len(pieces) >= MAX_FILES or total >= MAX_BYTES:
            left_out[piece.name] = "the bundle is full"
            continue
        pieces.append(piece)
        total += len(piece.data)
    collected = Collected(tuple(pieces), left_out, stamp(now))
    contents = CollectedFile("CONTENTS.json", _json(collected.to_json()).encode())
    _refuse_secrets([*pieces, contents], request.secrets)
    atomic.write(output, _zip([contents, *pieces]), 0o600)
    return collected


def _gather(request: Request, left_out: dict[str, str]) -> Iterator[CollectedFile]:
    for place in request.places:
        for path, fault in _walk(place):
            reason = fault or _unwanted(path)
            if reason is not None:
                left_out[str(path)] = reason
                continue
            found = _read(path, left_out)
            if found is not None:
                yield _piece(_name(path), *found, request)


def _walk(place: Path) -> Iterator[tuple[Path, str | None]]:
    """Every plain file below ``place``, and what cannot be taken with the reason."""
    try:
        mode = os.lstat(place).st_mode
    except OSError as error:
        yield place, (error.strerror or "cannot be read").lower()
        return
    if stat.S_ISDIR(mode):
        try:
            inner = [place / entry.name for entry in beneath.scan(place)]
        except OSError as error:
            yield place, (error.strerror or "cannot be read").lower()
            return
        for path in inner:
            yield from _walk(path)
    elif stat.S_ISREG(mode):
        yield place, None
    elif stat.S_ISLNK(mode):
        yield place, "a link is not followed"
    else:
        yield place, "no plain file"


def _unwanted(path: Path) -> str | None:
    name = path.name.lower()
    if name.startswith(atomic.TEMP_PREFIX) or name.endswith(".lock"):
        return "of no use"
    if name.endswith(_NEVER) or "license_store" in name or "keys" in path.parts[:-1]:
        return "may hold keys"
    return None


def _read(path: Path, left_out: dict[str, str]) -> tuple[str, str | None] | None:
    """The end of a file as text, from the start of a line; None when it is no text."""
    try:
        with atomic.os_errors_at(path), beneath.reading(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            mark = _mark(stream)
            stream.seek(max(0, size - TAIL) & ~1)  # UTF-16 has two bytes a character
            data = stream.read(TAIL + 1)
    except RepackError as error:
        left_out[str(path)] = error.what
        return None
    text = data.decode(mark or "utf-8", "replace").removeprefix("\ufeff")
    if "\x00" in text or text.count("\ufffd") * 10 > len(text):
        left_out[str(path)] = "no text"
        return None
    if size <= TAIL:
        return text, None
    return text.partition("\n")[2], f"the last {TAIL >> 20} MiB of {size} bytes"


def _mark(stream: io.BufferedReader) -> str | None:
    """PowerShell writes logs in UTF-16; a secret in it must be found all the same."""
    stream.seek(0)
    start = stream.read(2)
    return {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(start)


def _piece(name: str, text: str, note: str | None, request: Request) -> CollectedFile:
    clean = redact(text, request.secrets)
    if clean != text:
        note = f"{note}; secrets taken out" if note else "secrets taken out"
    return CollectedFile(name, clean.encode("utf-8", "replace"), note)


def _name(path: Path) -> str:
    """The file's place in the bundle: where it was, without drive and ways out."""
    parts = [part for part in path.parts if part not in {path.anchor, ".", ".."}]
    return "/".join(["files", *parts])


def _refuse_secrets(pieces: list[CollectedFile], secrets: frozenset[str]) -> None:
    for piece in pieces:
        text = piece.name + "\n" + piece.data.decode("utf-8", "replace")
        if any(secret in text for secret in secrets if len(secret) >= _SURE):
            raise IntegrityError(
                "a secret is left in what would be sent",
                where=piece.name,
                hint="nothing was written; leave that file out",
            )


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True, default=str) + "\n"


def _zip(pieces: list[CollectedFile]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for piece in pieces:
            info = zipfile.ZipInfo(piece.name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, piece.data)
    return buffer.getvalue()
