"""Attempts that are dropped are spent all the same: a limit holds, though no row will ever say so."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.lease import Charge
from pixelmeter.drain import Drain
from pixelmeter.errors import BudgetExceeded, LedgerError
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.budgets.programs import NOON
from tests.budgets.test_leasing import CENT, SECOND, Program, spent_and_leased, usd
from tests.conftest import FakeClock

FILES = SystemFiles()


class Spooling(Program):
    """A process under a budget whose spool takes nothing."""

    def __init__(self, url: str, clock: FakeClock, folder: str, limit: int = 0, budget: str = "0.03") -> None:
        self.folder = folder
        self.spool = Spool(folder, FILES, SystemIds(), limit=limit)
        name = self.spool.claim()
        super().__init__(url, clock, name, [usd(budget, name="b")])
        self.leasing._unmark = self.spool.unmark
        self.leasing.forget()
        self.spool.on_drop = self.leasing.drop

    def spend(self, **fields: object) -> Attempt:
        """Make a call that is dropped, or spooled where there is room."""
        begun = self.begin()
        self.spool.intent(begun[0])
        attempt = self.end(begun, **fields)  # type: ignore[arg-type]
        self.spool.outcome(attempt)
        return attempt

    def die(self) -> None:
        """End without a word, as with kill -9."""
        self.spool.forget()
        self.writer.close()

    @property
    def marks(self) -> list[str]:
        return [name for name in os.listdir(self.folder) if name.endswith(".dropped")]


@pytest.fixture
def program(ledger_url: str, noon: FakeClock, folder: str) -> Iterator[Spooling]:
    program = Spooling(ledger_url, noon, folder)
    yield program
    program.writer.close()


def later(program: Program) -> None:
    """Let so much time go by that leases of processes that are gone are taken back."""
    program.clock.advance(2 * 3600 * SECOND)
    program.writer.end_stale(program.clock.now())


def test_what_a_dropped_attempt_cost_is_spent_again_by_nobody(program: Spooling, ledger_url: str) -> None:
    program.spend()
    assert (1, 1) == (program.spool.status()["dropped"], len(program.marks))
    program.serve()
    assert ([], {}) == (program.marks, program.leasing.charges)
    program.call()
    program.close()
    later(program)
    assert {("b", ""): (CENT, CENT)} == spent_and_leased(ledger_url)
    heir = Program(ledger_url, program.clock, "heir", [usd("0.03", name="b")])
    heir.call()
    heir.refused()
    heir.close()
    assert {("b", ""): (2 * CENT, CENT)} == spent_and_leased(ledger_url)


def test_what_it_cost_beyond_its_reservation_is_kept_as_well(program: Spooling, ledger_url: str) -> None:
    program.spend(cost=2 * CENT)
    program.serve()
    program.close()
    assert {("b", ""): (0, 2 * CENT)} == spent_and_leased(ledger_url)


def test_an_attempt_that_costs_nothing_leaves_no_mark_and_no_lease(program: Spooling, ledger_url: str) -> None:
    program.spend(cost=0)
    assert [] == program.marks
    program.close()
    assert {("b", ""): (0, 0)} == spent_and_leased(ledger_url)


def test_what_is_dropped_while_the_ledger_is_away_is_kept_when_it_is_back(program: Spooling, ledger_url: str) -> None:
    program.call()
    writer = program.writer
    program.writer = Away(writer)  # type: ignore[assignment]
    program.spend()
    program.serve()
    assert 1 == len(program.marks)
    program.writer = writer
    program.serve()
    program.close()
    assert ([], {("b", ""): (CENT, CENT)}) == (program.marks, spent_and_leased(ledger_url))


class Away:
    """A ledger that takes what is told of dropped attempts, and goes away before it says so."""

    def __init__(self, writer: LedgerWriter) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> object:
        return getattr(self._writer, name)

    def keep_dropped(self, process: str, first: str, charges: Sequence[Charge], at: int) -> None:
        self._writer.keep_dropped(process, first, charges, at)
        raise LedgerError("the ledger went away")


@pytest.mark.parametrize("is_told", [False, True])
def test_a_process_that_is_killed_takes_no_money_with_it(
    ledger_url: str, noon: FakeClock, folder: str, is_told: bool
) -> None:
    program = Spooling(ledger_url, noon, folder, budget="0.10")
    program.spend()
    if is_told:
        program.serve()
    program.spend()
    program.die()
    ledger = open_writer(ledger_url)
    assert 0 == Drain(Spool(folder, FILES, SystemIds()), FILES, folder, ledger).adopt()
    ledger.close()
    assert [] == os.listdir(folder)
    heir = Program(ledger_url, noon, "heir", [usd("0.10", name="b")])
    later(heir)
    # Of the 8 cents that are left, what the other one had in hand is kept for it.
    for _ in range(6):
        heir.call()
    with pytest.raises(BudgetExceeded):
        for _ in range(3):
            heir.call()
    heir.close()


def test_a_process_that_dropped_nothing_gives_all_back_when_it_is_killed(
    ledger_url: str, noon: FakeClock, folder: str
) -> None:
    program = Spooling(ledger_url, noon, folder, limit=1 << 20)
    attempt = program.spend()
    program.die()
    ledger = open_writer(ledger_url)
    assert 1 == Drain(Spool(folder, FILES, SystemIds()), FILES, folder, ledger).adopt()
    ledger.close()
    assert {("b", ""): (attempt.cost, 0)} == spent_and_leased(ledger_url)


def test_a_recovery_that_is_killed_half_way_is_repeated_and_keeps_the_leases_once(
    program: Spooling, ledger_url: str, folder: str
) -> None:
    program.spend()
    program.die()
    ledger = open_writer(ledger_url)
    kept = spent_and_leased(ledger_url)
    ledger.keep_leases([program.name])
    Drain(Spool(folder, FILES, SystemIds()), FILES, folder, ledger).adopt()
    ledger.close()
    later(program)
    assert kept == spent_and_leased(ledger_url)
    assert kept["b", ""][1] >= CENT


def test_a_reset_takes_off_what_dropped_attempts_cost(program: Spooling, ledger_url: str) -> None:
    program.spend()
    program.serve()
    program.close()
    program.writer.reset("b", None, ResetAuthor(NOON + SECOND, "me", "the records are lost"))
    assert {("b", ""): (0, 0)} == spent_and_leased(ledger_url)


def test_nothing_in_memory_is_left_of_what_was_dropped(program: Spooling, ledger_url: str) -> None:
    program.spend()
    program.clock.advance(11 * SECOND)
    program.serve()
    assert ({}, {}) == (program.leasing.charges, program.leasing._held)
    assert {("b", ""): (0, CENT)} == spent_and_leased(ledger_url)
