"""A tar stream, read forwards: headers are checked, data is skipped or handed out.

Conda packages are tar inside (CEP 35, and the older ``.tar.bz2``). The standard library's
``tarfile`` builds an object of thirty fields for every member and forgives what two readers would
understand differently; here a member costs a few microseconds, and whatever readers disagree on is
refused.

Source: POSIX.1-2017 ``pax``, "ustar Interchange Format" and "pax Interchange Format"; GNU tar
manual, "Basic Tar Format".
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK: Final = 512
_HEADER: Final = struct.Struct("100s24x12s12x8sc100s8s80x155s12x")
_EXTENSION_LIMIT: Final = 1 << 20  # bytes of one long name or pax header
_ADLER: Final = 65521
_POSIX: Final = b"ustar\x0000"

Kind = Literal["file", "folder", "symlink", "hardlink"]
_KINDS: Final[dict[bytes, Kind]] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "folder",
}


class TarMember(NamedTuple):
    """One member of an archive. A named tuple, because there are tens of thousands."""

    name: str
    kind: Kind
    size: int
    target: str


class _Header(NamedTuple):
    name: bytes
    size: int
    kind: bytes
    target: bytes


class _Extension(NamedTuple):
    """What extension headers say of the next member."""

    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None


class TarReader:
    """The members of a tar stream.

    Iterate over it once. :meth:`read_all` gives the data of the member just seen; data not asked for
    is skipped without a copy.

    Args:
        chunks: the decompressed stream in pieces of any size.
        limit: bytes the stream may have at most; may be changed on the way.
    """

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self.limit = limit
        self.consumed = 0  # bytes taken from `chunks`
        self._chunks = chunks
        self._chunk = b""
        self._at = 0  # the next byte to read in `_chunk`
        self._left = 0  # data of the current member not read yet
        self._padding = 0

    def __iter__(self) -> Iterator[TarMember]:
        """Go through the members up to the end of the archive.

        Raises:
            IntegrityError: the stream is cut off, too long, or no tar that all readers understand
                alike.
        """
        said = _Extension()
        while (block := self._next_header()) is not None:
            header = _parse(block)
            kind = _KINDS.get(header.kind)
            if kind is None:
                said = self._extension(header, said)
                continue
            size = header.size if said.size is None else said.size
            if size and kind != "file":  # some readers skip the data, others read on in it
                raise IntegrityError(f"a {kind} in the archive has data")
            self._left, self._padding = size, -size % BLOCK
            name = _text(said.name or header.name)
            target = "" if kind in {"file", "folder"} else _text(said.target or header.target)
            said = _Extension()
            yield TarMember(name.rstrip("/") if kind == "folder" else name, kind, size, target)
        if said != _Extension():
            raise IntegrityError("archive ends after an extension header")

    @property
    def position(self) -> int:
        """Where in the stream the next byte is: with a member just seen, where its data begins."""
        return self.consumed - len(self._chunk) + self._at

    def read_all(self, limit: int) -> bytes:
        """The data of the member just seen.

        Raises:
            IntegrityError: it is longer than ``limit`` bytes, or cut off.
        """
        if self._left > limit:
            raise IntegrityError(
                "a file in the archive is too large",
                expected=f"at most {limit} bytes",
                got=self._left,
            )
        data, self._left = self._take(self._left), 0
        return data

    def read(self, limit: int) -> bytes:
        """The first ``limit`` bytes, or fewer, of the member just seen."""
        count = min(limit, self._left)
        data = self._take(count)
        self._left -= count
        return data

    def finish(self) -> None:
        """Read what follows the end of the archive, so that a checksum at its end is checked.

        Raises:
            IntegrityError: something is hidden there.
        """
        rest = self._chunk[self._at :]
        while not rest.strip(b"\0"):
            if not self._more():
                return
            rest = self._chunk
        raise IntegrityError("data is hidden behind the end of the archive")

    def _more(self) -> bool:
        """Get the next chunk, when nothing is left of the last one."""
        chunk = next(self._chunks, b"")
        self.consumed += len(chunk)
        if self.consumed > self.limit:
            raise IntegrityError(
                "archive unpacks to more than its list of files says",
                expected=f"at most {self.limit} bytes",
            )
        self._chunk, self._at = chunk, 0
        return bool(chunk)

    def _take(self, count: int) -> bytes:
        if len(self._chunk) - self._at < count:
            parts, missing = [self._chunk[self._at :]], count - (len(self._chunk) - self._at)
            while missing > 0:
                if not self._more():
                    raise IntegrityError("archive is cut off")
                parts.append(self._chunk[:missing])
                self._at = len(parts[-1])
                missing -= self._at
            return b"".join(parts)
        start = self._at
        self._at += count
        return self._chunk[start : self._at]

    def _skip(self, count: int) -> None:
        while (here := len(self._chunk) - self._at) < count:
            count -= here
            if not self._more():
                raise IntegrityError("archive is cut off")
        self._at += count

    def _next_header(self) -> bytes | None:
        """The next header block; None at the end, which is a block of zeros or of nothing."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        if self._at == len(self._chunk) and not self._more():
            return None
        block = self._take(BLOCK)
        return block if block.strip(b"\0") else None

    def _extension(self, header: _Header, said: _Extension) -> _Extension:
        """Read an extension header and add what it says to what others ``said``."""
        if header.kind not in {b"x", b"g", b"L", b"K"}:
            raise IntegrityError(
                "archive holds something that is no file, folder or link",
                got=f"{_text(header.name)!r}, tar type {header.kind!r}",
            )
        self._left, self._padding = header.size, -header.size % BLOCK
        data = self.read_all(_EXTENSION_LIMIT)
        if header.kind == b"L":
            return said._replace(name=data.rstrip(b"\0"))
        if header.kind == b"K":
            return said._replace(target=data.rstrip(b"\0"))
        fields = _pax(data)
        if header.kind == b"g":
            if fields:
                raise IntegrityError("archive renames its files by a global header")
            return said
        size = fields.get("size")
        return _Extension(
            name=fields.get("path", said.name),
            target=fields.get("linkpath", said.target),
            size=said.size if size is None else _number(size, 10),
        )


