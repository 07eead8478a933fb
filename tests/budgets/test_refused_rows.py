"""Attempts that the ledger refuses are spent all the same: budgets keep what they cost until it has them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drain import Drain
from pixelmeter.drain.census import census
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.budget_leases import REFUSED
from pixelmeter.ledger.budget_reading import leases_of
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.budgets.programs import NOON
from tests.budgets.test_leasing import CENT, SECOND, Program, spent_and_leased, usd
from tests.conftest import FakeClock
from tests.drain.writers import POISON, Picky
from tests.factories import make_attempt
from tests.postgres import Server

FILES = SystemFiles()


@pytest.fixture
def program(ledger_url: str, noon: FakeClock) -> Iterator[Program]:
    program = Program(ledger_url, noon, "program", [usd("0.03", name="b")])
    yield program
    program.writer.close()


def refused(program: Program, folder: str, *, is_dead: bool = False) -> tuple[Attempt, Picky]:
    """Make a call whose row the ledger refuses; return it, and the ledger."""
    picky = Picky(program.writer)
    spool = Spool(folder, FILES, SystemIds())
    attempt = program.end(program.begin(), model=POISON)
    spool.outcome(attempt)
    drain = Drain(spool, FILES, folder, picky)
    if is_dead:
        program.leasing.forget()
        spool.forget()
        drain.adopt()
    else:
        drain.step()
    return attempt, picky


@pytest.mark.parametrize("is_dead", [False, True])
def test_what_a_refused_attempt_cost_is_spent_again_by_nobody(
    program: Program, ledger_url: str, folder: str, is_dead: bool
) -> None:
    refused(program, folder, is_dead=is_dead)
    if is_dead:
        program.writer.write([], {}, ["program-000001.spool"])
    assert {} == program.leasing.charges
    program.call()
    program.clock.advance(2 * 3600 * SECOND)
    program.writer.end_stale(program.clock.now())
    program.call()
    program.refused()
    program.close()
    assert {("b", ""): (2 * CENT, CENT)} == spent_and_leased(ledger_url)


def test_what_a_refused_attempt_cost_is_reserved_though_the_ledger_went_away_just_then(
    program: Program, ledger_url: str, folder: str
) -> None:
    class Leaving(Picky):
        def keep_refused(self, attempts: Sequence[Attempt]) -> None:
            self.left = getattr(self, "left", 0) + 1
            if self.left == 1:
                raise LedgerError("the ledger went away")
            super().keep_refused(attempts)

    spool = Spool(folder, FILES, SystemIds())
    drain = Drain(spool, FILES, folder, Leaving(program.writer))
    spool.outcome(program.end(program.begin(), model=POISON))
    with pytest.raises(LedgerError, match="went away"):
        drain.step()
    drain.step()
    program.close()
    assert ({}, {("b", ""): (0, CENT)}) == (program.leasing.charges, spent_and_leased(ledger_url))
    assert {1} == set(census(FILES, folder).refused.values())


def test_nothing_in_memory_and_no_lease_is_left_of_what_was_refused(
    program: Program, ledger_url: str, folder: str
) -> None:
    refused(program, folder)
    program.clock.advance(11 * SECOND)
    program.serve()
    assert ({}, {}) == (program.leasing.charges, program.leasing._held)
    assert {("b", ""): (0, CENT)} == spent_and_leased(ledger_url)


def test_a_refused_attempt_counts_once_when_the_ledger_takes_it(program: Program, ledger_url: str, folder: str) -> None:
    _, picky = refused(program, folder)
    program.close()
    picky.is_cured = True
    assert 1 == Drain(Spool(folder, FILES, SystemIds()), FILES, folder, picky).retry()
    assert {("b", ""): (CENT, 0)} == spent_and_leased(ledger_url)
    program.clock.advance(2 * SECOND)
    program.call()
    program.call()
    program.refused()


def test_what_is_kept_for_one_refused_attempt_is_not_let_go_for_another(
    program: Program, ledger_url: str, folder: str
) -> None:
    first, _ = refused(program, folder)
    refused(program, folder)
    program.close()
    program.writer.write([first], {}, ())
    program.writer.taken([first.id])
    assert {("b", ""): (CENT, CENT)} == spent_and_leased(ledger_url)


def test_setting_an_attempt_aside_twice_keeps_its_cost_once(program: Program, ledger_url: str) -> None:
    attempt = program.end(program.begin())
    program.writer.keep_refused([attempt])
    program.writer.keep_refused([attempt])
    program.close()
    assert {("b", ""): (0, CENT)} == spent_and_leased(ledger_url)


def test_refused_attempts_are_shown_as_one_process(program: Program, ledger_url: str, folder: str) -> None:
    refused(program, folder)
    refused(program, folder)
    program.close()
    with reading_ledger(ledger_url) as reader:
        shown = [(lease.process, lease.amount) for lease in leases_of(reader, "b")]
    assert [(REFUSED, 2 * CENT)] == shown


def test_a_reset_takes_off_what_refused_attempts_cost(program: Program, ledger_url: str, folder: str) -> None:
    refused(program, folder)
    program.close()
    program.writer.reset("b", None, ResetAuthor(NOON + SECOND, "me", "the file is lost"))
    assert {("b", ""): (0, 0)} == spent_and_leased(ledger_url)


def test_a_budget_whose_value_the_ledger_refuses_keeps_no_other_from_it(
    postgres_server: Server, noon: FakeClock
) -> None:
    with postgres_server.database(f"latin_{uuid.uuid4().hex}", encoding="LATIN1") as url:
        program = Program(url, noon, "program", [usd(1, name="all")])
        program.serve()
        attempt = program.end(program.begin(tags='{"customer":"山田"}'))
        program.writer.register([usd(1, name="each", each="tag:customer").rule], NOON)
        program.writer.keep_refused([make_attempt(started_at=NOON, cost=CENT, at_risk=None), attempt])
        program.close()
        assert {("all", ""): (0, 2 * CENT), ("each", ""): (0, CENT)} == spent_and_leased(url)
