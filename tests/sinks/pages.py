"""The programs of docs/prometheus.md, by the names that the page gives them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PAGE", "program"]

PAGE = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text()
_PROGRAM = re.compile(r"<!-- program: (?P<name>\S+) -->\n+```\w+\n(?P<text>.*?)```", re.DOTALL)


def program(name: str) -> str:
    """Return the text of a program; KeyError where the page has none of that name."""
    return {found["name"]: found["text"] for found in _PROGRAM.finditer(PAGE)}[name]
