"""Guard: what must not be in a finished channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Shorter words occur by chance; a secret that short protects nothing anyway.
_SHORTEST: Final = 4


def search_secrets(
    texts: Mapping[str, bytes], names: Iterable[str], secrets: Iterable[str]
) -> None:
    """Search every metadata file and every file name for every secret the build used.

    Raises:
        IntegrityError: one is found. The message names the file, never the secret.
    """
    wanted = [secret.encode() for secret in secrets if len(secret) >= _SHORTEST]
    places = [*texts.items(), *((name, name.encode()) for name in names)]
    for path, data in places:
        if any(secret in data for secret in wanted):
            raise IntegrityError(
                "a secret that the build used stands in this file; nothing was published",
                where=path,
                hint="look where the label, a record or a package name holds a token",
            )
