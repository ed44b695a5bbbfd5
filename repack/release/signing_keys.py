"""The keys that sign a release: the label's shared key and its key folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from repack.errors import KeyRefusedError
from repack.fs import atomic
from repack.keys.keyring import KEYS_FILE, Keyring
from repack.keys.keyset import ROLES
from repack.keys.shared_key import MAX_KEY_FILE, parse_key
from repack.label.label import LabelSigning
from repack.trust.sign import UNSIGNED, Signing

if TYPE_CHECKING:
    from repack.keys.keyset import RoleName
    from repack.release.context import BuildContext


def read_signing_keys(context: BuildContext) -> Signing:
    """The keys the label signs with; none for a label without ``signing``.

    A label that names no key folder, or one that is not there, gets development keys in it.

    Raises:
        KeyRefusedError: a key cannot be read or used.
    """
    settings, folder = context.label.signing, Path("keys") / context.label.name
    if settings is None:
        if not (folder / KEYS_FILE).is_file():
            return UNSIGNED
        settings = LabelSigning()
    variables = context.settings.environment
    folder = Path(settings.keys) if settings.keys else folder
    made_before = folder.exists()
    if settings.keys and made_before:
        ring = Keyring.open(folder, variables)
    else:
        ring = Keyring.open_or_create(folder, variables)
        if not made_before:
            context.progress.note(f"made development keys in {folder}; see `repack key`")
    for role, threshold in settings.thresholds.items():
        ring.keyset = ring.keyset.with_threshold(cast("RoleName", role), threshold)
    for name in ROLES:
        _check_role(name, ring, context.label.name)
    text, hmac = settings.hmac or ring.hmac_ref(), None
    if text is not None:
        hmac = parse_key(text, "signing.hmac").resolve(
            variables, lambda path: atomic.read(Path(path), MAX_KEY_FILE), "signing.hmac"
        )
        hmac = replace(hmac, key_id=settings.key_id or hmac.key_id)
        if hmac.warning:
            context.progress.note(hmac.warning)
    return Signing(hmac, ring, settings.expiry, context.settings.date_consent)


def _check_role(role: RoleName, ring: Keyring, label: str) -> None:
    """See that ``role`` has enough keys, here where the command that makes them can be named."""
    try:
        ring.keyset.keys_of(role)
    except KeyRefusedError as error:
        usual = ring.folder == Path("keys") / label
        where = label if usual else f"--keys {shlex.quote(str(ring.folder))}"
        missing = "" if role not in ring.keyset.roles else f" --role {role}"
        raise KeyRefusedError(
            error.what,
            where=ring.folder,
            expected=error.expected,
            got=error.got,
            hint=f"make what is missing: repack key new {where}{missing}",
        ) from None
