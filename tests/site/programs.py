"""Programs that a page of docs/ shows, each named by its first line: `# name.py`."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["DOCS", "file_of", "shown"]

DOCS = Path(__file__).parents[2] / "docs"


def shown(page: str, language: str, name: str) -> str:
    """Return the one block of a page that has this name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    [block] = re.findall(rf"```{language}\n(# {re.escape(name)}\n.*?)```", text, re.DOTALL)
    return str(block)


def file_of(folder: Path, page: str, language: str, name: str) -> Path:
    """Write a block of a page into a folder."""
    file = folder / name
    file.write_text(shown(page, language, name), encoding="utf-8")
    return file
