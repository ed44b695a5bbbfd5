"""The keys with which ``repack notarize`` and ``repack medium --oem`` check notarisations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repack.cli.shared import options
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.keys.keyring import Keyring
    from repack.provenance.statement import PublicHalf


def open_ring(channel: Path | None, keys: Path | None) -> Keyring:
    """The key ring in the folder ``keys``, else that of the label whose channel it is.

    None is made: a check with keys made for it would check nothing, and a notarisation writes its
    folder only.

    Raises:
        UsageError: neither is given.
        KeyRefusedError: there is no key set.
    """
    from repack.channel.layout import MANIFEST
    from repack.channel.manifest import MAX_BYTES, parse
    from repack.fs import atomic
    from repack.keys.keyring import Keyring
    from repack.names import LabelName

    variables = options.environment()
    if keys is not None:
        return Keyring.open(keys, variables)
    if channel is None:
        raise UsageError("which keys?", hint="give --keys or --public-key, or the channel")
    path = channel / MANIFEST
    folder = Path("keys") / LabelName(parse(atomic.read(path, MAX_BYTES), path).id)
    return Keyring.open(folder, variables)


def signing_keys(ring: Keyring) -> list[PublicHalf]:
    """All keys that ever signed builds; a retired one still vouches for what it signed."""
    from repack.provenance.statement import PublicHalf

    keys = ring.keyset.keys.values()
    return [PublicHalf.from_dict(key.keyid, key.to_tuf()) for key in keys if key.role == "ci"]


def keys_from_pem(paths: Sequence[Path]) -> list[PublicHalf]:
    """The public keys in PEM files.

    Raises:
        KeyRefusedError: a file holds none.
        PlaceError: a file cannot be read.
    """
    from repack.fs import atomic
    from repack.keys import private_key
    from repack.keys.shared_key import MAX_KEY_FILE
    from repack.provenance.statement import PublicHalf

    keys = [private_key.adopt("ci", atomic.read(path, MAX_KEY_FILE), None) for path in paths]
    return [PublicHalf.from_dict(key.keyid, key.to_tuf()) for key in keys]
