"""Where a report reads from makes no difference to what it says; where it cannot be made, that is what it says."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.columns import COLUMNS, HISTOGRAM, OF_PROGRAMS, OF_TABLES, as_json
from pixelmeter.core.reporting.columns import sums as made_of
from pixelmeter.core.reporting.report import Report, Row, summarise
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.grouping import grouped, widened
from pixelmeter.ledger.measures import OF_ROLLUP, OF_TAGS, Sum
from pixelmeter.ledger.queries import EVERYTHING, Filters
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.schema import ATTEMPTS, PRUNES, WIDE_TAGS
from pixelmeter.ledger.writer import open_writer
from tests.effort import examples
from tests.factories import make_attempt
from tests.ledger.test_queries import DIMENSIONS, MORE, ZONES, at, varied

START, END = datetime(2026, 3, 24, tzinfo=UTC), datetime(2026, 4, 3, tzinfo=UTC)
DAY = timedelta(days=1)
SUMS = [name for name, value in vars(Row).items() if type(value) is int and not name.startswith("__")]
ALL = tuple(name for name in COLUMNS if name not in {"before", "change"})


@pytest.fixture(scope="module")
def rows() -> list[Attempt]:
    """Attempts of a week, in which clocks change."""
    return varied(300, "2026-03-25T00:00:00+00:00", 7, seed=4)


@pytest.fixture
def url(ledger_url: str, rows: Sequence[Attempt]) -> str:
    """A ledger with those attempts."""
    with closing(open_writer(ledger_url)) as writer:
        writer.write(rows, {}, [])
    return ledger_url


@pytest.fixture
def reader(url: str) -> Iterator[LedgerReader]:
    """A reader of it."""
    with reading_ledger(url) as opened:
        yield opened


def report(
    reader: LedgerReader, by: Sequence[str], since: datetime = START, until: datetime = END, zone: Any = UTC,
    filters: Filters = EVERYTHING, columns: Sequence[str] = ALL,
) -> Report:  # fmt: skip
    groups = grouped(reader, by, since, until, zone, filters, columns)
    return summarise(groups, by=by, since=since, until=until)


def sums(row: Row) -> dict[str, object]:
    return {
        **{name: getattr(row, name) for name in SUMS},
        "buckets": {bucket: number for bucket, number in row.buckets.items() if number},
    }


def added(rows: Sequence[Row]) -> dict[str, object]:
    total = Row(())
    for row in rows:
        total.add_row(row)
    return sums(total)


KEYS = st.sampled_from([*DIMENSIONS, *MORE])
QUICK = settings(
    max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@QUICK
@given(data=st.data())
def any_split_adds_up(reader: LedgerReader, data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    by = data.draw(st.lists(KEYS, min_size=1, max_size=2, unique=True))
    minutes = st.integers(0, 10 * 24 * 60) | st.integers(0, 10 * 24).map(lambda hour: hour * 60)
    cuts = sorted({0, *data.draw(st.lists(minutes, max_size=4)), 10 * 24 * 60})
    moments = [START + timedelta(minutes=cut) for cut in cuts]
    whole = report(reader, by, zone=zone)
    parts = [report(reader, by, since, until, zone).total for since, until in pairwise(moments)]
    assert sums(whole.total) == added(parts)
    assert sums(whole.total) == added(whole.rows)


@pytest.mark.slow
def test_any_split_of_a_range_adds_up_to_the_whole(reader: LedgerReader) -> None:
    any_split_adds_up(reader)


@QUICK
@given(data=st.data())
def any_grouping_adds_up(reader: LedgerReader, data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from([*ZONES, timezone(timedelta(minutes=1)), ZoneInfo("America/St_Johns")]))
    by = data.draw(st.lists(KEYS, min_size=1, max_size=3, unique=True))
    first, last = sorted(data.draw(st.lists(st.integers(0, 14_400), min_size=2, max_size=2)))
    since, until = START + timedelta(minutes=first), START + timedelta(minutes=last)
    filters = data.draw(
        st.sampled_from([EVERYTHING, Filters(model="a/*"), Filters(tags={"team": "growth"}), Filters(tags={"x": ""})])
    )
    expected = report(reader, ["size"], since, until, UTC, filters).total
    assert sums(expected) == sums(report(reader, by, since, until, zone, filters).total)


def test_any_grouping_adds_up_to_the_total(reader: LedgerReader) -> None:
    any_grouping_adds_up(reader)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the statements that are run from now on read from."""
    found: list[str] = []
    rows = LedgerReader.rows

    def seen(reader: LedgerReader, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        found.extend(
            re.findall(r"FROM pixelmeter_(\w*daily|hourly|attempts) (?:AS one|WHERE day|WHERE hour)", statement)
        )
        return rows(reader, statement, parameters)

    monkeypatch.setattr(LedgerReader, "rows", seen)
    return found


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("by", "since", "zone", "filters", "expected"),
    [
        (["model", "day"], "2026-03-25T00:00", UTC, EVERYTHING, ["daily"]),
        (["model"], "2026-03-25T11:00", BERLIN, EVERYTHING, ["hourly", "daily"]),
        (["model"], "2026-03-25T11:30", UTC, Filters(gateway="openai"), ["attempts", "hourly", "daily"]),
        (["hour"], "2026-03-25T00:00", UTC, EVERYTHING, ["hourly"]),
        (["day"], "2026-03-25T00:00", BERLIN, EVERYTHING, ["hourly"]),
        (["hour"], "2026-03-25T00:00", ZoneInfo("Asia/Kathmandu"), EVERYTHING, ["attempts"]),
        (["tag:team"], "2026-03-25T00:00", BERLIN, EVERYTHING, ["tag_daily", "daily"]),
        (["tag:team", "day"], "2026-03-25T13:00", UTC, EVERYTHING, ["attempts", "tag_daily", "daily"]),
        (["tag:team"], "2026-03-25T01:00", UTC, EVERYTHING, ["tag_daily", "daily", "attempts", "tag_daily", "daily"]),
        (["day"], "2026-03-25T00:00", UTC, Filters(tags={"team": "core"}), ["tag_daily"]),
        (["tag:team"], "2026-03-25T00:00", UTC, Filters(tags={"team": "core"}), ["tag_daily"]),
        (["tag:team", "model"], "2026-03-25T00:00", UTC, EVERYTHING, ["attempts"]),
        (["model"], "2026-03-25T00:00", UTC, Filters(tags={"team": "core"}), ["attempts"]),
        (["tag:wide"], "2026-03-25T00:00", UTC, EVERYTHING, ["attempts"]),
        (["day"], "2026-03-25T00:00", UTC, Filters(tags={"team": "core"}, model="a/b"), ["attempts"]),
        (["day"], "2026-03-25T00:00", UTC, Filters(tags={"team": ""}), ["attempts"]),
    ],
)
def test_what_rollups_tell_is_read_from_them(
    url: str, monkeypatch: pytest.MonkeyPatch, by: list[str], since: str, zone: Any, filters: Filters,
    expected: list[str],
) -> None:  # fmt: skip
    with open_engine(url).begin() as connection:
        connection.execute(insert(WIDE_TAGS).values(tag="wide", found_at=START))
    with reading_ledger(url) as reader:
        found = reads(monkeypatch)
        report(reader, by, datetime.fromisoformat(f"{since}+00:00"), END, zone, filters, OF_PROGRAMS)
    assert expected == found


