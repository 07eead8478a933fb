"""Calls under budgets, step by step: the writer serves when it is told to, and the clock goes when it is moved."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pixelmeter.budgets.admission import WAIT_SECONDS, Admission, Reservation
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.budgets.spender import Ask
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.errors import BudgetExceeded, LedgerError
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.budgets.programs import NOON
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.postgres import Server

USD = 1_000_000_000
CENT = USD // 100
SECOND = 1_000_000
MIDNIGHT = NOON + 12 * 3600 * SECOND


class Program:
    """A process that makes calls under budgets; its writer works when it is told to."""

    def __init__(self, url: str, clock: FakeClock, name: str, budgets: list[Budget]) -> None:
        self.clock = clock
        self.name = name
        self.leasing = Leasing(budgets, clock=clock, process=lambda: name)
        self.admission = Admission(budgets, self.leasing, clock)
        self.writer = open_writer(url, charges=self.leasing)
        self.asked = 0

    def begin(self, at_risk: int | None = CENT, **fields: Any) -> tuple[Attempt, Reservation | None]:
        """Begin a call that may cost so much, and have the writer answer where it asks."""
        fields = {"tags": "{}", **fields, "at_risk": at_risk, "cost": None}
        intent = make_attempt(started_at=self.clock.now(), outcome="interrupted", billing="unknown", **fields)
        steps = self.admission.admit(intent)
        try:
            while True:
                next(steps)
                self.asked += 1
                self.serve()
        except StopIteration as end:
            return intent, end.value

    def end(self, begun: tuple[Attempt, Reservation | None], cost: int | None = CENT, **fields: Any) -> Attempt:
        """End a call, without writing it yet."""
        intent, reservation = begun
        at_risk = intent.at_risk if cost is None else None
        kept = {
            name: getattr(intent, name) for name in ("id", "started_at", "gateway", "requested_model", "tags", "byok")
        }
        attempt = make_attempt(**{**kept, "cost": cost, "at_risk": at_risk, **fields})
        if reservation is not None:
            self.admission.settle(reservation, attempt)
        return attempt

    def call(self, cost: int | None = CENT, at_risk: int | None = CENT, **fields: Any) -> Attempt:
        """Make a call, and write its row."""
        attempt = self.end(self.begin(at_risk, **fields), cost)
        self.write(attempt)
        return attempt

    def write(self, *attempts: Attempt) -> None:
        self.writer.write(attempts, {}, [])

    def serve(self) -> None:
        """Have the writer serve, as its thread does; what the ledger says no to is told to those who wait."""
        with suppress(LedgerError):
            self.leasing.serve(self.writer)

    def refused(self, **fields: Any) -> BudgetExceeded:
        """Return what a call is refused with."""
        with pytest.raises(BudgetExceeded) as raised:
            self.begin(**fields)
        return raised.value

    def close(self) -> None:
        self.leasing.close(self.writer)
        self.writer.close()


Start = Callable[..., Program]


@pytest.fixture
def start(ledger_url: str, noon: FakeClock) -> Iterator[Start]:
    """Starts programs over one ledger."""
    programs: list[Program] = []

    def start(*budgets: Budget, name: str | None = None, url: str = ledger_url) -> Program:
        programs.append(Program(url, noon, name or f"program-{len(programs)}", list(budgets)))
        return programs[-1]

    yield start
    for program in programs:
        program.writer.close()


def usd(amount: str | int, **options: Any) -> Budget:
    """Return a budget that refuses calls."""
    return Budget(amount, **{"per": "day", "action": "block", "on_unavailable": "block", **options})


def spent_and_leased(url: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Return what is spent and leased of each budget and value."""
    with reading_ledger(url) as reader:
        rows = reader.rows("SELECT budget, value, cost + at_risk, leased FROM pixelmeter_budget_sums")
        leases = reader.rows("SELECT budget, value, sum(amount) FROM pixelmeter_budget_leases GROUP BY budget, value")
    assert {(budget, value): leased for budget, value, _, leased in rows if leased} == {
        (budget, value): int(amount) for budget, value, amount in leases if amount
    }
    return {(budget, value): (spent, leased) for budget, value, spent, leased in rows}


