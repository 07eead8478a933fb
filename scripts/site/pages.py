"""Pages of the site that differ from the files of the repository: the menu, the start page, links to folders."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import ClassVar

from pygments.lexer import inherit  # type: ignore[import-untyped]
from pygments.lexers import PromQLLexer  # type: ignore[import-untyped]
from pygments.token import Name  # type: ignore[import-untyped]
from sphinx.application import Sphinx

__all__ = ["menu", "setup"]

INDEX = "docs/index.md"
# Pages that are listed under another one, not in the index.
UNDER = {"docs/alerts": "runbooks/*", "docs/decisions/README": "0*"}

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[[^\]]+\]\(([^)#]+)\.md\)", re.MULTILINE)
_FOLDER = re.compile(r"\]\(((?:[\w.-]+/)+)\)")


def menu(index: str) -> list[tuple[str, list[str]]]:
    """Return the sections of docs/index.md with the pages that their lists name, as paths from the root."""
    parts = _SECTION.split(index)
    return [
        (title, [_from_root(path) for path in _ENTRY.findall(text)])
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


def _from_root(path: str) -> str:
    return path.removeprefix("../") if path.startswith("../") else f"docs/{path}"


def _toctree(entries: list[str], *options: str) -> str:
    return "\n".join(["\n\n```{toctree}", ":hidden:", *options, "", *entries, "```\n"])


def _read(app: Sphinx, docname: str, content: list[str]) -> None:
    text = _FOLDER.sub(r"](\1README.md)", content[0])
    if docname == app.config.root_doc:
        sections = menu((Path(app.srcdir) / INDEX).read_text(encoding="utf-8"))
        text += _toctree([f"/{INDEX.removesuffix('.md')}"])
        for title, pages in sections:
            text += _toctree([f"/{page}" for page in pages], f":caption: {title}")
    elif docname in UNDER:
        text += _toctree([UNDER[docname]], ":glob:")
    content[0] = text


class _PromQL(PromQLLexer):  # type: ignore[misc]
    """PromQL with the colons that names of recording rules have."""

    tokens: ClassVar = {"root": [(r"[a-zA-Z_]\w*(:\w+)+", Name.Variable), inherit]}


def _start_page(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir)
        shutil.copyfile(folder / f"{app.config.root_doc}.html", folder / "index.html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_lexer("promql", _PromQL)
    app.connect("source-read", _read)
    app.connect("build-finished", _start_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