def test_today_is_a_whole_day_unless_somebody_is_ahead_of_it(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 5, 2, 12, tzinfo=UTC)
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt(started_at=at("2026-05-02T11:00:00+00:00"), cost=1)], {}, [])
        with reading_ledger(ledger_url) as reader:
            found = reads(monkeypatch)
            assert 1 == report(reader, ["tag:team"], noon - DAY, noon, columns=["cost"]).total.cost
            assert "attempts" not in found[-2:]
        writer.write([make_attempt(started_at=at("2026-05-02T12:00:00+00:00"), cost=2)], {}, [])
    with reading_ledger(ledger_url) as reader:
        assert 1 == report(reader, ["tag:team"], noon - DAY, noon, columns=["cost"]).total.cost
        assert 1 == report(reader, ["model"], noon - DAY, noon, columns=["cost"]).total.cost


@pytest.fixture
def pruned(url: str) -> Iterator[LedgerReader]:
    """A reader of the ledger when attempts before the 28th have been pruned."""
    begin = datetime(2026, 3, 28, tzinfo=UTC)
    with open_engine(url).begin() as connection:
        connection.execute(insert(PRUNES).values(horizon=begin, began_at=END, attempts=0, version="0"))
        connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.started_at < begin))
    with reading_ledger(url) as opened:
        yield opened


KEPT = {*OF_ROLLUP} & {*OF_TAGS} | {HISTOGRAM}
OF_SUMS = tuple(name for name in ALL if made_of([name]) <= KEPT)
"""What is kept of attempts that were pruned."""