def _parse(block: bytes) -> _Header:
    name, size, checksum, kind, target, magic, prefix = _HEADER.unpack(block)
    # The checksum is the sum of all bytes with its own field taken as spaces. The low half of
    # Adler-32 is that sum plus one, modulo a prime, and is computed twenty times faster.
    expected = _number(checksum, 8) - 8 * 0x20 + sum(checksum) + 1
    if zlib.adler32(block) & 0xFFFF != expected % _ADLER:
        raise IntegrityError("archive is damaged: a tar header has a wrong checksum")
    name = name.partition(b"\0")[0]
    prefix = prefix.partition(b"\0")[0]
    if prefix:
        if magic != _POSIX:
            raise IntegrityError("archive has a tar header that readers understand differently")
        name = prefix + b"/" + name
    return _Header(name, _number(size, 8), kind, target.partition(b"\0")[0])


def _number(field: bytes, base: int) -> int:
    """A number of a header: octal digits, or GNU's big-endian form for large ones."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0") or b"0"
    # int() alone would take signs and underscores as well, which other readers refuse.
    if not digits.isdigit():
        raise IntegrityError("archive is damaged: a tar header has a bad number", got=repr(field))
    try:
        return int(digits, base)
    except ValueError as fault:
        raise IntegrityError(
            "archive is damaged: a tar header has a bad number", got=repr(field)
        ) from fault


def _pax(data: bytes) -> dict[str, bytes]:
    """The fields of a pax header that change how a member is read."""
    fields: dict[str, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        length, space, _ = data[at : at + 20].partition(b" ")
        end = at + (int(length) if length.isdigit() else 0)
        record = data[at + len(length) + 1 : end]
        key, equals, value = record.partition(b"=")
        if not (space and equals and value.endswith(b"\n") and end <= len(data)):
            raise IntegrityError("archive is damaged: bad pax header")
        if key in {b"path", b"linkpath", b"size"}:
            fields[key.decode("ascii")] = value[:-1]
        elif key.startswith(b"GNU.sparse."):
            raise IntegrityError("archive holds a sparse file, which not all readers can unpack")
        at = end
    return fields


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise IntegrityError("a name in the archive is not UTF-8", got=repr(raw[:200])) from fault
