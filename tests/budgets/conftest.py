"""Programs that are started over one ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixelmeter.core.budgets.budget import Budget
from tests.budgets.programs import NOON, Program
from tests.conftest import FakeClock


@pytest.fixture
def noon() -> FakeClock:
    """A clock that stands at noon."""
    clock = FakeClock()
    clock.set(NOON)
    return clock


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A spool folder."""
    return f"{tmp_path}/spool"


@pytest.fixture
def start(ledger_url: str, clock: FakeClock) -> Iterator[Callable[..., Program]]:
    """Starts programs over one ledger, and ends them."""
    programs: list[Program] = []

    def begin(*budgets: Budget, name: str = "here") -> Program:
        programs.append(Program(ledger_url, clock, *budgets, name=name))
        programs[-1].leasing.serve(programs[-1].writer)
        return programs[-1]

    yield begin
    for program in programs:
        program.close()
