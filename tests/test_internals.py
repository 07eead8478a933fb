"""The pages for maintainers name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pixelmeter
from pixelmeter.cli import COMMANDS

_PACKAGE = Path(pixelmeter.__file__).parent
_ROOT = Path(__file__).parents[1]
_PAGE = (_ROOT / "docs" / "internals.md").read_text()


_NAMED = set(re.findall(r"`([a-z_/0-9]+(?:\.py|/))`", _PAGE))
# One file a command, and what every package has.
_SPEAK_FOR_THEMSELVES = {"_version.py", "errors.py", *(f"cli/{command}.py" for command in COMMANDS)}


def test_every_module_has_a_line() -> None:
    modules = {path.relative_to(_PACKAGE).as_posix() for path in _PACKAGE.rglob("*.py") if "__" not in path.name}
    assert set() == modules - _NAMED - _SPEAK_FOR_THEMSELVES


def test_every_module_that_it_names_exists() -> None:
    assert [] == [name for name in _NAMED if not ((_PACKAGE / name).exists() or (_ROOT / name).exists())]


def test_every_file_that_contributors_are_sent_to_exists() -> None:
    text = (_ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:[a-z_-]+/)+[A-Za-z_.-]*)`", text)
    assert len(paths) > 10
    assert [] == [path for path in paths if not ((_ROOT / path).exists() or (_PACKAGE / path).exists())]
