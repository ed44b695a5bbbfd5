"""Reads a tar stream forwards: headers are checked, data is skipped or returned.

Conda packages are tars inside (CEP 35, and the older ``.tar.bz2``). The standard library's
``tarfile`` creates an object of thirty fields for each member and accepts headers that two readers
understand differently. Here a member takes a few microseconds, and such a header is refused.

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
# name, (mode, uid, gid), size, (mtime), checksum, type, link target, magic with version, (owner and
# device), prefix: the fields of a ustar header, those in brackets skipped.
_HEADER: Final = struct.Struct("100s24x12s12x8sc100s8s80x155s12x")
_EXTENSION_LIMIT: Final = 1 << 20  # bytes of one long name or pax header
_DIGITS: Final = 20  # of a decimal number below 2**64; a pax header could hold a million
_ADLER: Final = 65521  # the modulus of Adler-32
_POSIX: Final = b"ustar\x0000"

Kind = Literal["file", "folder", "symlink", "hardlink"]
_KINDS: Final[dict[bytes, Kind]] = {
    b"0": "file",
    b"\0": "file",  # of tars from before POSIX
    b"7": "file",  # "contiguous", which all readers take as a plain file
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
    """What extension headers (pax or GNU) say of the member that follows them."""

    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None


class TarReader:
    """The members of a tar stream.

    Iterate over it once. :meth:`read_all` and :meth:`read` return data of the current member; what
    is not read is skipped without a copy.

    Args:
        chunks: the decompressed stream in pieces of any size.
        limit: bytes the stream may have at most; may be changed between members.
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
        extension = _Extension()
        while (block := self._next_header()) is not None:
            header = _parse_header(block)
            kind = _KINDS.get(header.kind)
            if kind is None:
                extension = self._extend(header, extension)
                continue
            size = header.size if extension.size is None else extension.size
            # POSIX lets a link or folder have a size. Some readers skip so many bytes, others take
            # them for the next header.
            if size and kind != "file":
                raise IntegrityError(f"a {kind} in the archive has data")
            self._left, self._padding = size, -size % BLOCK
            name = _text(extension.name or header.name)
            target = "" if kind in {"file", "folder"} else _text(extension.target or header.target)
            extension = _Extension()
            yield TarMember(name.rstrip("/") if kind == "folder" else name, kind, size, target)
        if extension != _Extension():
            raise IntegrityError("archive ends after an extension header")

    @property
    def position(self) -> int:
        """Offset of the next byte in the stream; after a header, of the member's data."""
        return self.consumed - len(self._chunk) + self._at

    def read_all(self, limit: int) -> bytes:
        """Return all data of the current member.

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
        """Return the next ``limit`` bytes, or fewer, of the current member's data."""
        count = min(limit, self._left)
        data = self._take(count)
        self._left -= count
        return data

    def finish(self) -> None:
        """Read on to the end of the stream, which must be zeros.

        The decompressor verifies its checksum only when its last byte is read.

        Raises:
            IntegrityError: data follows the end of the archive.
        """
        tail = self._chunk[self._at :]
        while not tail.strip(b"\0"):
            if not self._next_chunk():
                return
            tail = self._chunk
        raise IntegrityError("data is hidden behind the end of the archive")

    def _next_chunk(self) -> bool:
        """Replace the used chunk by the next one; False at the end of the stream."""
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
            # Across chunks: the bytes left of this one, then what is missing from those after it.
            parts, missing = [self._chunk[self._at :]], count - (len(self._chunk) - self._at)
            while missing > 0:
                if not self._next_chunk():
                    raise IntegrityError("archive is cut off")
                parts.append(self._chunk[:missing])
                self._at = len(parts[-1])
                missing -= self._at
            return b"".join(parts)
        start = self._at
        self._at += count
        return self._chunk[start : self._at]

    def _skip(self, count: int) -> None:
        while (available := len(self._chunk) - self._at) < count:
            count -= available
            if not self._next_chunk():
                raise IntegrityError("archive is cut off")
        self._at += count

    def _next_header(self) -> bytes | None:
        """Return the next header block; None at a block of zeros or the end of the stream.

        POSIX ends an archive by two blocks of zeros; readers stop at the first.
        """
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        if self._at == len(self._chunk) and not self._next_chunk():
            return None
        block = self._take(BLOCK)
        return block if block.strip(b"\0") else None

    def _extend(self, header: _Header, extension: _Extension) -> _Extension:
        """Read an extension header and add its fields to ``extension``."""
        if header.kind not in {b"x", b"g", b"L", b"K"}:
            raise IntegrityError(
                "archive holds something that is no file, folder or link",
                got=f"{_text(header.name)!r}, tar type {header.kind!r}",
            )
        self._left, self._padding = header.size, -header.size % BLOCK
        data = self.read_all(_EXTENSION_LIMIT)
        if header.kind == b"L":
            return extension._replace(name=data.rstrip(b"\0"))
        if header.kind == b"K":
            return extension._replace(target=data.rstrip(b"\0"))
        fields = _parse_pax(data)
        if header.kind == b"g":
            # git archive writes one, with a comment alone. A path in it would apply to all members.
            if fields:
                raise IntegrityError("archive renames its files by a global header")
            return extension
        size = fields.get("size")
        return _Extension(
            name=fields.get("path", extension.name),
            target=fields.get("linkpath", extension.target),
            size=extension.size if size is None else _parse_number(size, 10),
        )


def _parse_header(block: bytes) -> _Header:
    name, size, checksum, kind, target, magic, prefix = _HEADER.unpack(block)
    # The checksum is the sum of all bytes with its own field taken as spaces. The low half of
    # Adler-32 is that sum plus one, modulo a prime, and is computed twenty times faster.
    expected = _parse_number(checksum, 8) - 8 * 0x20 + sum(checksum) + 1
    if zlib.adler32(block) & 0xFFFF != expected % _ADLER:
        raise IntegrityError("archive is damaged: a tar header has a wrong checksum")
    name = name.partition(b"\0")[0]
    prefix = prefix.partition(b"\0")[0]
    if prefix:
        # GNU's own format has times in these bytes: one reader sees a folder, another does not.
        if magic != _POSIX:
            raise IntegrityError("archive has a tar header that readers understand differently")
        name = prefix + b"/" + name
    return _Header(name, _parse_number(size, 8), kind, target.partition(b"\0")[0])


def _parse_number(field: bytes, base: int) -> int:
    """Parse a number of a header: octal digits, or GNU's big-endian form of large numbers."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0") or b"0"
    # int() alone would take signs and underscores too, which other readers refuse.
    if not digits.isdigit() or len(digits) > _DIGITS or (base == 8 and digits.strip(b"01234567")):
        raise IntegrityError("archive is damaged: a tar header has a bad number", got=repr(field))
    return int(digits, base)


def _parse_pax(data: bytes) -> dict[str, bytes]:
    """Return the fields of a pax header that change how a member is read.

    Each record is ``LENGTH KEY=VALUE`` and a line feed; LENGTH counts all its bytes, in decimal.
    """
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
            fields[key.decode("ascii")] = value[:-1]  # of a key that stands twice the last counts
        elif key.startswith(b"GNU.sparse."):
            raise IntegrityError("archive holds a sparse file, which not all readers can unpack")
        at = end
    return fields


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise IntegrityError("a name in the archive is not UTF-8", got=repr(raw[:200])) from fault
