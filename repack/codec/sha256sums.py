"""``SHA256SUMS`` as ``sha256sum`` writes and checks it: digest, two spaces, path."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from repack.errors import IntegrityError
from repack.names import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMS: Final = "SHA256SUMS"
# A hundred thousand files; a channel of labels has a hundred.
MAX_SUMS: Final = 16 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def compose_sums(files: Mapping[str, bytes]) -> bytes:
    """Compose a list that ``sha256sum -c`` reads, for the folder of the signed metadata.

    It is not signed: it shows damage of a copy to programs that know no public keys. Only the
    signatures show changes made on purpose.
    """
    return format_sums({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def format_sums(digests: Mapping[str, str]) -> bytes:
    """A list as ``sha256sum -c`` reads it, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse_sums(data: bytes, where: object, *, has_folders: bool = False) -> dict[str, Digest]:
    """Read a list as :func:`format_sums` writes it, by file name.

    Args:
        has_folders: whether it is for files in folders below, too.

    Raises:
        IntegrityError: a line is malformed, or a file is listed twice.
    """
    digest_by_name: dict[str, Digest] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if not _SHA256.fullmatch(digest) or not name or name in digest_by_name:
            raise IntegrityError("a line is malformed", where=where, got=repr(line)[:120])
        if "/" in name and not has_folders:
            raise IntegrityError("a line is malformed", where=where, got=repr(line)[:120])
        digest_by_name[name] = Digest(digest)
    return digest_by_name
