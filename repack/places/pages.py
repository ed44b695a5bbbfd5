"""HTML pages from templates in ``repack/data``.

A page is one file that asks nobody for anything. Its content security policy says so and names its
own style and script by hash, so that no text from a package can become either; the templates escape
every value.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any
from urllib.parse import unquote

from repack.model.amounts import amount


def render(template: str, script: str | None, **values: object) -> bytes:
    """The page that ``template`` makes of ``values``; jinja2 is imported here, it costs 70 ms."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["amount"] = amount
    environment.filters["day"] = _day
    environment.filters["place"] = _place
    style, code = _data("report.css"), _data(script) if script else ""
    text = environment.from_string(_data(template)).render(
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(code),  # noqa: S704 - our own file
        policy=_policy(style, code),
        **values,
    )
    return text.encode("utf-8") + b"\n"


def _policy(style: str, script: str) -> str:
    allowed = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _data(name: str) -> str:
    return (resources.files("repack") / "data" / name).read_text(encoding="utf-8")


def _day(moment: str) -> str:
    return moment[:10]


def _place(url: str) -> Any:
    """The last part of a URL, as people know it."""
    return unquote(url.rstrip("/").rpartition("/")[2])
