"""Release archives of models and strategies, with the standard library alone (Python 3.9 or newer).

For stations that have no network and nothing installed: ``package_offline_release.py`` and
``offline_update.py`` need this one file beside them. The same rules as ``repack bundle`` (archives
have the same bytes, verdicts are the same); tests hold both against the same archives. The format is
described in docs/bundles.md.

Nothing is believed before it is checked: manifest and signature first, then every file is hashed
while it is written, and a name, type or size that the manifest does not list ends the reading. So
nothing unpacks to more than the manifest says.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import ctypes
import errno
import gzip
import hashlib
import hmac
import json
import math
import os
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import time
import unicodedata
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
SECTIONS = ("models", "strategies")
MANIFEST_LIMIT, SIGNATURE_LIMIT = 32 << 20, 64 << 10
STRONG_BYTES = 32
MAX_KEY_FILE = 64 << 10
MAX_PATH = 200
EPOCH = 315532800  # 1980-01-01: the time of every member, the first that zip and FAT can hold
_CHUNK = 1 << 20
_BLOCK = 512
_OVERHEAD = 16 * _BLOCK  # what a member may cost beside its data
_MAX_DEPTH = 64
_SHOWN = 20
_PREFIX = ".repack-"
_PART = f"{_PREFIX}part-"  # what only an installation writes, under its lock
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,127}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z")
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_WORD = re.compile(r"(?:[A-Z]+|[a-z]+)=")
_SOURCES = ("env", "file", "hex", "base64", "text")
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')
# As repack.fs.litter.is_litter.
_LITTER = re.compile(
    r"(?i)\.DS_Store|Thumbs\.db|desktop\.ini|System Volume Information|\.cache|__pycache__|@eaDir"
    r"|\.Spotlight-V100|\.fseventsd|\.Trash-[0-9]+|\.nfs[0-9a-f]{8,32}|.+:Zone\.Identifier"
    r"|\._.*|\.repack-.*",
    re.DOTALL,
)


class Failure(Exception):  # noqa: N818 - a refusal, not a bug
    """Something is wrong: ``kind`` and the exit ``code`` are those of ``repack bundle``."""

    def __init__(self, kind: str, what: str, **fields: object) -> None:
        super().__init__(what)
        self.kind = kind
        self.code = {"usage": 2, "place": 2, "folder": 2, "busy": 8, "space": 9}.get(kind, 6)
        self.what = what
        self.fields = {name: str(value) for name, value in fields.items() if value is not None}

    def text(self) -> str:
        """The message for people."""
        where = f"{self.fields['where']}: " if "where" in self.fields else ""
        lines = [f"  {name}: {value}" for name, value in self.fields.items() if name != "where"]
        return "\n".join([f"{where}{self.what}", *lines])

    def to_json(self) -> dict[str, str]:
        """The document for programs."""
        return {"error": self.kind, "message": self.what, **self.fields}


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Name the path when the system refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Failure("space", "no space left", where=path) from error
        raise Failure("place", (error.strerror or str(error)).lower(), where=path) from error


# --- keys -------------------------------------------------------------------------------------


class Key(NamedTuple):
    """A shared key; ``warnings`` are for whoever gave it."""

    key_id: str | None
    secret: bytes
    warnings: tuple[str, ...]


def read_key(text: str, where: str = "--signing-key") -> Key:
    """The key that ``[KEYID=]VALUE`` names.

    VALUE is ``env:NAME``, ``file:PATH``, ``hex:…``, ``base64:…``, ``text:…``, or bare base64; behind
    a key id a bare value that is no base64 is text.
    """
    key_id, value = _split_key(text.strip(), where)
    source, rest = _key_source(value)
    if not rest:
        raise Failure("key-refused", "the key is empty", where=where)
    if source == "env":
        if rest not in os.environ:
            raise Failure("key-refused", f"variable {rest} is not set", where=where)
        inner, secret, notes = _decode_key(os.environ[rest], f"{where} (env:{rest})")
        key_id = key_id or inner
    elif source == "file":
        with system_errors(Path(rest)), open(rest, "rb") as stream:
            data = stream.read(MAX_KEY_FILE + 1)
        if len(data) > MAX_KEY_FILE:
            raise Failure("key-refused", "the key file is too large", where=rest)
        inner, secret, notes = _decode_key_file(data, where)
        key_id = key_id or inner
    else:
        _, secret, notes = _decode_key(value, where, has_key_id=key_id is not None)
    if not secret:
        raise Failure("key-refused", "the key is empty", where=where)
    if len(secret) < STRONG_BYTES:
        name = f" {key_id!r}" if key_id else ""
        notes += (f"key{name} has only {len(secret)} bytes; take at least {STRONG_BYTES}",)
    return Key(key_id, secret, notes)


def _split_key(text: str, where: str) -> tuple[str | None, str]:
    """Part ``KEYID=VALUE``; base64 padding is no separator."""
    if text.startswith(tuple(f"{source}:" for source in _SOURCES)):
        return None, text
    if _is_base64(text) and not _WORD.fullmatch(text):
        return None, text
    head, separator, value = text.partition("=")
    if not separator:
        return None, text
    if not _KEY_ID.fullmatch(head):
        raise Failure("key-refused", "the key id is odd", where=where)
    return head, value


def _key_source(value: str) -> tuple[str, str]:
    for source in _SOURCES:
        if value.startswith(f"{source}:"):
            return source, value[len(source) + 1 :]
    return "bare", value


def _decode_key(
    text: str, where: str, *, has_key_id: bool = False
) -> tuple[str | None, bytes, tuple[str, ...]]:
    """Key id, secret and warnings of a value that is no pointer to another one."""
    key_id, value = (None, text) if has_key_id else _split_key(text.strip(), where)
    source, rest = _key_source(value)
    if not rest:
        raise Failure("key-refused", "the key is empty", where=where)
    if source in {"env", "file"}:
        raise Failure("key-refused", "a key that points to a key is not followed", where=where)
    if source == "hex":
        try:
            return key_id, binascii.unhexlify(rest), ()
        except ValueError as error:
            raise Failure("key-refused", "the key is not hexadecimal", where=where) from error
    if source in {"base64", "bare"} and _is_base64(rest):
        return key_id, base64.b64decode(rest, validate=True), ()
    keyed = (has_key_id or key_id is not None) and rest.strip("=") != ""
    if source == "base64" or (source == "bare" and not keyed):
        raise Failure("key-refused", "the key is not base64", where=where)
    note = "the key is taken as plain text; write text: before it, or give it as base64:"
    return key_id, rest.encode(), () if source == "text" else (note,)


def _decode_key_file(data: bytes, where: str) -> tuple[str | None, bytes, tuple[str, ...]]:
    """Text in a key's syntax is decoded; 32 or 48 bytes, and all else, are the key itself."""
    says_its_form = re.match(rb"(?:[\w.@-]{1,128}=)?(?:hex|base64|text):", data)
    if len(data) in (32, 48) and not says_its_form:
        return None, data, ()
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        return None, data, ()
    keyed = re.fullmatch(f"(?:{_KEY_ID.pattern})=(.+)", text)
    value = keyed[1] if keyed and not _is_base64(text) else text
    if says_its_form or value.startswith(("hex:", "base64:", "text:")) or _is_base64(value):
        return _decode_key(text, where)
    return None, data, ()


