"""Guard: what must not be in a finished channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.errors import IntegrityError, ProofError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.model.label import Label
    from repack.model.names import RelPath
    from repack.model.shipment import Shipment

# Shorter words occur by chance; a secret that short protects nothing anyway.
_SHORTEST: Final = 4


def search_secrets(
    texts: Mapping[RelPath, bytes], names: Iterable[str], secrets: Iterable[str]
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


def judge(shipment: Shipment, label: Label) -> tuple[str, ...]:
    """What a release engineer should know of the packages, a line each.

    Raises:
        ProofError: there is something, and the label is ``strict``.
    """
    found = []
    for path, item in shipment.items.items():
        for script in item.facts.scripts:
            urls = f", which names {', '.join(script.urls)}" if script.urls else ""
            found.append(f"{path}: runs {script.path} at {script.when}{urls}")
        if item.record.subdir.startswith("win-"):
            found += [f"{path}: Windows cannot hold {name}" for name in item.facts.windows_faults]
    if found and label.strict:
        raise ProofError(
            f"the label is strict and {len(found)} packages give cause for concern",
            got="".join(f"\n    {line}" for line in found[:20]),
            hint="take other builds of these packages, or drop `strict` from the label",
        )
    return tuple(found)
