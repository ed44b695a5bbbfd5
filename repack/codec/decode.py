"""Machine JSON to structs by their annotations, and back.

Decoding is strict: ``true`` is no number, ``"1"`` neither, a missing field without a default is an
error, and so is a value outside of a ``Literal``. The error names the field by its path
(``$.base.release``). Fields that a struct does not have are ignored, so that a file of a later
minor version can be read. Duplicate keys, depth and size are the business of
:func:`repack.codec.canonical.loads`, which comes first; what a type cannot say (sums, orders, unique
names) is checked by whoever asks, afterwards.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from repack.errors import IntegrityError, RepackError

T = TypeVar("T")


class Document(msgspec.Struct, frozen=True):
    """A struct that is read from or written to machine JSON.

    Its annotations are evaluated when the first document is decoded, so what they name is imported
    at run time and not for type checkers alone.
    """


def decode(kind: type[T], document: object, where: object, what: str) -> T:
    """``document``, as :func:`json.loads` gave it, as a ``kind``.

    Strings in checked types (:class:`repack.names.Digest` …) are checked by these types.

    Args:
        kind: a struct, or any type that msgspec understands, such as ``tuple[Finding, ...]``.
        document: dicts, lists, strings, numbers, booleans, None.
        where: the file, for the error.
        what: what the document is, for the error: "report", "delta manifest".

    Raises:
        IntegrityError: the document does not fit; ``got`` says what and where in it.
    """
    try:
        return msgspec.convert(document, kind, dec_hook=_checked)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise IntegrityError(f"the {what} is malformed", where=where, got=fault) from fault


def encode(value: object) -> Any:
    """``value`` as dicts, lists, tuples, strings, numbers, booleans and None.

    Fields come in the order in which the structs declare them.
    """
    return msgspec.to_builtins(value, enc_hook=_plain)


def _checked(kind: type, value: object) -> object:
    """A checked string type of the house; its own error becomes msgspec's, which has the path."""
    if not issubclass(kind, str):
        raise NotImplementedError(f"no way to decode {kind}")
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")  # noqa: TRY004 - msgspec wraps it
    try:
        return kind(value)
    except RepackError as error:
        raise ValueError(error.what) from error


def _plain(value: object) -> object:
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"no way to encode {type(value)}")