def test_exactly_as_many_calls_go_as_the_budget_has(start: Start, ledger_url: str) -> None:
    program = start(usd("0.25", name="b"))
    for _ in range(25):
        program.call()
    refused = program.refused()
    assert ("b", "limit", Decimal("0.25")) == (refused.budget, refused.reason, refused.limit)
    assert datetime(2026, 5, 30, tzinfo=UTC) == refused.resets_at
    assert refused.spent is not None
    assert refused.reserved is not None
    assert (Decimal("0.25"), Decimal("0.01")) == (refused.spent + refused.reserved, refused.needed)
    assert {("b", ""): (25 * CENT, 0)} == spent_and_leased(ledger_url)


def test_a_call_with_a_lease_in_hand_asks_nobody(start: Start) -> None:
    program = start(usd(10))
    for _ in range(20):
        program.call()
    assert 1 == program.asked


def test_what_a_call_did_not_cost_is_there_for_the_next_one(start: Start, ledger_url: str) -> None:
    program = start(usd("0.10", name="b"))
    for _ in range(10):
        program.call(cost=CENT // 2, at_risk=2 * CENT)
    assert 5 * CENT == spent_and_leased(ledger_url)["b", ""][0]
    program.call(at_risk=5 * CENT)


def test_a_call_of_unknown_outcome_keeps_its_reservation(start: Start, ledger_url: str) -> None:
    program = start(usd("0.03", name="b"))
    for _ in range(3):
        program.call(cost=None)
    assert {("b", ""): (3 * CENT, 0)} == spent_and_leased(ledger_url)
    assert "limit" == program.refused().reason


def test_calls_under_way_count(start: Start) -> None:
    program = start(usd("0.03"))
    begun = [program.begin() for _ in range(3)]
    assert "limit" == program.refused().reason
    program.write(program.end(begun[0], cost=0))
    program.clock.advance(2 * SECOND)
    program.begin()


@pytest.mark.slow
def test_programs_share_a_budget_and_never_go_beyond_it(start: Start, ledger_url: str) -> None:
    programs = [start(usd("1", name="b")) for _ in range(3)]
    calls = 0
    for turn in range(150):
        program = programs[turn % 3]
        try:
            program.call()
            calls += 1
        except BudgetExceeded:
            pass
        spent, leased = spent_and_leased(ledger_url)["b", ""]
        assert spent + leased <= USD
    assert 95 <= calls <= 100


def test_an_idle_lease_goes_back(start: Start, ledger_url: str) -> None:
    one, other = start(usd("1", name="b")), start(usd("1", name="b"))
    one.call()
    assert "limit" == other.refused(at_risk=USD - CENT).reason
    one.clock.advance(11 * SECOND)
    one.serve()
    assert {("b", ""): (CENT, 0)} == spent_and_leased(ledger_url)
    other.begin(at_risk=USD - CENT)


def test_a_lease_goes_back_at_the_end_of_the_program(start: Start, ledger_url: str) -> None:
    program = start(usd("1", name="b"))
    under_way = program.begin()
    program.call()
    program.close()
    assert {("b", ""): (CENT, CENT)} == spent_and_leased(ledger_url)
    program.write(program.end(under_way))
    program.close()
    assert {("b", ""): (2 * CENT, 0)} == spent_and_leased(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert [] == reader.rows("SELECT * FROM pixelmeter_budget_leases")


def test_a_new_day_has_a_new_budget_and_a_late_end_counts_on_its_own_day(start: Start, noon: FakeClock) -> None:
    program = start(usd("0.02"))
    noon.set(MIDNIGHT - 1)
    late = program.begin()
    program.call()
    program.refused()
    noon.set(MIDNIGHT)
    program.call()
    program.write(program.end(late))
    program.call()
    program.refused()


def test_a_clock_that_goes_back_over_midnight_takes_from_the_day_before(start: Start, noon: FakeClock) -> None:
    program = start(usd("0.02"))
    noon.set(MIDNIGHT - 1)
    program.call()
    noon.set(MIDNIGHT)
    program.call()
    noon.set(MIDNIGHT - 1)
    program.call()
    program.refused()
    noon.set(MIDNIGHT + 2 * SECOND)
    program.call()
    program.refused()


@pytest.mark.parametrize(("hours", "day"), [(23, "2026-03-29"), (25, "2026-10-25"), (24, "2026-10-26")])
def test_a_day_is_as_long_as_its_zone_has_it(start: Start, noon: FakeClock, hours: int, day: str) -> None:
    begin = int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * SECOND
    program = start(usd("0.01", tz="Europe/Berlin"))
    noon.set(begin)
    program.call()
    noon.set(begin + hours * 3600 * SECOND - 1)
    refused = program.refused()
    assert refused.resets_at is not None
    assert begin + hours * 3600 * SECOND == refused.resets_at.timestamp() * SECOND
    noon.set(begin + hours * 3600 * SECOND)
    program.call()


@pytest.mark.parametrize("leave", ["allow", "block"])
def test_without_a_ledger_the_budget_decides(start: Start, leave: str, noon: FakeClock) -> None:
    budget = usd(1, on_unavailable=leave)
    program = start(budget, url="postgresql://nobody@127.0.0.1:1/nowhere")
    if leave == "allow":
        assert not program.begin()[1].leases  # type: ignore[union-attr]
        program.begin()
    else:
        assert "unavailable" == program.refused().reason
        assert "unavailable" == program.refused().reason
    # The second one did not wait to find out.
    assert 1 == program.asked
    noon.advance(2 * SECOND)
    if leave == "allow":
        program.begin()
    else:
        program.refused()
    assert 2 == program.asked


def test_a_call_that_nobody_answers_gives_up_and_nothing_is_lost(start: Start, ledger_url: str) -> None:
    program = start(usd("0.02", name="b"))
    steps = program.admission.admit(make_attempt(started_at=NOON, at_risk=CENT, cost=None))
    next(steps)
    with pytest.raises(BudgetExceeded, match="does not answer"):
        next(steps)
    program.serve()
    program.clock.advance(2 * SECOND)
    program.call()
    program.call()
    assert {("b", ""): (2 * CENT, 0)} == spent_and_leased(ledger_url)


@pytest.mark.parametrize("answered", [True, False])
def test_a_call_that_is_cancelled_while_it_waits_holds_nothing(start: Start, answered: bool) -> None:
    program = start(usd("0.01"))
    steps = program.admission.admit(make_attempt(started_at=NOON, at_risk=CENT, cost=None))
    next(steps)
    if answered:
        program.serve()
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    program.serve()
    program.call()


def test_a_call_that_gives_up_just_when_it_is_answered_holds_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = start(usd("0.01"))
    steps = program.admission.admit(make_attempt(started_at=NOON, at_risk=CENT, cost=None))
    next(steps)
    close = Ask._close

    def close_and_be_slow(ask: Ask) -> bool:
        monkeypatch.setattr(Ask, "_close", close)
        is_first = close(ask)
        with pytest.raises(KeyboardInterrupt):
            steps.throw(KeyboardInterrupt())
        return is_first

    monkeypatch.setattr(Ask, "_close", close_and_be_slow)
    program.serve()
    program.call()


def test_calls_without_a_price_go_while_there_is_anything_left_or_not_at_all(start: Start) -> None:
    program = start(usd("0.01", name="open"))
    program.begin(at_risk=None)
    program.call(at_risk=CENT - 1, cost=CENT)
    program.clock.advance(2 * SECOND)
    assert "limit" == program.refused(at_risk=None).reason
    strict = start(usd(1, name="strict", unpriced="block"))
    assert "unpriced" == strict.refused(at_risk=None).reason
    strict.call()


def test_a_call_that_is_free_goes_when_all_is_spent(start: Start) -> None:
    program = start(usd("0.01"))
    program.call()
    program.refused()
    program.call(at_risk=0, cost=0)


def test_a_call_with_its_own_key_does_not_count(start: Start) -> None:
    program = start(usd("0.01"))
    for _ in range(3):
        program.call(byok=True)
    program.call()


def test_what_a_call_costs_beyond_its_reservation_is_counted_and_kept_apart(start: Start, ledger_url: str) -> None:
    program = start(usd("0.10", name="b"))
    for cost in (CENT, 4 * CENT, 3 * CENT):
        program.call(cost=cost)
    with reading_ledger(ledger_url) as reader:
        [row] = reader.rows("SELECT cost, overrun, overruns FROM pixelmeter_budget_sums")
    assert (8 * CENT, 5 * CENT, 2) == tuple(row)
    program.call()
    program.call()
    program.refused()


def test_each_value_of_a_tag_has_a_budget_of_its_own(start: Start) -> None:
    program = start(usd("0.01", each="tag:customer"))
    program.call(tags='{"customer":"a"}')
    program.call(tags='{"customer":"b","team":"x"}')
    program.call()
    assert "a" == program.refused(tags='{"customer":"a"}').value
    assert "" == program.refused(tags='{"team":"y"}').value
    program.call(tags='{"customer":"c"}')


def test_a_call_that_one_of_its_budgets_refuses_takes_nothing_of_the_others(start: Start, ledger_url: str) -> None:
    large, small = usd("0.05", name="large"), usd("0.01", name="small", scope={"model": "meta/*"})
    program = start(large, small)
    program.call(requested_model="meta/sam")
    for _ in range(5):
        assert "small" == program.refused(requested_model="meta/sam").budget
    for _ in range(4):
        program.call()
    assert "large" == program.refused().budget
    assert {("large", ""): (5 * CENT, 0), ("small", ""): (CENT, 0)} == spent_and_leased(ledger_url)


def test_an_answer_may_tell_that_an_attempt_is_of_another_budget(start: Start, ledger_url: str) -> None:
    program = start(usd("0.05", name="b", scope={"gateway": "aigateway"}))
    begun = program.begin(gateway="aigateway")
    program.write(program.end(begun, gateway="openrouter"))
    assert (0, 5 * CENT) != spent_and_leased(ledger_url)["b", ""]
    for _ in range(5):
        program.call(gateway="aigateway")


def test_what_a_dead_program_held_comes_back_when_its_spool_is_taken_in(start: Start, ledger_url: str) -> None:
    dead, heir = start(usd("0.03", name="b"), name="dead"), start(usd("0.03", name="b"))
    intent, _ = dead.begin()
    dead.call()
    assert "limit" == heir.refused(at_risk=2 * CENT).reason
    # As its spool says: one call has ended, the other one was interrupted.
    heir.writer.write([intent], {}, ["dead-000001.spool"])
    assert {("b", ""): (2 * CENT, 0)} == spent_and_leased(ledger_url)
    heir.clock.advance(2 * SECOND)
    heir.call()
    heir.refused()


def test_a_program_that_is_gone_with_its_spool_holds_its_lease_for_an_hour(start: Start) -> None:
    gone, other = start(usd("0.02")), start(usd("0.02"))
    gone.begin()
    gone.begin()
    other.refused()
    other.clock.advance(59 * 60 * SECOND)
    other.refused()
    other.clock.advance(3 * 60 * SECOND)
    other.call()
    other.call()


def test_a_program_that_slept_does_not_take_from_a_lease_that_may_be_gone(start: Start, ledger_url: str) -> None:
    asleep, other = start(usd("0.40", name="b")), start(usd("0.40", name="b"))
    asleep.call()
    asleep.clock.advance(61 * 60 * SECOND)
    other.refused(at_risk=USD)
    other.call(at_risk=39 * CENT, cost=39 * CENT)
    asleep.refused()
    assert {("b", ""): (40 * CENT, 0)} == spent_and_leased(ledger_url)


def test_another_limit_holds_for_programs_that_run_from_their_next_draw_on(start: Start) -> None:
    old = start(usd("0.01", name="b"))
    old.call()
    old.refused()
    new = start(usd("0.02", name="b"))
    new.begin(at_risk=1)
    old.clock.advance(2 * SECOND)
    old.begin(at_risk=CENT // 2)
    start(usd("0.005", name="b")).serve()
    old.clock.advance(2 * SECOND)
    assert Decimal("0.005") == old.refused(at_risk=CENT // 2).limit


def test_a_forked_child_has_nothing_of_its_parents_leases(start: Start) -> None:
    program = start(usd("0.03", name="b"))
    begun = program.begin()
    program.leasing.forget()
    program.end(begun)
    assert not program.leasing.of([begun[0].id])
    program.begin()
    assert 2 == program.asked


def test_rows_that_are_written_twice_are_charged_once(start: Start, ledger_url: str) -> None:
    program = start(usd("0.05", name="b"))
    attempt = program.end(program.begin())
    program.write(attempt)
    program.write(attempt)
    start().write(attempt)
    spent, _ = spent_and_leased(ledger_url)["b", ""]
    assert CENT == spent
    for _ in range(4):
        program.call()
    program.refused()


@pytest.mark.slow
def test_many_customers_take_no_memory_for_good(start: Start) -> None:
    program = start(usd("0.02", each="tag:customer"))
    for customer in range(1100):
        program.begin(tags=f'{{"customer":"{customer}"}}')
    program.clock.advance(11 * SECOND)
    program.serve()
    assert 0 == len(program.leasing._spenders)
    # What is known of those whose calls are still under way is asked anew.
    program.begin(tags='{"customer":"7"}')
    program.refused(tags='{"customer":"7"}')


def test_a_call_waits_for_all_its_budgets_together(start: Start, noon: FakeClock) -> None:
    program = start(*(usd(1, name=f"b{number}", on_unavailable="allow") for number in range(20)))
    steps = program.admission.admit(make_attempt(started_at=NOON, at_risk=CENT, cost=None))
    waited = 0.0
    with pytest.raises(StopIteration):
        while True:
            patience = next(steps).patience
            waited += patience
            noon.advance(int(patience * SECOND))
    assert WAIT_SECONDS == pytest.approx(waited)


def test_a_call_under_twenty_budgets_asks_the_ledger_once(start: Start, ledger_url: str) -> None:
    program = start(*(usd(1, name=f"b{number}") for number in range(20)))
    program.call()
    assert 1 == program.asked
    assert {CENT} == {spent for spent, _ in spent_and_leased(ledger_url).values()}


def test_what_was_under_way_when_a_budget_was_set_anew_is_paid_out_of_its_own_lease(
    start: Start, ledger_url: str
) -> None:
    before = start(usd(10, name="b"))
    under_way = before.begin(at_risk=USD)
    other = start(usd(10, name="b", scope={"gateway": "*"}))
    other.serve()
    before.clock.advance(61 * SECOND)
    before.serve()
    before.begin(at_risk=8 * USD)
    before.write(before.end(under_way, cost=USD))
    assert {("b", ""): USD} == {key: spent for key, (spent, _) in spent_and_leased(ledger_url).items()}
    before.clock.advance(2 * SECOND)
    assert "limit" == other.refused(at_risk=USD + 1).reason


@pytest.mark.parametrize("first", ["serves", "draws"])
def test_a_lease_that_was_ended_by_time_does_not_live_on_in_its_program(start: Start, first: str) -> None:
    asleep, other = start(usd(10, name="b")), start(usd(10, name="b"))
    under_way = asleep.begin(at_risk=4 * USD)
    asleep.clock.advance(61 * 60 * SECOND)
    other.call(at_risk=9 * USD, cost=0)
    asleep.clock.advance(11 * SECOND)
    other.serve()
    if first == "serves":
        asleep.serve()
    else:
        asleep.begin(at_risk=4 * USD)
    asleep.write(asleep.end(under_way, cost=0))
    asleep.serve()
    if first == "serves":
        other.begin(at_risk=10 * USD)
    else:
        other.begin(at_risk=5 * USD)
    other.clock.advance(2 * SECOND)
    assert "limit" == asleep.refused(at_risk=USD).reason


def test_what_calls_give_back_to_a_lease_that_was_ended_by_time_nobody_takes(start: Start) -> None:
    asleep, other = start(usd(10, name="b")), start(usd(10, name="b"))
    under_way = asleep.begin(at_risk=4 * USD)
    asleep.clock.advance(61 * 60 * SECOND)
    other.begin(at_risk=10 * USD)
    asleep.serve()
    asleep.end(under_way, cost=0)
    assert "limit" == asleep.refused(at_risk=4 * USD).reason


def test_a_busy_program_has_more_in_hand_before_its_calls_need_it(start: Start) -> None:
    program = start(usd(10))
    for _ in range(200):
        program.call()
        program.serve()
    assert 1 == program.asked


def test_what_a_call_that_gave_up_had_asked_for_is_not_drawn(start: Start, ledger_url: str) -> None:
    program = start(usd("0.02", name="b"))
    steps = program.admission.admit(make_attempt(started_at=NOON, at_risk=CENT, cost=None))
    next(steps)
    steps.close()
    program.serve()
    assert {} == spent_and_leased(ledger_url)


def test_a_program_that_has_closed_draws_nothing_until_a_call_asks(start: Start, ledger_url: str) -> None:
    program = start(usd(1, name="b"))
    program.call()
    program.leasing.close(program.writer)
    program.serve()
    assert {("b", ""): (CENT, 0)} == spent_and_leased(ledger_url)
    program.call()
    program.serve()
    assert spent_and_leased(ledger_url)["b", ""][1] > 0


def test_an_answer_that_comes_as_a_call_gives_up_is_still_the_calls(
    start: Start, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = start(usd("0.02", name="b"))
    intent = make_attempt(started_at=NOON, at_risk=CENT, cost=None, tags="{}")
    steps = program.admission.admit(intent)
    next(steps)
    reserved: list[Reservation] = []

    def resume(_: Ask) -> None:
        with pytest.raises(StopIteration) as end:
            next(steps)
        reserved.append(end.value.value)

    monkeypatch.setattr(Ask, "end", resume)
    program.serve()
    [reservation] = reserved
    program.admission.release(reservation)
    program.close()
    assert {("b", ""): (0, 0)} == spent_and_leased(ledger_url)


def test_a_value_that_the_ledger_refuses_holds_up_nobody_else(postgres_server: Server, noon: FakeClock) -> None:
    with postgres_server.database(f"latin_{uuid.uuid4().hex}", encoding="LATIN1") as url:
        program = Program(url, noon, "program", [usd(1, name="b", each="tag:customer")])
        program.serve()
        intents = [
            make_attempt(started_at=NOON, at_risk=CENT, cost=None, tags=f'{{"customer":"{customer}"}}')
            for customer in ("山田", "smith")
        ]
        calls = [program.admission.admit(intent) for intent in intents]
        for call in calls:
            next(call)
        program.serve()
        with pytest.raises(BudgetExceeded, match="does not answer"):
            next(calls[0])
        with pytest.raises(StopIteration) as end:
            next(calls[1])
        assert end.value.value.leases
        program.close()
