"""What alerts mean and what to do about them: Markdown that comes with pixelmeter, as pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup

__all__ = ["runbook"]

BEGINNING = "alerts.md"
"""The page that lists all of them."""

_FOLDER = "runbooks/"


def runbook(pages: Mapping[str, str], path: str) -> tuple[str, Markup] | None:
    """Return the title and the HTML of a page below /runbooks/; None where there is none.

    `path` is "" for the list of all, and the name of an alert, with or without ".md", for one.
    """
    name = path or BEGINNING
    text = pages.get(name) or pages.get(f"{_FOLDER}{name.removesuffix('.md')}.md")
    if text is None:
        return None
    title = next((line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")), name)
    return title, _html(text)


@cache
def _html(text: str) -> Markup:
    """Return Markdown as HTML, in which nothing of the text is markup of its own and nothing has a style."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrs["id"] = _slug(tokens[place + 1].content)
        # Tables say where columns stand by a style, which the content security policy forbids.
        token.attrs.pop("style", None)
        if token.type == "table_open":
            token.attrs["class"] = "told"
        for child in token.children or ():
            href = str(child.attrs.get("href", ""))
            if href.startswith((_FOLDER, f"../{BEGINNING}")):
                child.attrs["href"] = href.removeprefix(_FOLDER).replace(f"../{BEGINNING}", "./")
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _slug(heading: str) -> str:
    """Return what links to a heading name it by."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