def _is_base64(text: str) -> bool:
    """Whether ``text`` is base64 with padding and without stray bits: one key, one text."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii") == text
    except (binascii.Error, ValueError):
        return False


# --- JSON -------------------------------------------------------------------------------------


def canonical(value: object) -> bytes:
    """The bytes that are signed: keys sorted, no white space, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def strict_json(data: bytes, where: str, limit: int) -> Any:
    """Read JSON that has one meaning: no key twice, no NaN, bounded size and depth."""

    def refuse(what: str) -> NoReturn:
        raise ValueError(what)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table = dict(pairs)
        return table if len(table) == len(pairs) else refuse("a key stands twice")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else refuse("a number is too large")

    if len(data) > limit:
        raise Failure("integrity", "JSON is too large", where=where, expected=f"{limit} bytes")
    plain = re.sub(rb'"[^"\\]*(?:\\.[^"\\]*)*"', b"", data)
    depth = deepest = 0
    for byte in plain:
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise Failure("integrity", "JSON is nested too deeply", where=where, expected=_MAX_DEPTH)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=refuse,
            parse_float=finite,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Failure("integrity", "not strict JSON", where=where, got=str(error)[:200]) from error
    return value


def pretty(value: object) -> bytes:
    """A file for people too."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"


# --- the manifest -----------------------------------------------------------------------------


class Manifest(NamedTuple):
    """What a release holds; ``raw`` is what was read, and what is signed."""

    raw: dict[str, Any]
    sizes: dict[str, int]
    digests: dict[str, str]

    @property
    def version(self) -> str:
        """The version of the release."""
        return str(self.raw["version"])


def make_manifest(version: str, moment: str, files: dict[str, tuple[int, str]]) -> Manifest:
    """The manifest of files: path -> size and SHA-384."""
    rows = [
        {"path": path, "sha384": files[path][1], "size": files[path][0]} for path in sorted(files)
    ]
    raw = {"version": version, "generated_at": moment, "artifacts": rows}
    return parse_manifest(pretty(raw))


def parse_manifest(data: bytes) -> Manifest:
    """Read ``manifest.json`` and check all that leads to a file."""
    raw = strict_json(data, MANIFEST, MANIFEST_LIMIT)
    rows = raw.get("artifacts") if isinstance(raw, dict) else None
    if not isinstance(rows, list):
        raise _bad("no release manifest", expected="artifacts")
    version, moment = raw.get("version"), raw.get("generated_at")
    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    problems: list[str] = []
    for row in rows:
        path, size, digest = _row(row)
        if path in sizes:
            problems.append(f"{path}: is listed twice")
        sizes[path], digests[path] = size, digest
    if not isinstance(version, str) or not _VERSION.match(version):
        raise _bad("no usable version", got=repr(version)[:128])
    if not isinstance(moment, str) or not _TIME.match(moment):
        raise _bad("generated_at is no time", got=repr(moment)[:80])
    if not sizes:
        raise _bad("the release holds no file")
    for section in SECTIONS:
        start = f"{section}/"
        inside = [path[len(start) :] for path in sizes if path.startswith(start)]
        problems += [f"{start}{text}" for text in path_problems(inside)]
    if problems:
        raise _bad("bad paths in the manifest", got=_some(problems))
    return Manifest(raw, sizes, digests)


def _bad(what: str, **fields: object) -> Failure:
    return Failure("integrity", what, where=MANIFEST, **fields)


def _row(row: object) -> tuple[str, int, str]:
    if not isinstance(row, dict):
        raise _bad("an artifact is no object")
    path, size, digest = row.get("path"), row.get("size"), row.get("sha384")
    usable = isinstance(path, str) and "/" in path and path.split("/")[0] in SECTIONS
    if not isinstance(path, str) or not usable or not is_inside(path):
        expected = " or ".join(f"{section}/…" for section in SECTIONS)
        raise _bad("an artifact has no usable path", expected=expected, got=repr(path)[:200])
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _bad(f"{path} has no usable size", got=repr(size)[:40])
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-fA-F]{96}", digest):
        raise _bad(f"{path} has no sha384")
    return path, size, digest.lower()


def is_inside(path: str) -> bool:
    """Whether a path stays in the folder that it is joined to, on every system."""
    parts = path.split("/")
    odd = "\\" in path or "\0" in path or re.match(r"[A-Za-z]:", path) is not None
    return bool(path) and not odd and not any(part in {"", ".", ".."} for part in parts)


def path_problems(paths: list[str]) -> list[str]:
    """Say of every path why it cannot be carried to every system, if so."""
    problems: list[str] = []
    spellings: dict[str, str] = {}
    for path in sorted(paths):
        fault = _path_fault(path) or _twin(path, spellings)
        if fault:
            problems.append(f"{_printable(path)}: {fault}")
    return problems


def _path_fault(path: str) -> str | None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if len(path) > MAX_PATH:
        return f"the path has {len(path)} characters; Windows leaves room for {MAX_PATH}"
    for part in path.split("/"):
        if part.split(".", 1)[0].rstrip().lower() in _RESERVED:
            return "is a reserved name on Windows"
        if part.endswith((".", " ")):
            return "ends in a dot or a space, which Windows drops"
        if _FORBIDDEN.search(part):
            return "holds a character that Windows forbids"
    return None


def _twin(path: str, spellings: dict[str, str]) -> str | None:
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        here = "/".join(parts[:count])
        # macOS also takes composed and decomposed letters for the same.
        twin = spellings.setdefault(unicodedata.normalize("NFC", here).casefold(), here)
        if twin != here:
            return f"differs from {_printable(twin)!r} only by case"
    return None


def _printable(path: str) -> str:
    text = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _some(rows: list[str]) -> str:
    more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "; ".join(rows[:_SHOWN] + more)


def sign(manifest: Manifest, key: Key) -> bytes:
    """``manifest.sig``."""
    mac = hmac.new(key.secret, canonical(manifest.raw), hashlib.sha384).digest()
    value = base64.b64encode(mac).decode("ascii")
    return pretty({"signature": {"algorithm": "hmac-sha384", "value": value, "key_id": key.key_id}})


def check_signature(manifest: Manifest, data: bytes | None, key: Key | None) -> str:
    """Say what the signature proved: ``verified``, ``not checked`` or ``unsigned``."""
    if data is None:
        if key is not None:
            hint = "leave the key out to take it all the same; then nothing shows who made it"
            raise Failure("signature", "the release is not signed", hint=hint)
        return "unsigned"
    document = strict_json(data, SIGNATURE, SIGNATURE_LIMIT)
    inner = document.get("signature") if isinstance(document, dict) else None
    if not isinstance(inner, dict) or inner.get("algorithm") != "hmac-sha384":
        raise Failure("signature", "unknown signature", where=SIGNATURE, expected="hmac-sha384")
    if key is None:
        return "not checked"
    try:
        value = base64.b64decode(str(inner.get("value")), validate=True)
    except ValueError as error:
        raise Failure("signature", "the signature is not base64", where=SIGNATURE) from error
    mac = hmac.new(key.secret, canonical(manifest.raw), hashlib.sha384).digest()
    if not hmac.compare_digest(value, mac):
        what = "the signature does not fit: changed content, or another key"
        raise Failure("signature", what, where=SIGNATURE)
    return "verified"


# --- writing ----------------------------------------------------------------------------------


def prepare(
    version: str, folders: dict[str, Path], archive: Path, key: Key | None, moment: str
) -> tuple[Manifest, list[str]]:
    """Write a release archive; it appears whole or not at all. Returns notes as well."""
    if not _VERSION.match(version):
        raise Failure("usage", "no usable version", expected="such as 2024.10.0", got=version[:128])
    present = {section: path for section, path in folders.items() if path.is_dir()}
    notes = [
        f"no folder {p}: the release has no {s}" for s, p in folders.items() if s not in present
    ]
    if not present:
        got = ", ".join(f"no folder {path}" for path in folders.values())
        raise Failure("usage", "there is nothing to package", got=got or None)
    sources: dict[str, Path] = {}
    problems: list[str] = []
    for section, folder in present.items():
        if folder.resolve() in archive.absolute().resolve().parents:
            raise Failure("usage", "the archive would lie in a folder it packs", where=archive)
        paths: dict[str, Path] = {}
        _walk(folder, "", paths, problems, notes)
        problems += path_problems(list(paths))
        sources.update({f"{section}/{name}": path for name, path in paths.items()})
    if problems:
        raise Failure("folder", "files that cannot be packed", got=_some(problems))
    files = {name: _hash(path) for name, path in sorted(sources.items())}
    manifest = make_manifest(version, moment, files)
    earlier = _packaged_before(manifest, archive)
    if earlier is not None:
        manifest = make_manifest(version, earlier, files)
    with writing(archive) as out:
        sink = gzip.GzipFile("", "wb", 6, out, mtime=0)
        _write_tar(sink.write, manifest, sign(manifest, key) if key else None, sources)
        sink.close()
    return manifest, notes


def _walk(
    folder: Path, prefix: str, paths: dict[str, Path], problems: list[str], notes: list[str]
) -> None:
    """Every plain file below a folder by its path; links and devices are problems."""
    with system_errors(folder):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        name = f"{prefix}{entry.name}"
        if _LITTER.fullmatch(entry.name):
            notes.append(f"left out {_printable(name)}")
        elif entry.is_dir(follow_symlinks=False):
            _walk(Path(entry.path), f"{name}/", paths, problems, notes)
        elif entry.is_file(follow_symlinks=False):
            paths[name] = Path(entry.path)
        else:
            problems.append(f"{_printable(name)}: is no plain file")


def _hash(path: Path) -> tuple[int, str]:
    hasher, size = hashlib.sha384(), 0
    with system_errors(path), path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return size, hasher.hexdigest()


def _packaged_before(manifest: Manifest, archive: Path) -> str | None:
    """The time of an archive of the same content and version in the same folder."""
    same = {**manifest.raw, "generated_at": None}
    with contextlib.suppress(OSError):
        for other in sorted(archive.parent.iterdir()):
            if other.name.endswith(".tar.gz") and other.is_file():
                with contextlib.suppress(Failure):
                    earlier = peek(other)
                    if {**earlier.raw, "generated_at": None} == same:
                        return str(earlier.raw["generated_at"])
    return None


def _write_tar(
    out: Callable[[bytes], object],
    manifest: Manifest,
    signature: bytes | None,
    sources: dict[str, Path],
) -> None:
    """POSIX pax, the way every release archive is written: fixed time, owner and mode."""
    written = 0

    def put(data: bytes) -> None:
        nonlocal written
        out(data)
        written += len(data)

    def header(name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, EPOCH, 0o644
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")

    texts = [(MANIFEST, pretty(manifest.raw))]
    if signature is not None:
        texts.append((SIGNATURE, signature))
    for name, data in texts:
        put(header(name, len(data)) + data + bytes(-len(data) % _BLOCK))
    for name in sorted(manifest.sizes):
        size, path, hasher = manifest.sizes[name], sources[name], hashlib.sha384()
        put(header(name, size))
        with system_errors(path), path.open("rb") as stream:
            left = size
            while chunk := stream.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                hasher.update(chunk)
                put(chunk)
        if left or hasher.hexdigest() != manifest.digests[name]:
            raise Failure("integrity", "the file changed while it was packed", where=path)
        put(bytes(-size % _BLOCK))
    put(bytes(2 * _BLOCK))
    put(bytes(-written % tarfile.RECORDSIZE))


@contextlib.contextmanager
def writing(path: Path, mode: int = 0o644, prefix: str = _PREFIX) -> Iterator[IO[bytes]]:
    """A file that takes its place when the block ends well: beside it, flushed, renamed."""
    with system_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix, dir=str(path.parent))
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, mode)
            os.replace(name, path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def write(path: Path, data: bytes, prefix: str = _PREFIX) -> None:
    """Write a small file, all or nothing."""
    with writing(path, prefix=prefix) as stream:
        stream.write(data)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system can."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# --- reading ----------------------------------------------------------------------------------


class _Stream:
    """A decompressed archive, read forwards, with a limit that may be raised on the way."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.limit = limit
        self.seen = 0
        self._stream = stream
        self._machine = zlib.decompressobj(31)  # 31: with a gzip header
        self._buffer = b""

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        data = self.read(count)
        if len(data) < count:
            raise Failure("integrity", "the archive is cut off")
        return data

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; fewer only at the end."""
        parts: list[bytes] = []
        while count:
            if not self._buffer:
                self._buffer = self._more()
                if not self._buffer:
                    break
            parts.append(self._buffer[:count])
            self._buffer = self._buffer[count:]
            count -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        machine = self._machine
        chunk = b""
        while not chunk and not machine.eof:
            data = machine.unconsumed_tail or self._stream.read(256 << 10)
            if not data:
                raise Failure("integrity", "the archive is cut off")
            try:
                chunk = machine.decompress(data, _CHUNK)
            except zlib.error as error:
                what = "the archive is damaged, or no gzip file"
                raise Failure("integrity", what, got=error) from error
        self.seen += len(chunk)
        if self.seen > self.limit:
            raise Failure("integrity", "archive unpacks to more than its list of files says")
        if not chunk and (machine.unused_data or self._stream.read(1)):
            raise Failure("integrity", "data is hidden behind the end of the archive")
        return chunk


class _Member(NamedTuple):
    name: str
    kind: bytes
    size: int


def _members(stream: _Stream) -> Iterator[_Member]:
    """The members of a tar; whatever readers understand differently is refused.

    Whoever iterates takes the data of each member, padding included.
    """
    name: bytes | None = None
    length: int | None = None
    extended = False
    while True:
        block = stream.read(_BLOCK)
        if not block.strip(b"\0"):
            break
        if len(block) < _BLOCK:
            raise Failure("integrity", "archive is cut off")
        size, kind = _checked_header(block)
        if kind in (b"x", b"g", b"L"):
            if size > 1 << 20:
                raise Failure("integrity", "a file in the archive is too large")
            data = stream.take(size + -size % _BLOCK)[:size]
            fields = {"path": data.rstrip(b"\0")} if kind == b"L" else _pax(data)
            if kind == b"g" and fields:
                raise Failure("integrity", "archive renames its files by a global header")
            name = fields.get("path", name)
            length = _number(fields["size"], 10) if "size" in fields else length
            extended = kind != b"g" or extended
            continue
        if kind not in (b"0", b"\0", b"7", b"5"):
            words = {b"1": "hardlink", b"2": "symlink"}
            what = words.get(kind, f"member of type {kind!r}")
            raise Failure("integrity", f"the archive holds a {what}", expected="plain files")
        size = size if length is None else length
        if size and kind == b"5":
            raise Failure("integrity", "a folder in the archive has data")
        text = _decoded(_name_of(block) if name is None else name)
        name, length, extended = None, None, False
        yield _Member(text.rstrip("/") if kind == b"5" else text, kind, size)
    if extended:
        raise Failure("integrity", "archive ends after an extension header")
    while chunk := stream.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise Failure("integrity", "data is hidden behind the end of the archive")


def _checked_header(block: bytes) -> tuple[int, bytes]:
    total = sum(block[:148]) + sum(block[156:]) + 8 * 0x20
    if _number(block[148:156], 8) != total:
        what = "archive is damaged: a tar header has a wrong checksum"
        raise Failure("integrity", what)
    return _number(block[124:136], 8), block[156:157]


def _name_of(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    if prefix:
        if block[257:263] != b"ustar\0":
            what = "archive has a tar header that readers understand differently"
            raise Failure("integrity", what)
        name = prefix + b"/" + name
    return name


def _number(field: bytes, base: int) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    try:
        if not digits.isdigit():
            raise ValueError(digits)  # noqa: TRY301 - int() would take signs and underscores
        return int(digits, base)
    except ValueError as error:
        what = "archive is damaged: a tar header has a bad number"
        raise Failure("integrity", what, got=repr(field)) from error


def _pax(data: bytes) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        length, space, _ = data[at : at + 20].partition(b" ")
        end = at + (int(length) if length.isdigit() else 0)
        key, equals, value = data[at + len(length) + 1 : end].partition(b"=")
        if not (space and equals and value.endswith(b"\n") and end <= len(data)):
            raise Failure("integrity", "archive is damaged: bad pax header")
        if key in (b"path", b"size"):
            fields[key.decode("ascii")] = value[:-1]
        elif key.startswith(b"GNU.sparse.") or key == b"linkpath":
            raise Failure("integrity", "archive holds what not all readers can unpack")
        at = end
    return fields


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        what = "a name in the archive is not UTF-8"
        raise Failure("integrity", what, got=repr(raw[:200])) from error
    if not is_inside(text.rstrip("/") or "/"):
        raise Failure("integrity", "path leads out of its folder", got=repr(text[:200]))
    return text


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    """Open an archive, and name it in what is wrong with it."""
    limit = MANIFEST_LIMIT + SIGNATURE_LIMIT + 64 * _OVERHEAD
    try:
        with system_errors(path), path.open("rb") as stream:
            yield _Stream(stream, limit)
    except Failure as failure:
        inner = failure.fields.get("where", "")
        if "/" not in inner and failure.kind not in {"place", "space"}:
            failure.fields["where"] = f"{path}: {inner}" if inner else str(path)
        raise


def peek(path: Path) -> Manifest:
    """Read the manifest of an archive, and nothing else of it."""
    with _opened(path) as stream:
        for member in _members(stream):
            if member.name == MANIFEST and member.size <= MANIFEST_LIMIT and member.kind != b"5":
                return parse_manifest(stream.take(member.size))
            break
        expected = f"{MANIFEST} as the first file"
        raise Failure("integrity", "no release archive", expected=expected)


class Read(NamedTuple):
    """A release that was read to its end and found whole."""

    manifest: Manifest
    signature: str


def read_archive(
    path: Path, key: Key | None = None, put: Callable[[str], IO[bytes]] | None = None
) -> Read:
    """Read a release archive from beginning to end.

    Args:
        key: the release must be signed with it.
        put: opens the place for one file, once its name and size are known to be right.
    """
    manifest: Manifest | None = None
    signature: bytes | None = None
    proved: str | None = None
    due: dict[str, int] = {}
    with _opened(path) as stream:
        for member in _members(stream):
            if member.kind == b"5":
                if member.name.split("/")[0] not in SECTIONS:
                    what = "the archive holds a folder that does not belong"
                    raise Failure("integrity", what, got=member.name)
                continue
            padding = -member.size % _BLOCK
            if manifest is None:
                if member.name != MANIFEST or member.size > MANIFEST_LIMIT:
                    expected = f"{MANIFEST} as the first file"
                    raise Failure("integrity", "no release archive", expected=expected)
                manifest = parse_manifest(stream.take(member.size))
                due = dict(manifest.sizes)
            elif member.name == SIGNATURE and signature is None and proved is None:
                if member.size > SIGNATURE_LIMIT:
                    raise Failure("integrity", "a file in the archive is too large")
                signature = stream.take(member.size)
            else:
                if proved is None:
                    proved = check_signature(manifest, signature, key)
                    stream.limit = stream.seen + _budget(manifest)
                _take_file(stream, member, manifest, due, put)
            stream.take(padding)
        if manifest is None:
            expected = f"{MANIFEST} as the first file"
            raise Failure("integrity", "no release archive", expected=expected)
        if proved is None:
            proved = check_signature(manifest, signature, key)
        if due:
            what = "files that the manifest lists are missing"
            raise Failure("integrity", what, got=_some(sorted(due)))
    return Read(manifest, proved)


def _budget(manifest: Manifest) -> int:
    return 84 * _OVERHEAD + sum(size + _OVERHEAD for size in manifest.sizes.values())


def _take_file(
    stream: _Stream,
    member: _Member,
    manifest: Manifest,
    due: dict[str, int],
    put: Callable[[str], IO[bytes]] | None,
) -> None:
    name = member.name
    expected = due.pop(name, None)
    if expected is None:
        fault = "twice" if name in manifest.sizes else "that its manifest does not list"
        raise Failure("integrity", f"the archive holds a file {fault}", got=name[:200])
    if member.size != expected:
        what = f"{name} has the wrong size"
        raise Failure("integrity", what, expected=expected, got=member.size)
    hasher, left = hashlib.sha384(), member.size
    out = put(name) if put else None
    try:
        while left:
            chunk = stream.take(min(_CHUNK, left))
            left -= len(chunk)
            hasher.update(chunk)
            if out is not None:
                out.write(chunk)
    finally:
        if out is not None:
            out.close()
    if hasher.hexdigest() != manifest.digests[name]:
        what = f"{name} has the wrong sha384"
        raise Failure("integrity", what, expected=manifest.digests[name], got=hasher.hexdigest())


# --- installing -------------------------------------------------------------------------------

JOURNAL = f"{_PREFIX}release.json"


def install(
    archive: Path, folders: dict[str, Path], backups: Path, key: Key | None
) -> dict[str, Any]:
    """Verify a release whole, then put it in place of the folders that are there.

    The new folders are built beside the old ones, and the backups are complete, before a journal
    says that they are going to be exchanged. A run that was killed before that has changed nothing;
    one that was killed after it is finished by the next run. Where the system can exchange two
    folders in one step, a reader sees the old one or the new one at any instant.
    """
    began = time.monotonic()
    read = read_archive(archive, key)
    manifest = read.manifest
    sections = sorted({path.split("/")[0] for path in manifest.sizes})
    missing = [f"--{section}-dir" for section in sections if section not in folders]
    if missing:
        raise Failure("usage", "the release has more", expected=", ".join(missing))
    targets = {section: folders[section].absolute().resolve() for section in sections}
    backups = backups.absolute().resolve()
    _check_apart([*targets.values()], backups)
    with contextlib.ExitStack() as held:
        for folder in sorted({backups, *(target.parent for target in targets.values())}):
            with system_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder))
        recover(backups)
        _sweep(targets, backups)
        try:
            removed = _fill(archive, manifest, targets)
            made = _back_up(targets, backups)
            moves = [[str(_new(path)), str(path), _inode(_new(path))] for path in targets.values()]
            moves = [[str(p), str(b), _inode(p)] for p, b in made.values()] + moves
            document = {"moves": moves, "path": str(backups / JOURNAL)}
            write(backups / JOURNAL, json.dumps(document).encode(), _PART)
        except BaseException:
            _sweep(targets, backups)
            raise
        recover(backups)
        _sweep(targets, backups)
    return {
        "version": manifest.version,
        "signature": read.signature,
        "installed": sorted(manifest.sizes),
        "backups": [{"name": name, "path": str(path)} for name, (_, path) in made.items()],
        "removed": removed,
        "seconds": round(time.monotonic() - began, 3),
    }


def _check_apart(targets: list[Path], backups: Path) -> None:
    for target in targets:
        for other in [*(t for t in targets if t is not target), backups]:
            if other == target or target in other.parents:
                hint = "take folders side by side"
                raise Failure("usage", f"{other} lies in {target}", hint=hint)
        if target.exists() and not target.is_dir():
            raise Failure("place", "is no folder", where=target)
        if os.path.ismount(target):
            what = "is a mount point and cannot be exchanged"
            raise Failure("place", what, where=target, hint="take a folder in it")


def _new(target: Path) -> Path:
    return target.with_name(f"{_PREFIX}new-{target.name}")


def _aside(target: Path) -> Path:
    return target.with_name(f"{_PREFIX}old-{target.name}")


def _fill(archive: Path, manifest: Manifest, targets: dict[str, Path]) -> list[str]:
    """Fill the new folders; returns the paths that go. Everything is verified once more."""
    for target in targets.values():
        with system_errors(target):
            _new(target).mkdir()

    def put(name: str) -> IO[bytes]:
        section, _, inside = name.partition("/")
        path = _new(targets[section]) / inside
        with system_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")

    if read_archive(archive, None, put).manifest != manifest:
        raise Failure("integrity", "the release changed while it was installed", where=archive)
    gone: list[str] = []
    for section, target in targets.items():
        for path in [_new(target), *_below(_new(target))]:
            with system_errors(path):
                # Whatever the umask: whoever runs the strategies reads them.
                path.chmod(0o755 if path.is_dir() else 0o644)
                handle = os.open(path, os.O_RDONLY)
                try:
                    if sys.platform != "win32":
                        os.fsync(handle)
                finally:
                    os.close(handle)
        if target.is_dir():
            with system_errors(target):
                shutil.copymode(target, _new(target))
            names = (f"{section}/{p.relative_to(target).as_posix()}" for p in _below(target, False))
            gone += [name for name in names if name not in manifest.sizes]
    return sorted(gone)


def _below(folder: Path, folders: bool = True) -> list[Path]:  # noqa: FBT001, FBT002
    """Everything below a folder, links not followed; a folder that cannot be read is an error."""
    paths: list[Path] = []
    with system_errors(folder):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        path = Path(entry.path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if folders or not is_folder:
            paths.append(path)
        if is_folder:
            paths += _below(path, folders)
    return paths


def _back_up(targets: dict[str, Path], backups: Path) -> dict[str, tuple[Path, Path]]:
    """Copies of the folders that will go, under names that say they are not complete yet."""
    made: dict[str, tuple[Path, Path]] = {}
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment()))
    for section, target in targets.items():
        if not target.is_dir():
            continue
        backup, number = backups / f"{section}-{stamp}", 1
        while os.path.lexists(backup):
            number += 1
            backup = backups / f"{section}-{stamp}-{number}"
        part = backup.with_name(_PART + backup.name)
        with system_errors(part):
            for path in _below(target):
                mode = path.lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                    what = "is no plain file and cannot be backed up"
                    raise Failure("place", what, where=path)
            shutil.copytree(target, part, symlinks=True, copy_function=_link_or_copy)
        made[section] = (part, backup)
    return made


def _link_or_copy(source: str, target: str) -> str:
    """A hard link where the system has them: a backup then costs no space."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def recover(backups: Path) -> None:
    """Finish the exchange that a journal tells of, if there is one."""
    journal = backups / JOURNAL
    if not os.path.lexists(journal):
        return
    with system_errors(journal):
        status = journal.lstat()
        if not _is_own(status) or status.st_size > 1 << 20:
            raise Failure("place", "the journal is none of ours", where=journal)
        document = strict_json(journal.read_bytes(), str(journal), 1 << 20)
        if document["path"] != str(journal):
            raise Failure("place", "the journal was not made here", where=journal)
        moves = document["moves"]
    for source, target, inode in moves:
        _move(Path(source), Path(target), inode)
    with system_errors(journal):
        for folder in {Path(path).parent for move in moves for path in move[:2]}:
            sync_folder(folder)
        for source, target, _ in moves:
            for path in (Path(source), _aside(Path(target))):
                if path.is_dir() and not path.is_symlink() and path.name.startswith(_PREFIX):
                    shutil.rmtree(path)
        journal.unlink()


