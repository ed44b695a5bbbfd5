"""Shared keys: the one syntax for naming them, and the HMAC they make.

Syntax, everywhere: ``[KEYID=]VALUE`` with VALUE = ``env:NAME``, ``file:PATH``, ``hex:…``,
``base64:…``, ``text:…`` or bare base64. Behind a key id, a bare value that is no base64 is taken as
text, with a warning: old procedures write ``SERVICE=secret``. A variable holds all of these but
``env:`` and ``file:``, with a key id in front if it likes; a file holds that or the raw bytes. A secret never stands in a message or in
a ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypedDict, get_args

from msgspec.structs import replace

from repack.codec.canonical import canonical
from repack.errors import KeyRefusedError, SignatureError
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HMAC_SHA384: Final = "hmac-sha384"
STRONG_BYTES: Final = 32
MAX_KEY_FILE: Final = 64 * 1024
_RAW_SIZES: Final = (32, 48)
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_KEYED: Final = re.compile(rf"(?:{_KEY_ID.pattern})=(.+)")
# `SERVICE=` is a key id with nothing behind it, though it is base64 of five bytes too: a script
# with an unset variable writes exactly this, and must not sign with a key anybody can guess.
_PLAIN_WORD: Final = re.compile(r"(?:[A-Z]+|[a-z]+)=")

Source = Literal["env", "file", "hex", "base64", "text"]
_PREFIXES: Final = tuple(f"{source}:" for source in get_args(Source))
_HINT: Final = (
    "[KEYID=]VALUE with VALUE env:NAME, file:PATH, hex:…, base64:…, text:… or bare base64"
)
_AS_TEXT: Final = "is taken as plain text; write text: before it, or give it as base64:"


class Signature(TypedDict):
    """A signature as it stands in manifests; ``key_id`` is null when the key has none."""

    algorithm: str
    value: str
    key_id: str | None


class SharedKey(Value, frozen=True):
    """A secret and the name it goes by.

    Attributes:
        is_guessed_text: the value was no base64, and nothing said that it is text.
    """

    hidden_fields: ClassVar = ("secret",)
    uncompared_fields: ClassVar = ("is_guessed_text",)

    key_id: str | None
    secret: bytes
    is_guessed_text: bool = False

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart; gives away no more of the secret than a signature does."""
        return hmac.new(self.secret, b"repack key fingerprint", hashlib.sha384).hexdigest()[:16]

    @property
    def warning(self) -> str | None:
        """What to tell the user about this key, if anything."""
        faults = [_AS_TEXT] if self.is_guessed_text else []
        if len(self.secret) < STRONG_BYTES:
            faults.append(f"has only {len(self.secret)} bytes; take at least {STRONG_BYTES}")
        name = f"key {self.key_id!r}" if self.key_id else "key"
        return "; ".join(f"{name} {fault}" for fault in faults) or None


class KeyRef(Value, frozen=True):
    """Where a key is to be had: parsed, not read yet."""

    hidden_fields: ClassVar = ("value",)

    key_id: str | None
    source: Source
    value: str
    is_guessed_text: bool = False

    def resolve(
        self, environment: Mapping[str, str], read_file: Callable[[str], bytes], where: str = "key"
    ) -> SharedKey:
        """Get the secret.

        Args:
            environment: the variables ``env:`` may name.
            read_file: reads a whole small file, for ``file:``.
            where: the option or setting, for messages.

        Raises:
            KeyRefusedError: the variable is unset, or the key is empty or badly encoded.
        """
        match self.source:
            case "env":
                text = environment.get(self.value)
                if text is None:
                    raise KeyRefusedError(f"variable {self.value} is not set", where=where)
                key = _decode_text(text, f"{where} (env:{self.value})")
            case "file":
                key = _decode_file(read_file(self.value), where)
            case source:
                key = _decode(source, self.value, where, guessed=self.is_guessed_text)
        if not key.secret:
            raise KeyRefusedError("the key is empty", where=where)
        return replace(key, key_id=self.key_id or key.key_id)


def parse_key(text: str, where: str = "key") -> KeyRef:
    """Parse ``[KEYID=]VALUE``; nothing is read yet, but an inline secret is checked.

    Raises:
        KeyRefusedError: empty, or of no known form. The text itself is not repeated: it may be a
            secret.
    """
    key_id, value = _split(text.strip(), where)
    source, rest, guessed = _source(value, has_key_id=key_id is not None)
    if not rest:
        raise KeyRefusedError("the key is empty", where=where, expected=_HINT)
    if source not in {"env", "file"}:
        _decode(source, rest, where, guessed=guessed)
    return KeyRef(key_id, source, rest, guessed)


def sign_hmac_sha384(payload: object, key: SharedKey) -> Signature:
    """Sign the canonical JSON of ``payload``."""
    value = base64.b64encode(_mac(payload, key)).decode("ascii")
    return {"algorithm": HMAC_SHA384, "value": value, "key_id": key.key_id}


