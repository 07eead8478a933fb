"""The same questions to SQLite, to PostgreSQL and to Python must have the same answers."""

from __future__ import annotations

import dataclasses
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import uuid_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.columns import COLUMNS, OF_PROGRAMS, OF_TABLES, as_json
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.core.reporting.periods import name_of
from pixelmeter.core.reporting.report import ERRORS, Group, Report, is_period, summarise, tag_of
from pixelmeter.ledger.attempts import attempts, attempts_of, identities
from pixelmeter.ledger.grouping import cost_by_period, grouped
from pixelmeter.ledger.measures import bucket_of
from pixelmeter.ledger.queries import EVERYTHING, Filters, ever_unpriced, tag_keys, unpriced
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.effort import examples
from tests.factories import make_attempt

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Fill = Callable[[Sequence[Attempt]], LedgerReader]


def at(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // MICROSECOND


def moment_of(attempt: Attempt) -> datetime:
    return EPOCH + attempt.started_at * MICROSECOND


@pytest.fixture
def fill(ledger_url: str) -> Iterator[Fill]:
    """Write attempts to a new ledger, and return a reader of it."""
    with ExitStack() as stack:

        def write(rows: Sequence[Attempt]) -> LedgerReader:
            writer = open_writer(ledger_url)
            writer.write(rows, {}, [])
            writer.close()
            return stack.enter_context(reading_ledger(ledger_url))

        yield write


def expected_groups(
    rows: Sequence[Attempt], by: Sequence[str], since: datetime, until: datetime, zone: tzinfo
) -> Iterator[Group]:
    """Say what `grouped` must add up to, one row at a time and without SQL."""
    calls: dict[str, list[Attempt]] = defaultdict(list)
    for one in rows:
        calls[one.call_id].append(one)
    for one in rows:
        if not since <= moment_of(one) < until:
            continue
        tags: dict[str, str] = msgspec.json.decode(one.tags)
        moment = moment_of(one).astimezone(zone)
        key = tuple(
            name_of(moment, name)
            if is_period(name)
            else tags.get(tag_of(name) or "", getattr(one, FIELDS.get(name, name), None)) or None
            for name in by
        )
        known_pixels = None if one.cost is None or one.images is None else pixels_of(one.size)
        early = [each for each in calls[one.call_id] if (each.attempt, each.id) < (one.attempt, one.id)]
        billed = sum(each.billing == "billed" for each in early)
        is_again = bool(one.attempt) and one.billing == "billed" and billed > 0
        at_risk: list[Attempt] = []
        if one.attempt and one.billing == "billed" and not billed:
            at_risk = [each for each in early if each.billing in UNSETTLED]
        elif one.attempt and one.billing in UNSETTLED and billed:
            at_risk = [one]
        sums = {
            "attempts": 1,
            "calls": int(one.attempt == 0 and one.outcome != "blocked"),
            "blocked": int(one.outcome == "blocked"),
            "images": one.images or 0,
            "errors": int(one.outcome in ERRORS),
            "cost": one.cost or 0,
            "fee": one.fee or 0,
            "at_risk": one.at_risk or 0,
            "unknown_cost_attempts": int(one.cost is None),
            "unestimated_attempts": int(
                one.cost is None and one.at_risk is None and one.billing in {"unknown", "pending"}
            ),
            "unknown_fee_attempts": int(one.fee is None),
            "priced_images": 0 if one.cost is None else one.images or 0,
            "pixels": (one.images or 0) * (known_pixels or 0),
            "pixel_cost": 0 if known_pixels is None else one.cost or 0,
            "paid_twice": int(is_again and billed == 1),
            "paid_twice_cost": (one.cost or 0) if is_again else 0,
            "unknown_paid_twice": int(is_again and one.cost is None),
            "paid_twice_at_risk": sum(each.at_risk or 0 for each in at_risk),
            "unestimated_paid_twice": sum(each.cost is None and each.at_risk is None for each in at_risk),
            "retry_cost": (one.cost or 0) if one.attempt else 0,
            "unknown_retries": int(one.attempt > 0 and one.cost is None),
            "failure_cost": (one.cost or 0) if one.outcome != "success" else 0,
            "unknown_failures": int(one.outcome != "success" and one.cost is None),
            "routed_attempts": int(any(known is not None for known in routed(one))),
            "baseline": one.baseline_cost or 0,
            "stated_baselines": int(one.baseline_cost is not None),
            "route_fee": one.route_fee or 0,
            "stated_route_fees": int(one.route_fee is not None),
            "savings": one.savings or 0,
            "stated_savings": int(one.savings is not None),
        }
        yield Group(key, sums, {bucket(one.duration): int(one.outcome != "blocked")})


def routed(one: Attempt) -> tuple[object, ...]:
    return one.baseline_model, one.baseline_cost, one.route_fee, one.savings


UNSETTLED = {"unknown", "pending"}
FIELDS = {"trace": "trace_id", "call": "call_id"}


def pixels_of(size: str | None) -> int | None:
    sides = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", size or "")
    return int(sides[1]) * int(sides[2]) if sides else None


def varied(count: int, start: str, days: float, seed: int = 1) -> list[Attempt]:
    """Return attempts that differ in everything that a report can see."""
    choose = random.Random(seed)
    first = at(start)
    calls = [str(uuid_utils.uuid7()) for _ in range(count // 2)]
    return [
        make_attempt(
            call_id=choose.choice(calls),
            trace_id=choose.choice([None, "0123456789abcdef" * 2]),
            attempt=choose.choice([0, 0, 0, 1, 2]),
            started_at=first + choose.randrange(int(days * 86_400_000_000)),
            gateway=choose.choice(["aigateway", "openai"]),
            operation=choose.choice(["generate", "edit", "variation"]),
            model=choose.choice(["a/b", "a/c", ""]),
            provider=choose.choice(["p", None, ""]),
            images=choose.choice([None, 0, 1, 4]),
            size=choose.choice(
                [
                    None,
                    "1024x1024",
                    "99999x7",
                    "mixed",
                    "0512x512",
                    "123456x1",
                    "1x1x1",
                    "1x",
                    "x1",
                    "1x1\n",
                    "\u0663x1",
                ]
            ),
            quality=choose.choice([None, "high"]),
            outcome=choose.choice(["success", "success", "error", "timeout", "throttled", "rejected", "blocked"]),
            duration=choose.choice([0, 1000, 1001, 8_123_456, choose.randrange(10**9)]),
            cost=choose.choice([None, 0, 1, 42_240_000, -5]),
            fee=choose.choice([None, 2_112_000]),
            at_risk=choose.choice([None, None, 10_000_000]),
            billing=choose.choice(["billed", "not_billed", "unknown", "pending"]),
            baseline_model=choose.choice([None, None, "m"]),
            baseline_cost=choose.choice([None, None, None, 0, 40_000_000]),
            route_fee=choose.choice([None, None, None, 100_000]),
            savings=choose.choice([None, None, None, 0, 39_100_000, -7]),
            tags=choose.choice(['{"team":"growth"}', '{"a.b\\"c":"x","team":"core"}', "{}"]),
        )
        for _ in range(count)
    ]


ZONES: list[tzinfo] = [
    UTC,
    ZoneInfo("UTC"),
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("Australia/Lord_Howe"),
    ZoneInfo("Pacific/Apia"),
    timezone(timedelta(hours=-9, minutes=-30)),
]
DIMENSIONS = ["model", "hour", "day", "week", "month", "gateway", "provider", "operation", "outcome"]
MORE = ["size", "quality", "trace", "call", "tag:team", 'tag:a.b"c', "tag:nobody"]


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def a_report_is_what_python_adds_up(rows: list[Attempt], reader: LedgerReader, data: st.DataObject) -> None:
    start = datetime(2026, 3, 24, tzinfo=UTC)
    minutes = st.integers(0, 10 * 24 * 60)
    midnights = st.integers(0, 10).map(lambda day: day * 24 * 60)
    first, last = sorted([data.draw(minutes | midnights), data.draw(minutes | midnights)])
    since, until = start + timedelta(minutes=first), start + timedelta(minutes=last)
    zone = data.draw(st.sampled_from(ZONES))
    names = data.draw(st.sampled_from([DIMENSIONS, DIMENSIONS + MORE]))
    by = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    columns = data.draw(st.sampled_from([OF_PROGRAMS, OF_TABLES, tuple(COLUMNS)]))

    def report(groups: Iterator[Group]) -> dict[str, object]:
        return as_json(summarise(groups, by=by, since=since, until=until), columns)

    expected = report(expected_groups(rows, by, since, until, zone))
    assert expected == report(grouped(reader, by, since, until, zone, columns=columns))


@pytest.mark.slow
def test_any_report_is_what_python_adds_up_from_the_rows(fill: Fill) -> None:
    rows = varied(400, "2026-03-25T00:00:00+00:00", 7)
    a_report_is_what_python_adds_up(rows, fill(rows))


@pytest.mark.parametrize("by", [["outcome", "day"], ["month", "model", "provider"], ["gateway"]])
def test_the_rollup_and_the_rows_tell_the_same(fill: Fill, by: list[str]) -> None:
    rows = varied(200, "2026-03-25T00:00:00+00:00", 7)
    reader = fill(rows)
    since, until = datetime(2026, 3, 25, 7, tzinfo=UTC), datetime(2026, 3, 30, 9, 30, tzinfo=UTC)

    def report(columns: Sequence[str]) -> Report:
        return summarise(grouped(reader, by, since, until, columns=columns), by=by, since=since, until=until)

    # Some columns need the rows, and then all is read from them.
    from_rows = report(["retry_cost"])
    assert as_json(from_rows) == as_json(report([]))
    assert sum(since <= moment_of(one) < until for one in rows) == from_rows.total.attempts


def test_the_parts_of_a_range_add_up_to_the_whole(fill: Fill) -> None:
    reader = fill(varied(300, "2026-03-25T00:00:00+00:00", 7))
    cuts = [datetime(2026, 3, 20, tzinfo=UTC) + timedelta(hours=11, microseconds=1) * step for step in range(40)]

    def total(since: datetime, until: datetime) -> int:
        return sum(group.sums["cost"] for group in grouped(reader, ["model"], since, until))

    parts = sum(total(since, until) for since, until in pairwise(cuts))
    assert total(cuts[0], cuts[-1]) == parts


def test_days_of_23_and_25_hours_hold_their_own_attempts(fill: Fill) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    reader = fill(
        [
            make_attempt(started_at=at("2026-03-28T23:00:00+00:00"), cost=1),
            make_attempt(started_at=at("2026-03-29T21:59:59.999999+00:00"), cost=2),
            make_attempt(started_at=at("2026-03-29T22:00:00+00:00"), cost=4),
            make_attempt(started_at=at("2026-10-24T22:00:00+00:00"), cost=8),
            make_attempt(started_at=at("2026-10-25T22:59:59.999999+00:00"), cost=16),
            make_attempt(started_at=at("2026-10-25T23:00:00+00:00"), cost=32),
        ]
    )
    year = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    costs = cost_by_period(reader, "day", *year, berlin)
    assert {"2026-03-29": 3, "2026-03-30": 4, "2026-10-25": 24, "2026-10-26": 32} == {
        day: cost for day, cost in costs.items() if cost
    }


def test_costs_by_period_have_a_zero_where_nothing_was_spent(fill: Fill) -> None:
    reader = fill([make_attempt(started_at=at(f"2026-05-0{day}T12:00:00+00:00"), cost=day) for day in (1, 4)])
    since, until = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    expected = [("2026-05-01", 1), ("2026-05-02", 0), ("2026-05-03", 0), ("2026-05-04", 4)]
    assert expected == list(cost_by_period(reader, "day", since, until).items())


def test_a_period_of_which_no_cost_is_known_is_not_one_of_no_cost(fill: Fill) -> None:
    reader = fill(
        [
            make_attempt(started_at=at("2026-05-01T12:00:00+00:00"), cost=None),
            make_attempt(started_at=at("2026-05-02T12:00:00+00:00"), cost=0),
            make_attempt(started_at=at("2026-05-03T12:00:00+00:00"), cost=None),
            make_attempt(started_at=at("2026-05-03T12:00:00+00:00"), cost=7),
        ]
    )
    assert {"2026-05-01": None, "2026-05-02": 0, "2026-05-03": 7} == cost_by_period(reader, "day", EPOCH, _far())


def unsettled(**fields: Any) -> Attempt:
    return make_attempt(cost=None, fee=None, billing="unknown", outcome="timeout", **fields)


@pytest.mark.parametrize("columns", [OF_PROGRAMS, [*OF_PROGRAMS, "retry_cost"]], ids=["rollup", "rows"])
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Asia/Kathmandu")], ids=str)
def test_at_risk_is_unknown_where_something_is_at_risk_and_nothing_of_it_can_be_estimated(
    fill: Fill, zone: tzinfo, columns: Sequence[str]
) -> None:
    reader = fill(
        [
            unsettled(model="none"),
            unsettled(model="some"),
            unsettled(model="some", at_risk=5),
            unsettled(model="free", at_risk=0),
            make_attempt(model="settled", cost=None, cost_reason="no_price"),
            make_attempt(model="known"),
        ]
    )
    by = ["model", "day"]
    groups = grouped(reader, by, datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC), zone, EVERYTHING,
                     columns)  # fmt: skip
    rows = summarise(groups, by=by, since=EPOCH, until=EPOCH).rows
    expected = {"none": None, "some": 5, "free": 0, "settled": 0, "known": 0}
    assert expected == {row.key[0]: row.known_at_risk for row in rows}


def test_the_keys_of_tags_are_counted_with_their_values(fill: Fill) -> None:
    moments = [at(f"2026-05-0{day}T12:00:00+00:00") for day in (1, 2, 3)]
    reader = fill(
        [
            make_attempt(started_at=moments[1], tags='{"customer":"acme","team":"a"}'),
            make_attempt(started_at=moments[1], tags='{"customer":"globex","team":"a"}'),
            make_attempt(started_at=moments[1], tags='{"a.b\\"c":"x","team":"b"}', model="odd"),
            make_attempt(started_at=moments[0], tags='{"before":"x"}'),
            make_attempt(started_at=moments[2], tags='{"after":"x"}'),
            make_attempt(started_at=moments[1], tags="{}"),
        ]
    )
    since, until = datetime(2026, 5, 2, tzinfo=UTC), datetime(2026, 5, 3, tzinfo=UTC)
    assert [("team", 3, 2), ("customer", 2, 2), ('a.b"c', 1, 1)] == tag_keys(reader, since, until)
    assert [('a.b"c', 1, 1), ("team", 1, 1)] == tag_keys(reader, since, until, Filters(model="odd"))


def test_sums_go_past_64_bits(fill: Fill) -> None:
    largest = 2**63 - 1
    reader = fill(
        [
            make_attempt(started_at=at(f"2026-05-0{day}T12:00:00+00:00"), cost=largest, fee=largest, at_risk=-largest)
            for day in (1, 2, 3)
        ]
    )
    # The first day is ragged, so that both the rows and the rollup are summed.
    since, until = datetime(2026, 5, 1, 6, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    for by in (["model"], ["size"]):
        report = summarise(grouped(reader, by, since, until, columns=tuple(COLUMNS)), by=by, since=since, until=until)
        assert (3 * largest, 3 * largest, -3 * largest) == (report.total.cost, report.total.fee, report.total.at_risk)


def test_savings_go_past_64_bits_and_below_zero(fill: Fill) -> None:
    largest = 2**63 - 1
    reader = fill([make_attempt(savings=-largest, baseline_cost=largest, route_fee=0) for _ in range(3)])
    since, until = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    groups = grouped(reader, ["model"], since, until, columns=["baseline", "route_fee", "savings"])
    total = summarise(groups, by=["model"], since=since, until=until).total
    assert (3, 3 * largest, 0, -3 * largest) == (
        total.attempts, total.known_baseline, total.known_route_fee, total.known_savings
    )  # fmt: skip


def test_savings_are_those_of_the_attempts_that_are_asked_for(fill: Fill) -> None:
    reader = fill([make_attempt(savings=1, gateway="aigateway"), make_attempt(savings=20, gateway="other")])
    since, until = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    groups = grouped(reader, ["model"], since, until, filters=Filters(gateway="other"), columns=["savings"])
    total = summarise(groups, by=["model"], since=since, until=until).total
    assert (1, 1, 20) == (total.attempts, total.routed_attempts, total.savings)


def test_savings_are_read_by_the_index_of_routed_attempts_and_the_rest_from_the_rollup(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt(), make_attempt(savings=1)], {}, [])
    since, until = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    steps: list[str] = []
    rows = LedgerReader.rows

    def explained(reader: LedgerReader, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        steps.extend(str(step[3]) for step in rows(reader, f"EXPLAIN QUERY PLAN {statement}", parameters))
        return rows(reader, statement, parameters)

    monkeypatch.setattr(LedgerReader, "rows", explained)
    with reading_ledger(sqlite_url) as reader:
        steps.clear()
        [*grouped(reader, ["model"], since, until, filters=Filters(gateway="aigateway"), columns=["cost", "savings"])]

    assert ["pixelmeter_attempts_routed"] == [
        step.split("INDEX ")[1].split()[0] for step in steps if " one " in step and "daily" not in step
    ]


def test_the_latency_bucket_in_sql_is_the_one_of_python(fill: Fill) -> None:
    bounds = [round(1000 * 1.1**power) for power in range(380)]
    durations = sorted({max(0, bound + step) for bound in bounds for step in (-1, 0, 1)} | {0, 2**63 - 1})
    choose = random.Random(2)
    durations += [choose.randrange(2 ** choose.randrange(10, 63)) for _ in range(500)]
    # Each on a day of its own, because the rollup also adds up durations.
    rows = [make_attempt(duration=long, started_at=day * 86_400_000_000) for day, long in enumerate(durations)]
    reader = fill(rows)
    found: dict[int, int] = dict(
        map(tuple, reader.rows(f"SELECT duration, {bucket_of(reader.dialect)} FROM pixelmeter_attempts"))
    )
    assert {duration: bucket(duration) for duration in durations} == found


def test_an_attempt_is_read_back_as_it_was_written(fill: Fill) -> None:
    written = [
        make_attempt(started_at=at("1999-12-31T23:59:59.999999+00:00"), tags='{"a":"ü\\"","b":"2"}', byok=True),
        make_attempt(started_at=at("2026-05-28T20:26:40+00:00"), tags="{}", cost=None, images=None, status=None),
    ]
    reader = fill(written)
    assert written[::-1] == attempts(reader, limit=10)
    assert written == attempts_of(reader, [one.id for one in written])


def test_the_newest_attempts_come_first_and_no_more_than_asked_for(fill: Fill) -> None:
    same_moment = sorted([make_attempt() for _ in range(5)], key=lambda one: one.id)
    later = make_attempt(started_at=same_moment[0].started_at + 1)
    reader = fill([*same_moment, later])
    expected = [later.id, same_moment[4].id, same_moment[3].id]
    assert expected == [one.id for one in attempts(reader, limit=3)]


def test_every_filter_finds_what_it_names(fill: Fill) -> None:
    odd = make_attempt(
        model="a_b%c", gateway="g", operation="edit", outcome="timeout", status=504, tags='{"a.b\\"c":"x y"}'
    )
    reader = fill([odd, make_attempt(model="axbxc"), make_attempt(tags='{"a":"x y"}')])
    for filters in (
        Filters(model="a_b%c"),
        Filters(model="A_*%?"),
        Filters(gateway="g"),
        Filters(operation="edit"),
        Filters(outcome="timeout"),
        Filters(status=504),
        Filters(call_id=odd.call_id),
        Filters(tags={'a.b"c': "x y"}),
        Filters(model="a*", gateway="g", tags={'a.b"c': "x y"}),
    ):
        assert [odd.id] == [one.id for one in attempts(reader, filters=filters, limit=9)], filters
        assert {odd.id} == identities(reader, since=EPOCH, filters=filters)
        assert 1 == sum(group.sums["attempts"] for group in grouped(reader, ["model"], EPOCH, _far(), UTC, filters))


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", '"; DROP TABLE pixelmeter_attempts; --', "%", "_", "\\", "$1", ":start", "?", "%s", "{}"]
)
def test_no_text_of_a_filter_or_of_a_tag_is_taken_for_sql(fill: Fill, text: str) -> None:
    reader = fill([make_attempt()])
    every: list[dict[str, Any]] = [
        {"gateway": text}, {"operation": text}, {"outcome": text}, {"tags": {text: "1"}}, {"tags": {"team": text}}
    ]  # fmt: skip
    for fields in every:
        assert [] == attempts(reader, filters=Filters(**fields), limit=9)
    assert [None] == [group.key[0] for group in grouped(reader, [f"tag:{text}"], EPOCH, _far())]
    assert 1 == len(attempts(reader, limit=9))


def test_models_without_a_price_are_counted_in_the_range(fill: Fill) -> None:
    def without(model: str, reason: str = "no_price", day: int = 2) -> Attempt:
        started_at = at(f"2026-05-0{day}T00:00:00+00:00")
        return make_attempt(model=model, cost=None, cost_reason=reason, started_at=started_at)

    reader = fill([without("b"), without("a"), without("b"), without("c", "not_read"), without("b", day=3)])
    since, until = datetime(2026, 5, 2, tzinfo=UTC), datetime(2026, 5, 3, tzinfo=UTC)
    assert [("aigateway", "b", 2), ("aigateway", "a", 1)] == unpriced(reader, since, until)
    assert [("aigateway", "a", 1)] == unpriced(reader, since, until, Filters(model="a"))


def test_models_that_ever_had_no_price_are_told_by_what_totals_know(fill: Fill) -> None:
    reader = fill([make_attempt(model=model, cost=None, cost_reason="no_price") for model in ("b", "a", "b")])
    assert [("aigateway", "b", 2), ("aigateway", "a", 1)] == ever_unpriced(reader)
    values: dict[str, Any] = {"tags": {"team": "core"}, "untagged": ("user",), "only": ("retries",), "status": 504}
    for each in dataclasses.fields(Filters):
        if each.name not in {"model", "exact_model", "gateway", "operation", "counted"}:
            assert 2 == len(ever_unpriced(reader, Filters(**{each.name: values.get(each.name, "timeout")}))), each.name
    assert [("aigateway", "a", 1)] == ever_unpriced(reader, Filters(model="A*", gateway="aigateway"))
    assert [] == ever_unpriced(reader, Filters(operation="edit"))


def test_an_empty_ledger_has_no_groups(fill: Fill) -> None:
    reader = fill([])
    assert [] == list(grouped(reader, ["model", "day"], EPOCH, _far()))
    assert {} == cost_by_period(reader, "day", EPOCH, _far())
    assert [] == attempts(reader, limit=1)


def _far() -> datetime:
    return datetime(9999, 12, 31, tzinfo=UTC)
