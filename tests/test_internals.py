"""The page for maintainers names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pixelmeter

_PACKAGE = Path(pixelmeter.__file__).parent
_PAGE = (Path(__file__).parents[1] / "docs" / "internals.md").read_text()


def test_every_module_is_in_its_room() -> None:
    rooms = [path.name + "/" for path in _PACKAGE.iterdir() if (path / "__init__.py").exists()]
    modules = [path.name for path in _PACKAGE.glob("[a-z_]*.py") if not path.name.startswith("__")]
    named = {name.split("*")[0] for name in re.findall(r"`([a-z_/0-9]+(?:\.py|/\*\.toml|/))`", _PAGE)}
    missing = {*rooms, *modules} - named - {"core/", "_version.py", "errors.py"}
    assert set() == missing


def test_every_module_that_it_names_exists() -> None:
    missing: list[str] = []
    for line in _PAGE.splitlines():
        room = re.match(r"\| `([a-z_/]+/)`", line)
        for name in re.findall(r"`([a-z_/0-9]+\.py)`", line):
            homes = [_PACKAGE, _PACKAGE / room[1]] if room else [_PACKAGE]
            missing += [] if any((home / name).exists() for home in homes) else [name]
    assert [] == missing
