"""Templates become answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from pixelmeter._version import __version__

__all__ = ["STATIC", "error_page", "page", "pieces", "rendered"]

STATIC = Path(__file__).parent / "static"
"""What pages load: the stylesheet, the script, and what they need."""

_ENOUGH = 16_384


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["coded"] = _coded
    return environment


def _coded(text: str) -> Markup:
    """Return text as HTML in which what stands between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """Return the text of a page."""
    return _environment().get_template(template).render(_common(context))


def pieces(template: str, context: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text of a page, in parts that are worth sending; a piece that is `context["flush"]()` ends one."""
    is_flushed = False

    def flush() -> str:
        nonlocal is_flushed
        is_flushed = True
        return ""

    gathered: list[str] = []
    size = 0
    for piece in _environment().get_template(template).generate(_common({**context, "flush": flush})):
        gathered.append(piece)
        size += len(piece)
        if is_flushed or size > _ENOUGH:
            yield "".join(gathered)
            gathered, size, is_flushed = [], 0, False
    yield "".join(gathered)


def page(template: str, context: Mapping[str, Any], *, status: int = 200, etag: str | None = None) -> HTMLResponse:
    """Return a page as an answer."""
    headers = {} if etag is None else {"etag": etag}
    return HTMLResponse(rendered(template, {**context, "etag": etag}), status, headers)


def error_page(status: int, heading: str, sentence: str, advice: str = "", **headers: str) -> HTMLResponse:
    """Return a page that says what is wrong, and what to do about it."""
    context = {"heading": heading, "sentence": sentence, "advice": advice, "asked": None, "here": None}
    return HTMLResponse(rendered("error.html", context), status, headers)


def _common(context: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": __version__, "etag": None, "flush": str, **context}