def _move(source: Path, target: Path, inode: int) -> None:
    """Let the folder with this inode be at ``target``; what was there is then at ``source``."""
    with system_errors(target):
        if _inode(target) == inode or _inode(source) != inode:
            return
        if not os.path.lexists(target):
            os.rename(source, target)
        elif not _exchange(source, target):
            os.rename(target, _aside(target))
            os.rename(source, target)


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return 0


def _exchange(one: Path, other: Path) -> bool:
    """``renameat2(2)`` with ``RENAME_EXCHANGE``; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _sweep(targets: dict[str, Path], backups: Path) -> None:
    """Remove what a run left that was killed before it wrote its journal."""
    if os.path.lexists(backups / JOURNAL):
        return
    left = [_new(target) for target in targets.values()]
    with system_errors(backups):
        left += [p for p in backups.iterdir() if p.name.startswith(_PART)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(_PART):
            with contextlib.suppress(OSError):
                path.unlink()  # half a journal


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other installations; the system frees it if the process dies.

    By a file that its owner alone can open: whoever may read a folder could lock the folder itself.
    The file goes when the run ends.
    """
    path = folder / f"{_PREFIX}lock"
    handle = _open_lock(path)
    try:
        _lock(handle, path)
        try:
            yield
        finally:
            if sys.platform != "win32":
                with contextlib.suppress(OSError):
                    path.unlink()
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held it may just have removed it, and others hold the next one.
            is_ours = os.path.samestat(os.fstat(handle), path.lstat())
    except OSError as error:
        raise Failure("busy", "an installation is already running", where=path) from error
    if sys.platform != "win32" and not is_ours:
        raise Failure("busy", "an installation is already running", where=path)


