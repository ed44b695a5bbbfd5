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
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def compose_sums(files: Mapping[str, bytes]) -> bytes:
    """A list as ``sha256sum -c`` reads it, for the signed metadata's folder.

    It is not signed: it lets a plain copy be checked for damage by programs that know no public
    keys. Who changed what on purpose is for the signatures to tell.
    """
    return format_sums({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def format_sums(digests: Mapping[str, str]) -> bytes:
    """A list as ``sha256sum -c`` reads it, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse_sums(data: bytes, where: object) -> dict[str, Digest]:
    """Read what :func:`format_sums` wrote.

    Raises:
        IntegrityError: a line is malformed or stands twice.
    """
    found: dict[str, Digest] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if not _SHA256.fullmatch(digest) or not name or "/" in name or name in found:
            raise IntegrityError("a line is malformed", where=where, got=repr(line)[:120])
        found[name] = Digest(digest)
    return found
