"""Shared keys as the command line names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from repack.cli.shared import options, output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.keys.shared_key import SharedKey

LICENSE_KEY: Final = "OEM_LICENSE_HMAC_KEY"


def resolve(text: str | None, where: str) -> SharedKey | None:
    """The key that ``text`` names; a short one is warned about on stderr.

    Raises:
        KeyRefusedError: it is unset, empty or badly encoded.
        PlaceError: its file cannot be read.
    """
    from repack.fs import atomic
    from repack.keys.shared_key import MAX_KEY_FILE, parse_key

    if text is None:
        return None
    key = parse_key(text, where).resolve(
        options.environment(), lambda path: atomic.read(Path(path), MAX_KEY_FILE), where
    )
    if key.warning:
        output.echo(f"warning: {key.warning}", err=True)
    return key


def vendor(text: str | None) -> SharedKey | None:
    """The vendor's licence key: the one named, else the one in the usual variable, if set."""
    if text is None and LICENSE_KEY in options.environment():
        text = f"env:{LICENSE_KEY}"
    return resolve(text, "--hmac-key")


def label_key(name: str, values: Mapping[str, Any]) -> SharedKey | None:
    """The shared key that label ``name`` signs with.

    Args:
        values: the command's options, with the folders.

    Raises:
        LabelError: the label has mistakes.
        KeyRefusedError: its key is unset, empty or badly encoded.
    """
    from repack.release.context import BuildContext
    from repack.release.signing_keys import read_signing_keys

    settings, progress = options.settings(values), output.progress()
    context = BuildContext.open(name, settings, progress, needs_bundles=False)
    return read_signing_keys(context).hmac
