"""Recalled releases: signed once as not to be used any more, for good.

A recall stands in the signed part of *targets*, whose keys a build does not need, as a field of ours
(TUF specification 4.1, "unrecognized fields"; other clients pass it over)::

    "x-repack-recalled": [{"release": 11, "why": "CVE-2026-1234"}]

It cannot be taken back: :class:`~repack.trust.editor.MetadataEditor` only adds to it, a ceremony that
comes back without one is refused, and targets remember every recall that they have seen signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta

from repack.codec.decode import Document, decode
from repack.errors import IntegrityError, MetadataInvalidError, RecalledError, UsageError

RECALLED: Final = "x-repack-recalled"
_MAX_REASON: Final = 300

Recalls = Mapping[int, str]
"""Number of a recalled release -> why."""


class Recall(Document, frozen=True):
    """A recalled release, as it stands in metadata, in a target's state and in ``--json``."""

    release: Annotated[int, Meta(ge=1)]
    why: Annotated[str, Meta(min_length=1, max_length=_MAX_REASON)]


def recall_rows(recalls: Recalls) -> list[dict[str, object]]:
    """The recalls as JSON, by number."""
    return [{"release": number, "why": why} for number, why in sorted(recalls.items())]


def parse_recalls(rows: object, where: object) -> dict[int, str]:
    """Read recalls.

    Raises:
        MetadataInvalidError: they are malformed, or a release is recalled twice.
    """
    try:
        recalls = decode(tuple[Recall, ...], rows, where, "list of recalled releases")
    except IntegrityError as error:
        raise MetadataInvalidError(error.what, where=where, got=error.got) from error
    by_number = {recall.release: recall.why for recall in recalls}
    if len(by_number) < len(recalls) or not all(why.isprintable() for why in by_number.values()):
        raise MetadataInvalidError("the list of recalled releases is malformed", where=where)
    return by_number


def check_reason(why: str) -> str:
    """The reason of a recall, as it will be signed and shown on targets.

    Raises:
        UsageError: it is empty, too long, or cannot be shown in a line.
    """
    reason = why.strip()
    if not reason or len(reason) > _MAX_REASON or not reason.isprintable():
        raise UsageError(
            "this is no reason for a recall",
            where="--why",
            expected=f"one line of at most {_MAX_REASON} characters, such as CVE-2026-1234",
            got=f"{len(reason)} characters" if len(reason) > _MAX_REASON else repr(why),
        )
    return reason


def describe_recalls(recalls: Recalls, numbers: Sequence[int]) -> str:
    """``release 11 was recalled: CVE-2026-1234``, of each of ``numbers``."""
    return "; ".join(f"release {number} was recalled: {recalls[number]}" for number in numbers)


def recalled_error(recalls: Recalls, numbers: Sequence[int], hint: str) -> RecalledError:
    """The refusal of ``numbers``, all of which are recalled."""
    return RecalledError(describe_recalls(recalls, numbers), hint=hint)
