"""How far the budgets of a ledger are used up, and what people do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from pixelmeter import Budget
from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Charge, Draw, LeaseKey
from pixelmeter.core.budgets.state import State
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.budget_changes import ResetAuthor, TakenOff
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.reports.budgets import Detail, Overview, detail, overviews, planned, resets_of_attempts
from tests.factories import STARTED_AT, make_attempt

DAY = 86_400_000_000
USD = 1_000_000_000
MAY = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
JUNE = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000
MONTH = Budget(10, name="month", action="block").rule
TEAMS = Budget(5, per="day", name="teams", each="tag:team").rule
ANN = ResetAuthor(STARTED_AT + 1, "ann", "a wrong price")


class Charged:
    """What attempts of a process have taken of its leases."""

    process = "here-1"

    def __init__(self) -> None:
        self.charges: list[Charge] = []

    def of(self, ids: Any) -> list[Charge]:
        return self.charges if list(ids) else []

    def committed(self, ids: Any) -> None:
        self.charges = []


@pytest.fixture
def charged() -> Charged:
    """What `writer` charges the leases of its process when it writes an attempt."""
    return Charged()


@pytest.fixture
def writer(ledger_url: str, charged: Charged) -> Iterator[LedgerWriter]:
    """A writer of an empty ledger."""
    with closing(open_writer(ledger_url, charges=charged)) as opened:
        yield opened


def _register(writer: LedgerWriter, *rules: Rule) -> None:
    writer.register(rules, STARTED_AT)


def _draw(writer: LedgerWriter, rule: Rule, amount: int, *, value: str = "", process: str = "here-1") -> LeaseKey:
    key = LeaseKey(rule.name, value, rule.span_of(STARTED_AT).start)
    [drawn] = writer.draw(process, [Draw(key, rule.limit, amount, amount, amount, amount)], STARTED_AT)
    assert drawn.amount == amount
    return key


def _overviews(url: str, at: int = STARTED_AT, **wanted: Any) -> list[Overview]:
    with reading_ledger(url) as reader:
        return overviews(reader, at, **wanted)


def _detail(url: str, name: str, at: int = STARTED_AT, **wanted: Any) -> Detail:
    with reading_ledger(url) as reader:
        return detail(reader, name, at, **wanted)


def _only(url: str, at: int = STARTED_AT) -> State:
    [overview] = _overviews(url, at)
    [state] = overview.states
    return state


def test_a_budget_towards_which_nothing_counted_is_not_used_at_all(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)

    [overview] = _overviews(ledger_url)

    assert (overview.rule, overview.is_active, overview.values, overview.used_up) == (MONTH, True, 1, 0)
    assert overview.states == [State(rule=MONTH, value="", span=MONTH.span_of(STARTED_AT), at=STARTED_AT)]
    assert (overview.span.start, overview.span.end) == (MAY, JUNE)


def test_cost_and_what_is_at_risk_are_spent_and_leases_are_reserved(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    writer.write(
        [
            make_attempt(cost=3 * USD),
            make_attempt(cost=None, outcome="timeout", billing="unknown", at_risk=USD),
            make_attempt(outcome="blocked", billing="not_billed", cost=0, status=None, duration=0),
            make_attempt(cost=7 * USD, byok=True),
        ],
        {},
        [],
    )
    _draw(writer, MONTH, 2 * USD)

    state = _only(ledger_url)

    assert (state.cost, state.at_risk, state.spent, state.reserved, state.room) == (
        3 * USD,
        USD,
        4 * USD,
        2 * USD,
        4 * USD,
    )
    assert (state.attempts, state.blocked, state.unknown_cost_attempts, state.leases) == (2, 1, 1, 1)
    assert state.used == 0.4
    assert not state.is_used_up


def test_what_was_spent_at_the_same_rate_to_the_end_is_the_forecast(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    writer.write([make_attempt(cost=3 * USD)], {}, [])

    assert _only(ledger_url, at=MAY + 31 * DAY // 4).forecast == 12 * USD
    assert _only(ledger_url, at=MAY + DAY).forecast is None, "a day says nothing of a month"


def test_a_budget_for_good_has_no_forecast_and_no_end(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, Budget(10, per="total", name="for good").rule)
    writer.write([make_attempt(cost=3 * USD)], {}, [])

    state = _only(ledger_url, at=STARTED_AT + 400 * DAY)

    assert (state.spent, state.forecast, state.span.end) == (3 * USD, None, None)


def test_cost_that_is_not_known_is_not_nothing(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    writer.write([make_attempt(cost=None, cost_reason="no_price")], {}, [])

    state = _only(ledger_url)

    assert (state.known_cost, state.known_at_risk, state.unknown_cost_attempts) == (None, None, 1)
    assert state.spent == 0


def test_a_limit_of_nothing_is_used_up_and_has_no_share(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, Budget(0, name="stop").rule)

    state = _only(ledger_url)

    assert state.is_used_up
    assert state.used is None


def test_what_attempts_cost_beyond_their_reservation_is_overrun(
    writer: LedgerWriter, charged: Charged, ledger_url: str
) -> None:
    _register(writer, MONTH)
    key = _draw(writer, MONTH, 2 * USD)
    charged.charges = [Charge(key, 2 * USD, USD)]
    writer.write([make_attempt(cost=3 * USD)], {}, [])

    state = _only(ledger_url)

    assert (state.overrun, state.overruns, state.spent, state.reserved) == (USD, 1, 3 * USD, 0)


def test_the_value_that_is_used_most_is_first_and_all_are_counted(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, TEAMS)
    teams = {"art": 2, "growth": 6, "": 3, "shop": 5}
    writer.write(
        [
            make_attempt(cost=usd * USD, tags=f'{{"team":"{team}"}}' if team else '{"feature":"x"}')
            for team, usd in teams.items()
        ],
        {},
        [],
    )

    [all_of_them] = _overviews(ledger_url)
    [first] = _overviews(ledger_url, values=1)

    assert [state.value for state in all_of_them.states] == ["growth", "shop", "", "art"]
    assert [state.value for state in first.states] == ["growth"]
    assert (first.values, first.used_up) == (4, 2)


def test_of_values_that_have_spent_the_same_the_one_with_more_reserved_is_first(
    writer: LedgerWriter, ledger_url: str
) -> None:
    _register(writer, TEAMS)
    for number, team in enumerate(("art", "growth", "shop")):
        writer.write([make_attempt(cost=USD, tags=f'{{"team":"{team}"}}')], {}, [])
        _draw(writer, TEAMS, (2, 3, 1)[number] * USD, value=team)

    [overview] = _overviews(ledger_url)

    assert ["growth", "art", "shop"] == [state.value for state in overview.states]


def test_a_budget_for_each_value_has_none_before_the_first_attempt(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, TEAMS)

    [overview] = _overviews(ledger_url)

    assert (overview.values, overview.used_up, overview.states) == (0, 0, [])


def test_a_reset_takes_off_what_is_spent_and_leaves_leases(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    writer.write([make_attempt(cost=3 * USD), make_attempt(cost=None, billing="unknown", at_risk=USD)], {}, [])
    _draw(writer, MONTH, 2 * USD)

    assert writer.reset("month", None, ANN) == [TakenOff("", 4 * USD)]

    state = _only(ledger_url)
    assert (state.spent, state.cost, state.at_risk, state.credited) == (0, 3 * USD, USD, 4 * USD)
    assert (state.reserved, state.room, state.resets) == (2 * USD, 8 * USD, 1)
    [made] = _detail(ledger_url, "month").resets
    assert (made.budget, made.amount, made.made_at, made.made_by, made.why) == (
        "month", 4 * USD, ANN.at, "ann", "a wrong price",
    )  # fmt: skip


def test_the_next_draw_sees_the_room_of_a_reset(writer: LedgerWriter) -> None:
    _register(writer, MONTH)
    writer.write([make_attempt(cost=10 * USD)], {}, [])
    key = LeaseKey("month", "", MAY)
    [before] = writer.draw("here-1", [Draw(key, MONTH.limit, 1, USD, USD, USD)], STARTED_AT)

    writer.reset("month", None, ANN)
    [after] = writer.draw("here-1", [Draw(key, MONTH.limit, 1, USD, USD, USD)], STARTED_AT)

    assert (before.amount, after.amount) == (0, USD)


def test_a_second_reset_takes_off_what_came_after_the_first(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    writer.write([make_attempt(cost=3 * USD)], {}, [])
    writer.reset("month", None, ANN)
    assert writer.reset("month", None, ANN) == [], "nothing is spent"
    writer.write([make_attempt(cost=USD)], {}, [])

    assert writer.reset("month", None, ANN) == [TakenOff("", USD)]

    assert [reset.amount for reset in _detail(ledger_url, "month").resets] == [3 * USD, USD]
    assert _only(ledger_url).spent == 0


def test_a_reset_is_of_one_value_or_of_all(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, TEAMS)
    teams = {"art": 2, "growth": 3}
    writer.write([make_attempt(cost=usd * USD, tags=f'{{"team":"{team}"}}') for team, usd in teams.items()], {}, [])

    assert writer.reset("teams", "art", ANN) == [TakenOff("art", 2 * USD)]
    assert [(state.value, state.spent) for state in _overviews(ledger_url)[0].states] == [
        ("growth", 3 * USD),
        ("art", 0),
    ]
    assert writer.reset("teams", "nobody", ANN) == []
    assert writer.reset("teams", None, ANN) == [TakenOff("growth", 3 * USD)]


def test_spans_before_stay_as_they_were_when_the_present_one_is_reset(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, TEAMS)
    writer.write([make_attempt(cost=USD), make_attempt(cost=2 * USD, started_at=STARTED_AT + DAY)], {}, [])

    writer.reset("teams", None, ANN._replace(at=STARTED_AT + DAY))

    found = _detail(ledger_url, "teams", STARTED_AT + DAY)
    assert [state.spent for state in found.overview.states] == [0]
    assert [(state.span, state.spent) for state in found.earlier] == [(TEAMS.span_of(STARTED_AT), USD)]


def test_a_budget_that_is_not_there_cannot_be_reset(writer: LedgerWriter) -> None:
    _register(writer, MONTH)

    with pytest.raises(ConfigError, match="no budget 'year'"):
        writer.reset("year", None, ANN)


def test_nothing_counts_towards_a_budget_that_was_removed_and_what_it_had_stays(
    writer: LedgerWriter, ledger_url: str
) -> None:
    _register(writer, MONTH, TEAMS)
    writer.write([make_attempt(cost=USD)], {}, [])

    assert writer.remove("month", STARTED_AT)
    assert not writer.remove("month", STARTED_AT), "it is gone already"
    writer.write([make_attempt(cost=USD)], {}, [])

    assert [overview.rule.name for overview in _overviews(ledger_url)] == ["teams"]
    month, teams = _overviews(ledger_url, with_removed=True)
    assert (month.is_active, month.states[0].spent) == (False, USD)
    assert (teams.is_active, teams.states[0].spent) == (True, 2 * USD)


def test_other_writers_count_towards_a_removed_budget_no_more(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    with closing(open_writer(ledger_url)) as other:
        other.write([make_attempt(cost=USD)], {}, [])
        writer.remove("month", STARTED_AT)
        other.write([make_attempt(cost=USD)], {}, [])

    [month] = _overviews(ledger_url, with_removed=True)
    assert month.states[0].spent == USD


def test_a_budget_that_comes_back_has_all_that_was_spent_meanwhile(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, MONTH)
    writer.write([make_attempt(cost=USD)], {}, [])
    writer.remove("month", STARTED_AT)
    writer.write([make_attempt(cost=USD)], {}, [])

    _register(writer, MONTH)

    assert _only(ledger_url).spent == 2 * USD


def test_the_detail_of_a_budget_has_its_leases_by_process(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, TEAMS)
    _draw(writer, TEAMS, USD, value="art", process="a-1")
    _draw(writer, TEAMS, 2 * USD, value="art", process="b-2")
    _draw(writer, TEAMS, USD, value="growth", process="b-2")

    found = _detail(ledger_url, "teams", value="art")

    assert [(lease.process, lease.amount, lease.renewed_at) for lease in found.leases] == [
        ("a-1", USD, STARTED_AT),
        ("b-2", 2 * USD, STARTED_AT),
    ]
    assert found.overview.states[0].leases == 2


def test_budgets_that_a_ledger_does_not_have_are_told_what_they_would_count(
    writer: LedgerWriter, ledger_url: str
) -> None:
    attempts = [
        make_attempt(cost=USD, tags='{"team":"art"}'),
        make_attempt(cost=2 * USD, tags='{"team":"growth"}'),
        make_attempt(cost=4 * USD, tags='{"team":"growth"}', started_at=STARTED_AT - DAY),
    ]
    writer.write(attempts, {}, [])

    with reading_ledger(ledger_url) as reader:
        of_teams, of_art, of_none = planned(
            reader,
            [TEAMS, Budget(1, scope={"tags": {"team": "a*"}}).rule, Budget(1, scope={"model": "none"}).rule],
            STARTED_AT,
        )

    assert [(state.value, state.spent) for state in of_teams.states] == [("growth", 2 * USD), ("art", USD)]
    assert [state.spent for state in of_art.states] == [USD]
    assert [(state.spent, state.attempts) for state in of_none.states] == [(0, 0)]


def test_what_becomes_of_a_budget_of_a_file_is_told_before_it_is_used(writer: LedgerWriter, ledger_url: str) -> None:
    gone, edits = Budget(1, name="gone").rule, Budget(3, name="edits").rule
    _register(writer, MONTH, TEAMS, gone, edits)
    writer.remove("gone", STARTED_AT)
    file = [
        MONTH,
        Budget(7, per="day", name="teams", each="tag:team").rule,
        Budget(3, name="edits", scope={"operation": "edit"}).rule,
        gone,
        Budget(1, name="fresh").rule,
    ]

    with reading_ledger(ledger_url) as reader:
        found = planned(reader, file, STARTED_AT)

    assert ["as it is", "changed", "begins anew", "new", "new"] == [one.ledger for one in found]


def test_an_attempt_has_the_resets_that_were_made_after_it_in_its_span(writer: LedgerWriter, ledger_url: str) -> None:
    _register(writer, TEAMS)
    art, growth, late, next_day = attempts = [
        make_attempt(tags='{"team":"art"}'),
        make_attempt(tags='{"team":"growth"}'),
        make_attempt(tags='{"team":"art"}', started_at=STARTED_AT + 10),
        make_attempt(tags='{"team":"art"}', started_at=STARTED_AT + DAY),
    ]
    own_key = make_attempt(tags='{"team":"art"}', byok=True)
    writer.write([*attempts, own_key], {}, [])
    writer.reset("teams", "art", ANN)

    with reading_ledger(ledger_url) as reader:
        found = resets_of_attempts(reader, [*attempts, own_key])

    assert [reset.why for reset in found[art.id]] == ["a wrong price"]
    assert not {growth.id, late.id, next_day.id, own_key.id} & set(found)