def check_hmac_sha384(
    payload: object, signature: object, key: SharedKey, where: object = None
) -> None:
    """Check a signature made by :func:`sign_hmac_sha384`.

    ``signature`` is taken as it was read. The algorithm is not negotiable: whoever could choose
    it could choose a weaker one. A key id is a hint for people; the HMAC decides.

    Raises:
        SignatureError: malformed, of another algorithm, or made with another key or payload.
    """
    if not isinstance(signature, dict):
        raise SignatureError("the signature is malformed", where=where, expected="an object")
    algorithm = signature.get("algorithm")
    if algorithm != HMAC_SHA384:
        raise SignatureError(
            "unknown signature algorithm",
            where=where,
            expected=HMAC_SHA384,
            got=repr(algorithm)[:80],
        )
    try:
        mac = base64.b64decode(str(signature.get("value")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError("the signature is not base64", where=where) from error
    if not hmac.compare_digest(mac, _mac(payload, key)):
        key_id = signature.get("key_id")
        raise SignatureError(
            "the signature does not fit: changed content, or another key",
            where=where,
            expected=f"made with key {key.key_id!r}" if key.key_id else None,
            got=f"says key {str(key_id)[:128]!r}" if key_id else None,
        )


def _mac(payload: object, key: SharedKey) -> bytes:
    return hmac.new(key.secret, canonical(payload), hashlib.sha384).digest()


def _split(text: str, where: str) -> tuple[str | None, str]:
    """Part ``KEYID=VALUE``; base64 padding is no separator."""
    if text.startswith(_PREFIXES):
        return None, text
    if _is_base64(text) and not _PLAIN_WORD.fullmatch(text):
        return None, text
    head, separator, value = text.partition("=")
    if not separator:
        return None, text
    if not _KEY_ID.fullmatch(head):
        raise KeyRefusedError("the key id is odd", where=where, expected=_HINT)
    return head, value


def _source(value: str, *, has_key_id: bool) -> tuple[Source, str, bool]:
    """What kind of value it is, the value, and whether that it is text was only guessed.

    Without a key id no text is guessed: it may be a path or a name that was mistyped.
    """
    for source in get_args(Source):
        if value.startswith(f"{source}:"):
            return source, value[len(source) + 1 :], False
    # `Zh==` is base64 with stray bits, no key id with the text `=`.
    if has_key_id and value.strip("=") and not _is_base64(value):
        return "text", value, True
    return "base64", value, False


def _decode(source: Source, value: str, where: str, *, guessed: bool = False) -> SharedKey:
    match source:
        case "hex":
            return SharedKey(None, _hex(value, where))
        case "text":
            return SharedKey(None, value.encode(), guessed)
        case _:
            return SharedKey(None, _base64(value, where))


def _decode_text(text: str, where: str) -> SharedKey:
    key_id, value = _split(text.strip(), where)
    source, rest, guessed = _source(value, has_key_id=key_id is not None)
    if not rest:
        raise KeyRefusedError("the key is empty", where=where)
    if source in {"env", "file"}:
        raise KeyRefusedError(
            "a key that points to a key is not followed", where=where, expected="hex: or base64:"
        )
    return replace(_decode(source, rest, where, guessed=guessed), key_id=key_id)


_SAYS_ITS_FORM: Final = re.compile(rb"(?:[\w.@-]{1,128}=)?(?:hex|base64|text):")


def _decode_file(data: bytes, where: str) -> SharedKey:
    """Text in a key's syntax is decoded; 32 or 48 bytes, and all else, are the key itself."""
    prefixes = ("hex:", "base64:", "text:")
    if _SAYS_ITS_FORM.match(data):
        # Before the size, which may be that of a raw key; and `==` at the end parts no key id.
        return _decode_text(data.decode("ascii", "replace"), where)
    if len(data) in _RAW_SIZES:
        return SharedKey(None, data)
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        return SharedKey(None, data)
    keyed = _KEYED.fullmatch(text)
    value = keyed[1] if keyed and not _is_base64(text) else text
    if value.startswith(prefixes) or _is_base64(value):
        return _decode_text(text, where)
    return SharedKey(None, data)


def _hex(text: str, where: str) -> bytes:
    try:
        return binascii.unhexlify(text)  # unlike bytes.fromhex, it takes no spaces
    except ValueError as error:
        raise KeyRefusedError("the key is not hexadecimal", where=where) from error


def _base64(text: str, where: str) -> bytes:
    if not _is_base64(text):
        raise KeyRefusedError("the key is not base64", where=where, expected=_HINT)
    return base64.b64decode(text, validate=True)


def _is_base64(text: str) -> bool:
    """Whether ``text`` is base64 with padding and without stray bits: one key, one text."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii") == text
    except (binascii.Error, ValueError):
        return False