def _open_lock(path: Path) -> int:
    """Open a lock file of ours; one that is somebody else's is removed where that can be."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with system_errors(path):
        handle = os.open(path, flags, 0o600)
        if sys.platform == "win32" or _is_own(os.fstat(handle)):
            return handle
        os.close(handle)
        path.unlink()
        return os.open(path, flags | os.O_EXCL, 0o600)


def _is_own(status: os.stat_result) -> bool:
    return sys.platform == "win32" or (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & 0o022
    )


def moment() -> float:
    """Now, or ``SOURCE_DATE_EPOCH``; seconds since 1970."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return time.time()
    if not text.isascii() or not text.isdigit():
        raise Failure("usage", "SOURCE_DATE_EPOCH is no number of seconds", got=text[:80])
    return float(text)


def stamp_of(seconds: float) -> str:
    """As manifests write a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# --- the commands -----------------------------------------------------------------------------

AUDIT = Path("var/audit/offline_updates")
DEFAULTS = {
    "models_dir": Path("data/models"),
    "strategies_dir": Path("data/strategies"),
    "backup_dir": Path("var/offline_updates/backups"),
}


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong with the command line, so that it comes out as JSON too."""

    def error(self, message: str) -> NoReturn:
        raise Failure("usage", message, hint=f"see {self.prog} --help")


