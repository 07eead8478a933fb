"""People are told once that a threshold of a budget has been passed."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from pixelmeter.core.budgets.budget import Notice
from tests.budgets.programs import DAY, MINUTE, NANO, PATIENCE, SECOND, Program, budget, rows, thresholds
from tests.conftest import FakeClock
from tests.factories import make_attempt


def test_each_threshold_is_told_once_when_it_is_passed(start: Callable[..., Program], ledger_url: str) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    program.spend(4.99)
    program.settle()
    assert [] == told
    program.spend(0.01)
    program.settle()
    program.spend(0.50)
    program.settle()
    assert ["0.5"] == thresholds(told)
    program.spend(3)
    program.settle()
    program.spend(2)
    program.settle()
    assert ["0.5", "0.8", "1"] == thresholds(told)
    assert [("", 500_000, True), ("", 800_000, True), ("", 1_000_000, True)] == rows(ledger_url)
    assert [] == program.failures


def test_of_several_thresholds_that_are_passed_at_once_the_highest_is_told(
    start: Callable[..., Program], ledger_url: str
) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    program.spend(9)
    program.settle()
    assert ["0.8"] == thresholds(told)
    assert [("", 500_000, True), ("", 800_000, True)] == rows(ledger_url)


def test_what_is_at_risk_counts_as_spent(start: Callable[..., Program]) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    program.spend(0, cost=None, cost_reason="unfinished", cost_source="none", billing="unknown", at_risk=5 * NANO)
    program.settle()
    assert ["0.5"] == thresholds(told)


def test_a_notice_is_a_warning_in_the_log(start: Callable[..., Program], caplog: pytest.LogCaptureFixture) -> None:
    program = start(budget(None))
    with caplog.at_level(logging.WARNING, "pixelmeter"):
        program.spend(5)
        program.settle()
    assert [
        (
            "pixelmeter",
            logging.WARNING,
            "pixelmeter: budget 'images': $5 of $10 spent, 50% passed; it resets at 2026-05-29 00:00 UTC",
        )
    ] == caplog.record_tuples


def test_of_two_programs_over_one_ledger_one_tells(start: Callable[..., Program]) -> None:
    here: list[Notice] = []
    there: list[Notice] = []
    first, second = start(budget(here), name="here"), start(budget(there), name="there")
    for _ in range(11):
        first.spend(0.5)
        second.spend(0.5)
        first.settle()
        second.settle()
    assert ["0.5", "0.8", "1"] == sorted(thresholds(here + there))


def test_two_programs_that_look_at_the_same_time_tell_once(ledger_url: str, clock: FakeClock) -> None:
    told: list[Notice] = []
    names = [f"customer-{number:02}" for number in range(40)]
    programs = [Program(ledger_url, clock, budget(told, each="tag:customer"), name=str(n)) for n in range(2)]
    for program in programs:
        program.leasing.serve(program.writer)
    attempts = [make_attempt(started_at=clock.now(), cost=9 * NANO, tags=f'{{"customer":"{name}"}}') for name in names]
    programs[0].writer.write(attempts, {}, ())
    clock.advance(10 * SECOND)
    at_once = threading.Barrier(2)

    def look(program: Program) -> None:
        at_once.wait(PATIENCE)
        program.notices.changed = True
        program.leasing.serve(program.writer)

    threads = [threading.Thread(target=look, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for program in programs:
        program.settle()
        program.close()
        assert [] == program.failures
    assert names == sorted(notice.value for notice in told)


def test_a_program_that_starts_later_tells_what_was_passed_before(start: Callable[..., Program]) -> None:
    told: list[Notice] = []
    counting = start(budget(None, thresholds=()), name="another version")
    counting.spend(6)
    program = start(budget(told))
    program.settle()
    assert ["0.5"] == thresholds(told)


def test_each_value_has_notices_of_its_own(start: Callable[..., Program]) -> None:
    told: list[Notice] = []
    program = start(budget(told, each="tag:customer"))
    program.spend(6, tags='{"customer":"acme"}')
    program.spend(9, tags='{"customer":"umbrella"}')
    program.spend(1, tags='{"customer":"initech"}')
    program.settle()
    assert [("acme", "0.5"), ("umbrella", "0.8")] == [(one.value, f"{one.threshold:f}") for one in told]


def test_of_very_many_values_all_are_told_though_not_in_one_go(
    start: Callable[..., Program], ledger_url: str, clock: FakeClock
) -> None:
    told: list[Notice] = []
    program = start(budget(told, each="tag:customer"))
    names = [f"customer-{number:03}" for number in range(250)]
    attempts = [make_attempt(started_at=clock.now(), cost=9 * NANO, tags=f'{{"customer":"{name}"}}') for name in names]
    program.writer.write(attempts, {}, ())
    program.look()
    assert 100 == len({value for value, _, _ in rows(ledger_url)})
    for _ in range(3):
        program.settle()
        program.look()
    program.settle()
    assert names == sorted(notice.value for notice in told)


def test_the_next_day_begins_anew(start: Callable[..., Program], clock: FakeClock) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    program.spend(6)
    program.settle()
    clock.advance(DAY)
    program.spend(4)
    program.settle()
    assert ["0.5"] == thresholds(told)
    program.spend(2)
    program.settle()
    assert ["0.5", "0.5"] == thresholds(told)
    assert 2 == len({notice.id for notice in told})
    assert told[0].resets_at == told[1].starts_at


def test_what_a_call_of_the_evening_costs_in_the_end_is_told_after_midnight(
    start: Callable[..., Program], clock: FakeClock
) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    begun = clock.now()
    midnight = budget().rule.span_of(begun).end
    assert midnight is not None
    clock.advance(midnight - begun + MINUTE)
    program.spend(6, started_at=midnight - MINUTE)
    program.settle()
    assert [budget().rule.span_of(begun).end] == [
        int(notice.resets_at.timestamp()) * SECOND for notice in told if notice.resets_at
    ]


def test_what_falls_below_a_threshold_and_passes_it_again_is_not_told_twice(start: Callable[..., Program]) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    program.spend(6)
    program.settle()
    program.spend(-4)
    program.settle()
    program.spend(4)
    program.settle()
    assert ["0.5"] == thresholds(told)


def test_a_threshold_of_a_higher_limit_is_told_when_that_is_passed(start: Callable[..., Program]) -> None:
    told: list[Notice] = []
    before = start(budget(told))
    before.spend(9)
    before.settle()
    program = start(budget(told, usd=20), name="with a higher limit")
    program.look()
    program.settle()
    # 9 of 20 is less than a half.
    program.spend(2)
    program.settle()
    assert [("0.8", 10), ("0.5", 20)] == [(f"{notice.threshold:f}", int(notice.limit)) for notice in told]
    assert 2 == len({notice.id for notice in told})


def test_nothing_is_looked_up_while_nothing_changes_and_never_more_often_than_every_five_seconds(
    start: Callable[..., Program], clock: FakeClock
) -> None:
    told: list[Notice] = []
    program = start(budget(told))
    assert program.look() is None
    clock.advance(3600 * SECOND)
    assert program.look() is None
    program.leasing.committed(())
    program.leasing.serve(program.writer)
    program.writer.write([make_attempt(started_at=clock.now(), cost=6 * NANO)], {}, ())
    assert 5.0 == program.leasing.serve(program.writer)
    program.settle()
    assert [] == told
    clock.advance(5 * SECOND)
    program.leasing.serve(program.writer)
    program.settle()
    assert ["0.5"] == thresholds(told)


def test_a_notice_whose_process_died_before_it_was_sent_is_told_by_another_after_five_minutes(
    start: Callable[..., Program], clock: FakeClock
) -> None:
    never = threading.Event()
    dying = start(budget(None, notify=lambda notice: never.wait(PATIENCE)), name="dying")
    told: list[Notice] = []
    program = start(budget(told))
    dying.spend(6)
    program.leasing.committed(())
    wait = program.look()
    assert wait is not None
    assert 200 < wait <= 300
    program.settle()
    assert [] == told
    clock.advance(int(wait) * SECOND + SECOND)
    program.leasing.serve(program.writer)
    program.settle()
    assert ["0.5"] == thresholds(told)
    clock.advance(10 * MINUTE)
    assert program.look() is None
    never.set()
    assert 1 == len(told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
def test_a_process_that_is_killed_between_claim_and_telling_leaves_the_notice_to_the_next(
    start: Callable[..., Program], ledger_url: str, clock: FakeClock
) -> None:
    child = os.fork()
    if child == 0:
        # In the middle of telling; the claim is committed by then.
        kill = budget(None, notify=lambda notice: os.kill(os.getpid(), signal.SIGKILL))
        with closing(Program(ledger_url, clock, kill, name="killed")) as doomed:
            doomed.leasing.serve(doomed.writer)
            doomed.spend(6)
            doomed.settle()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert signal.SIGKILL == os.WTERMSIG(status)
    assert [("", 500_000, False)] == rows(ledger_url)
    told: list[Notice] = []
    program = start(budget(told))
    program.settle()
    assert [] == told
    clock.advance(6 * MINUTE)
    program.leasing.serve(program.writer)
    program.settle()
    assert ["0.5"] == thresholds(told)
    assert [("", 500_000, True)] == rows(ledger_url)


def test_a_lower_threshold_that_was_left_is_not_told_after_a_higher_one(
    start: Callable[..., Program], clock: FakeClock
) -> None:
    never = threading.Event()
    dying = start(budget(None, notify=lambda notice: never.wait(PATIENCE)), name="dying")
    dying.spend(6)
    told: list[Notice] = []
    program = start(budget(told))
    program.spend(3)
    clock.advance(10 * MINUTE)
    program.look()
    program.settle()
    never.set()
    assert ["0.8"] == thresholds(told)