def test_what_most_reports_show_is_kept_of_attempts_that_were_pruned() -> None:
    others = {"blocked", "fee", "cost_per_image", "cost_per_megapixel", "failure_cost", "p99"}
    assert {*OF_PROGRAMS, *OF_TABLES, *others} <= {*OF_SUMS}


@pytest.mark.parametrize("by", [["model", "day"], ["hour"], ["outcome", "gateway"], ["tag:team", "day"], ["tag:team"]])
@pytest.mark.parametrize("zone", [UTC, BERLIN], ids=str)
def test_sums_of_attempts_that_were_pruned_are_as_before(
    pruned: LedgerReader, rows: Sequence[Attempt], tmp_path: Any, by: list[str], zone: Any
) -> None:
    other = f"sqlite:///{tmp_path}/whole.db"
    with closing(open_writer(other)) as writer:
        writer.write(rows, {}, [])
    if by[0].startswith("tag") and zone is BERLIN and "day" in by:
        with pytest.raises(ConfigError, match=r"attempts before 2026-03-28T00:00:00Z have been pruned"):
            report(pruned, by, zone=zone, columns=OF_SUMS)
        return
    with reading_ledger(other) as whole:
        expected = as_json(report(whole, by, zone=zone, columns=OF_SUMS), OF_SUMS)
    assert expected == as_json(report(pruned, by, zone=zone, columns=OF_SUMS), OF_SUMS)


@pytest.mark.parametrize(
    ("by", "columns", "zone", "filters"),
    [
        (["size"], OF_PROGRAMS, UTC, EVERYTHING),
        (["call"], OF_PROGRAMS, UTC, EVERYTHING),
        (["model"], ("retry_cost",), UTC, EVERYTHING),
        (["model"], ("savings",), UTC, EVERYTHING),
        (["hour"], OF_PROGRAMS, ZoneInfo("Asia/Kathmandu"), EVERYTHING),
        (["model"], OF_PROGRAMS, UTC, Filters(tags={"team": "core"})),
        (["model"], OF_PROGRAMS, UTC, Filters(status=200)),
    ],
)
def test_what_needs_pruned_attempts_says_so_and_later_ones_are_told(
    pruned: LedgerReader, by: list[str], columns: Sequence[str], zone: Any, filters: Filters
) -> None:
    with pytest.raises(ConfigError, match=r"attempts before 2026-03-28T00:00:00Z have been pruned.*ask for a later"):
        report(pruned, by, START, END, zone, filters, columns)
    later = datetime(2026, 3, 28, tzinfo=UTC)
    assert report(pruned, by, later, END, zone, filters, columns).total.attempts > 0


def test_an_edge_among_pruned_attempts_moves_to_where_sums_are_kept(pruned: LedgerReader) -> None:
    since, until = datetime(2026, 3, 25, 7, 30, tzinfo=UTC), datetime(2026, 3, 26, 9, 15, tzinfo=UTC)
    hours = since.replace(minute=0), until.replace(hour=10, minute=0)
    days = since.replace(hour=0, minute=0), datetime(2026, 3, 27, tzinfo=UTC)
    assert hours == widened(pruned, ["model"], since, until, EVERYTHING)
    assert days == widened(pruned, ["tag:team"], since, until, EVERYTHING)
    assert (hours[0], END) == widened(pruned, ["model"], since, END, EVERYTHING)
    later = datetime(2026, 3, 28, 0, 30, tzinfo=UTC)
    assert (later, END) == widened(pruned, ["model"], later, END, EVERYTHING)


def test_any_range_of_an_untouched_ledger_is_as_it_was_asked_for(reader: LedgerReader) -> None:
    choose = random.Random(3)
    moments = sorted(START + timedelta(seconds=choose.randrange(10**6)) for _ in range(2))
    assert tuple(moments) == widened(reader, ["tag:team"], moments[0], moments[1], EVERYTHING)


@pytest.mark.parametrize(("kept", "by"), [(OF_TAGS, "tag:team"), (OF_ROLLUP, "model")])
def test_a_sum_that_a_rollup_does_not_keep_is_read_from_the_attempts(
    reader: LedgerReader, kept: dict[str, Sum], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {row.key: row.images for row in report(reader, [by]).rows}
    assert any(expected.values())
    monkeypatch.delitem(kept, "images")
    assert expected == {row.key: row.images for row in report(reader, [by]).rows}