def _add_folders(parser: argparse.ArgumentParser) -> None:
    for section in SECTIONS:
        name = f"--{section}-dir"
        text = f"folder of the {section} (default: {DEFAULTS[f'{section}_dir']})"
        parser.add_argument(name, type=Path, default=DEFAULTS[f"{section}_dir"], help=text)


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", required=True, help="version of the release")
    parser.add_argument("--output", type=Path, required=True, help="the archive, a .tar.gz")
    _add_folders(parser)
    parser.add_argument("--signing-key", "--key", help="key to sign with: [KEYID=]VALUE")
    text = f"where the manifest is kept (default: {AUDIT}/VERSION.manifest.json)"
    parser.add_argument("--manifest-output", type=Path, help=text)
    parser.set_defaults(run=_prepare)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--archive", "--source", type=Path, required=True, help="the archive")
    parser.add_argument("--signing-key", "--key", help="key to check with: [KEYID=]VALUE")
    parser.add_argument("--require-signature", action="store_true", help="refuse unsigned ones")


def parser_for(program: str) -> argparse.ArgumentParser:
    """The command line of ``package_offline_release.py`` or of ``offline_update.py``."""
    description = "Models and strategies as one archive, verified and installed as a whole."
    parser = _Parser(prog=program, description=description)
    if program.startswith("package"):
        _add_prepare(parser)
        return parser
    commands = parser.add_subparsers(dest="command", required=True)
    _add_prepare(commands.add_parser("prepare-release", help="package folders as an archive"))
    verify = commands.add_parser("verify-release", help="check an archive, print its manifest")
    _add_source(verify)
    verify.set_defaults(run=_verify)
    installing = commands.add_parser("install-release", help="put a release in place")
    _add_source(installing)
    _add_folders(installing)
    text = f"gets the folders that are replaced (default: {DEFAULTS['backup_dir']})"
    backups = DEFAULTS["backup_dir"]
    installing.add_argument("--backup-dir", type=Path, default=backups, help=text)
    text = f"where the report is kept (default: {AUDIT}/VERSION-TIME.report.json)"
    installing.add_argument("--report", type=Path, help=text)
    installing.set_defaults(run=_install)
    return parser


