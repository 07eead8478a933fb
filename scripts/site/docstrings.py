"""Docstrings of pixelmeter as Sphinx reads them.

They are written for an editor: code is indented, names stand in single backticks. Here both become reStructuredText,
and names of the API become links: those of classes (`Budget`), and those with a dot in them (`Meter.flush`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

import msgspec
from docutils.nodes import Element, document  # type: ignore[import-untyped]
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from pixelmeter import Adjustment, Attempt, Change, Health, Notice, PriceBook, Spend, SpendRow, WebhookEvent
from pixelmeter.testing import ImageCalls
from pixelmeter.testing.behaviour import Behaviour

__all__ = ["as_restructured_text", "setup"]

_LITERAL = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_NAME = re.compile(r"[A-Z]+[a-z]\w*(\.\w+)*|[A-Za-z]\w*(\.\w+)+")
_ITEM = re.compile(r"\s*- ")
# What programs read and do not make: their fields, which are listed below their name, say enough.
_MADE_BY_US = (msgspec.Struct, PriceBook, Spend, SpendRow, Change, ImageCalls, Behaviour)


def as_restructured_text(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a docstring with its indented blocks as code and its words in backticks as links or literals.

    A block is code where it is indented by four and stands after an empty line, or first.
    """
    in_code, after_blank, in_list = False, True, False
    # What is in backticks may go over the end of a line, so text is converted by paragraphs.
    paragraph: list[str] = []
    for line in [*lines, ""]:
        indented = line.startswith("    ")
        if in_code and line and not indented:
            in_code = False
        if not in_code and indented and after_blank and not in_list:
            in_code = True
            yield from (".. code-block:: python", "")
        if line and not in_code:
            paragraph.append(line)
            in_list = in_list or _ITEM.match(line) is not None
        else:
            if paragraph:
                yield from _LITERAL.sub(_literal, "\n".join(paragraph)).split("\n")
                paragraph, in_list = [], False
            yield line
        after_blank = not line


def _literal(found: re.Match[str]) -> str:
    text = " ".join(found[1].split())
    return f"`{text}`" if _NAME.fullmatch(text) else f"``{text}``"


def _docstring(_app: Sphinx, _what: str, _name: str, _value: object, _options: object, lines: list[str]) -> None:
    lines[:] = as_restructured_text(lines)


def _signature(
    _app: Sphinx, _what: str, _name: str, value: object, _options: object, _signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    is_made_by_us = isinstance(value, type) and issubclass(value, _MADE_BY_US)
    return ("", returns) if is_made_by_us or getattr(value, "_is_protocol", False) else None


def _exact(_app: Sphinx, page: document) -> None:
    """Have a type lead to its own name alone: else `bytes` would lead to any attribute of that name."""
    for node in page.findall(pending_xref):
        node.attributes.pop("refspecific", None)


def _public(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element) -> Element | None:
    """Lead from the module in which a type is written to the name under which it is exported."""
    target: str = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("pixelmeter."):
        return None
    domain: Any = env.domains["py"]
    for module in ("pixelmeter", "pixelmeter.testing"):
        exported = f"{module}.{target.rpartition('.')[2]}"
        if exported != target and exported in domain.objects:
            found: Element | None = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", exported, node, text)
            return found
    return None


def _without_bounds(*records: type[msgspec.Struct]) -> None:
    """Have a field be shown as `int`, not with the numbers that a database column takes."""
    for record in records:
        record.__annotations__.update(get_type_hints(record))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    _without_bounds(Adjustment, Attempt, Health, Notice, WebhookEvent)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-read", _exact)
    app.connect("missing-reference", _public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
