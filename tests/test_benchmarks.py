"""The page of benchmarks and the folder of benchmarks go together."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_the_page_shows_the_run_of_every_benchmark_and_of_none_that_does_not_exist() -> None:
    shown = re.findall(r"^\$ PYTHONPATH=\. \.venv/bin/python (benchmarks/\S+)", PAGE, re.MULTILINE)
    there = [path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").glob("*.py")]
    assert sorted(there) == sorted(set(shown))


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"(?:benchmarks|tests)/[a-z_/]+\.py", PAGE))
    assert [] == [name for name in sorted(named) if not (ROOT / name).is_file()]


def test_the_links_of_the_decisions_lead_somewhere() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert pages
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"