def _key(options: argparse.Namespace) -> Key | None:
    if options.signing_key is None:
        if getattr(options, "require_signature", False):
            what = "a signature is required, but no key was given to check it"
            raise Failure("usage", what, hint="give --signing-key")
        return None
    key = read_key(options.signing_key)
    for note in key.warnings:
        _warn(note)
    return key


def _folders(options: argparse.Namespace) -> dict[str, Path]:
    return {section: getattr(options, f"{section}_dir") for section in SECTIONS}


def _keep(path: Path, data: bytes) -> None:
    """Write a report; what killed runs left half-written beside it goes after an hour."""
    write(path, data)
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            if other.name.startswith(_PREFIX) and other.stat().st_mtime < time.time() - 3600:
                other.unlink()


def _prepare(options: argparse.Namespace) -> object:
    key = _key(options)
    stamp = stamp_of(moment())
    manifest, notes = prepare(options.version, _folders(options), options.output, key, stamp)
    for note in notes:
        _warn(note)
    _keep(
        options.manifest_output or AUDIT / f"{manifest.version}.manifest.json", pretty(manifest.raw)
    )
    return {
        "archive": str(options.output),
        "manifest": manifest.raw,
        "signed": key is not None,
        "artifacts": len(manifest.sizes),
    }


def _verify(options: argparse.Namespace) -> object:
    read = read_archive(options.archive, _key(options))
    _warn_of(read.signature)
    return read.manifest.raw


def _install(options: argparse.Namespace) -> object:
    report = install(options.archive, _folders(options), options.backup_dir, _key(options))
    _warn_of(report["signature"])
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment()))
    kept = AUDIT / f"{report['version']}-{stamp}.report.json"
    _keep(options.report or kept, json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
    return report


def _warn_of(signature: str) -> None:
    if signature != "verified":
        state = "is not signed" if signature == "unsigned" else "is signed, but no key was given"
        _warn(f"the release {state}: nothing shows who made it")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def main(program: str, arguments: list[str]) -> int:
    """Run a command line: one JSON document on standard output, words on standard error."""
    try:
        options = parser_for(program).parse_args(arguments)
        print(json.dumps(options.run(options), indent=1, ensure_ascii=False))
    except Failure as failure:
        print(json.dumps(failure.to_json(), indent=1, ensure_ascii=False))
        print(f"error: {failure.text()}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("interrupted; the next run finishes or undoes what was begun", file=sys.stderr)
        return 130
    return 0
