"""docs/dependencies.md names what is installed, no more and no less."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.project.conftest import CHECKOUT
from tests.project.environments import Environment, metadata, needed
from tests.project.test_extras import EXTRAS

# Something is built first, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)

PAGE = (CHECKOUT / "docs" / "dependencies.md").read_text()
Environments = Callable[..., Environment]


def rows(name: str) -> list[Sequence[str]]:
    """Return the cells of a table of the page, by the comment above it."""
    table = PAGE.partition(f"<!-- packages: {name} -->\n\n")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.slow
def test_the_base_is_what_the_wheel_needs(wheel: Path) -> None:
    told = {package for package, *_ in rows("base")}

    assert needed(wheel, ()) == told
    assert f"\n{len(told)} packages, " in PAGE


def test_what_comes_with_nothing_is_what_the_wheel_asks_for_itself(wheel: Path) -> None:
    asked = {re.split(r"[^\w-]", line)[0] for line in metadata(wheel)["Requires-Dist"] if "extra ==" not in line}

    assert asked == {package for package, _, along in rows("base") if not along}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_what_it_adds(wheel: Path, extra: str) -> None:
    [packages] = [cells[2] for cells in rows("extras") if cells[0] == f"`{extra}`"]
    own, _, along = re.sub(r"; with (it|them) ", ";", packages).partition(";")
    named = {line.split(";")[0] for line in metadata(wheel)["Requires-Dist"] if line.endswith(f"extra == '{extra}'")}
    asked = {re.split(r"[^\w-]", line)[0] for line in named} | ({"psycopg-binary"} if extra == "postgres" else set())

    assert asked == set(own.split(", "))
    assert needed(wheel, [extra]) - needed(wheel, ()) == set(own.split(", ")) | set(filter(None, along.split(", ")))


@pytest.mark.slow
def test_the_base_is_as_large_as_the_page_says(environment: Environments) -> None:
    told = re.search(r"packages, (\d+) MB", PAGE)

    assert told is not None
    assert environment().size / 1e6 == pytest.approx(int(told[1]), abs=1.5)
