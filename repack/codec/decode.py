"""Machine JSON to structs by their annotations, and back.

Decoding is strict: ``true`` and ``"1"`` are no numbers; a missing field without a default is an
error, and so is a value outside of a ``Literal``. The error names the field by its path
(``$.base.release``). Fields that a struct does not have are ignored, so that a file of a later
minor version can be read; a struct declared with ``forbid_unknown_fields`` refuses them.

:func:`repack.codec.canonical.loads` comes first: it refuses duplicate keys and bounds depth and
size. What a type cannot express (sums, orders, unique names) the caller checks afterwards.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from repack.codec.canonical import MAX_SIZE
from repack.errors import IntegrityError, RepackError

T = TypeVar("T")
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
"""A number of bytes."""


class Document(msgspec.Struct, frozen=True):
    """A struct that is read from or written to machine JSON.

    Its annotations are evaluated when the first document is decoded, so the module must import what
    they name at run time, not under ``TYPE_CHECKING``.
    """


def decode(
    kind: type[T],
    document: object,
    where: object,
    what: str,
    error_class: type[IntegrityError] = IntegrityError,
) -> T:
    """Convert ``document``, as :func:`json.loads` returned it, to a ``kind``.

    Fields of checked string types (:class:`repack.names.Digest` …) are checked by these types.

    Args:
        kind: a struct, or any type that msgspec understands, such as ``tuple[Finding, ...]``.
        document: dicts, lists, strings, numbers, booleans, None.
        where: the file, for the error.
        what: what the document is, for the error: "report", "delta manifest".
        error_class: of the error.

    Raises:
        IntegrityError: the document does not fit; ``got`` says what and where in it.
    """
    try:
        return msgspec.convert(document, kind, dec_hook=_decode_string)
    except (msgspec.ValidationError, RecursionError) as error:
        raise error_class(f"the {what} is malformed", where=where, got=error) from error


def encode(value: object) -> Any:
    """Convert ``value`` to dicts, lists, tuples, strings, numbers, booleans and None.

    Fields come in the order in which the structs declare them.
    """
    return msgspec.to_builtins(value, enc_hook=_encode_string)


def _decode_string(kind: type, value: object) -> object:
    """Make a value of a checked string type; msgspec adds the path to a ValueError."""
    if not issubclass(kind, str):
        raise NotImplementedError(f"no way to decode {kind}")
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")  # noqa: TRY004 - msgspec wraps it
    try:
        return kind(value)
    except RepackError as error:
        raise ValueError(error.what) from error


def _encode_string(value: object) -> object:
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"no way to encode {type(value)}")
