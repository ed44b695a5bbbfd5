"""HTML pages from templates in ``repack/report/templates``.

A page is one file that asks nobody for anything. Its content security policy says so and names its
own style and script by hash, so that no text from a package can become either; the templates escape
every value.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from repack.display import amount
from repack.errors import RepackError
from repack.fs import atomic

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.bccache import Bucket

_DATA: Final = Path(__file__).parent / "templates"
_LIMIT: Final = 8 << 20  # bytes of a compiled template


def render(template: str, script: str | None, **values: object) -> bytes:
    """The page that ``template`` makes of ``values``."""
    from markupsafe import Markup

    style, code = _data("report.css"), _data(script) if script else ""
    text = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(code),  # noqa: S704 - our own file
            policy=_policy(style, code),
            **values,
        )
    )
    return text.encode("utf-8") + b"\n"


@cache
def _environment() -> Environment:
    """Where templates come from; jinja2 is imported here, it costs 30 ms."""
    from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined

    class Compiled(BytecodeCache):
        """Keeps compiled templates in the user's cache; beside them, an uninstall would leave them."""

        def load_bytecode(self, bucket: Bucket) -> None:
            with suppress(RepackError):
                if _is_own(_compiled(bucket)):
                    bucket.bytecode_from_string(atomic.read(_compiled(bucket), _LIMIT))

        def dump_bytecode(self, bucket: Bucket) -> None:
            if not sys.dont_write_bytecode:
                with suppress(RepackError):
                    atomic.write_cached(_compiled(bucket), bucket.bytecode_to_string())

    environment = Environment(
        loader=FileSystemLoader(_DATA),
        bytecode_cache=Compiled(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["amount"] = amount
    environment.filters["day"] = _day
    environment.filters["place"] = _place
    return environment


def _compiled(bucket: Bucket) -> Path:
    from platformdirs import user_cache_path

    name = f"{bucket.key}.{sys.implementation.cache_tag}.jinja"
    return user_cache_path("repack", appauthor=False) / "templates" / name


def _is_own(path: Path) -> bool:
    """Whether nobody else put the file there: below sudo, say, the cache may be another user's."""
    with suppress(OSError):
        return sys.platform == "win32" or path.stat().st_uid == os.geteuid()
    return False


def _policy(style: str, script: str) -> str:
    allowed = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _data(name: str) -> str:
    return (_DATA / name).read_text(encoding="utf-8")


def _day(moment: str) -> str:
    return moment[:10]


def _place(url: str) -> Any:
    """The last part of a URL, as people know it."""
    return unquote(url.rstrip("/").rpartition("/")[2])
