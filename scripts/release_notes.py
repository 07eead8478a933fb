"""Prints what CHANGELOG.md has of the version that a tag names: `python -m scripts.release_notes v1.2.3`."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

TOP = Path(__file__).parents[1]


def notes(tag: str, version: str, changelog: str) -> str:
    """Return the part of a changelog below the heading of a version. ValueError where that version is not ready."""
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, but src/pixelmeter/_version.py has {version}: tag v{version}")
    found = re.search(rf"^## {re.escape(version)} \((.+?)\)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no heading '## {version} (YYYY-MM-DD)'")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", found[1]):
        raise ValueError(f"CHANGELOG.md has {version} as {found[1]}: put the day there, YYYY-MM-DD")
    return found[2].strip() + "\n"


if __name__ == "__main__":
    released = runpy.run_path(str(TOP / "src" / "pixelmeter" / "_version.py"))["__version__"]
    try:
        sys.stdout.write(notes(sys.argv[1], released, (TOP / "CHANGELOG.md").read_text(encoding="utf-8")))
    except ValueError as error:
        raise SystemExit(str(error)) from None
