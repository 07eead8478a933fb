from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.reporting.periods import (
    PERIODS,
    Period,
    Window,
    moment,
    name_of,
    open_period,
    range_text,
    span_of,
    utc_text,
    windows,
)
from pixelmeter.errors import ConfigError

NOW = datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

HARD_ZONES = [
    "America/Sao_Paulo",  # skips its midnight
    "America/St_Johns",  # changed its clocks at 00:01
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # moves by half an hour
    "Europe/Berlin",
    "Pacific/Apia",  # had no 30 December 2011
    "UTC",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01", "2026-04-30T22:00:00Z"),
        ("2026-05-01T12:30", "2026-05-01T10:30:00Z"),
        ("2026-05-01T12:30Z", "2026-05-01T12:30:00Z"),
        ("2026-05-01T12:30:00.000001+05:45", "2026-05-01T06:45:00.000001Z"),
        ("30m", "2026-05-28T19:56:40Z"),
        ("24h", "2026-05-27T20:26:40Z"),
        (" 7d ", "2026-05-21T20:26:40Z"),
        ("4w", "2026-04-30T20:26:40Z"),
        ("0m", "2026-05-28T20:26:40Z"),
    ],
)
def test_a_moment_is_a_date_a_time_or_how_long_ago(text: str, expected: str) -> None:
    assert expected == utc_text(moment(text, now=NOW, zone=BERLIN))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "next-month",
        "last-day",
        "Last-Month",
        "last month",
        "2026-00",
        "26-09",
        "2026-9",
        "0000",
        "7",
        "d",
        "-7d",
        "7 d",
        "1.5d",
        "2026-13-01",
        "9" * 5000,
        "7d7h",
    ],
)
def test_anything_else_is_refused_with_what_to_write_instead(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a time: write a date") as caught:
        moment(text, now=NOW, zone=UTC)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["999999999w", "9999999d", "0001-01-01", "0001-01", "0001"])
def test_a_moment_outside_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="outside the years 1 to 9999"):
        moment(text, now=NOW, zone=BERLIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026", "2025-12-31T23:00:00Z"),
        ("2026-09", "2026-08-31T22:00:00Z"),
        ("2026-12", "2026-11-30T23:00:00Z"),
        ("today", "2026-05-27T22:00:00Z"),
        ("yesterday", "2026-05-26T22:00:00Z"),
        ("this-week", "2026-05-24T22:00:00Z"),
        ("last-week", "2026-05-17T22:00:00Z"),
        ("this-month", "2026-04-30T22:00:00Z"),
        ("last-month", "2026-03-31T22:00:00Z"),
        ("this-year", "2025-12-31T23:00:00Z"),
        ("last-year", "2024-12-31T23:00:00Z"),
        ("last-1-days", "2026-05-27T22:00:00Z"),
        ("last-30-days", "2026-04-28T22:00:00Z"),
    ],
)
def test_a_day_a_month_and_a_year_are_their_first_moment_in_the_zone(text: str, expected: str) -> None:
    assert expected == utc_text(moment(text, now=NOW, zone=BERLIN))


@pytest.mark.parametrize(
    ("zone", "today", "yesterday", "month"),
    [
        ("UTC", "2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("America/New_York", "2026-02-28T05:00:00Z", "2026-02-27T05:00:00Z", "2026-01-01T05:00:00Z"),
        ("Pacific/Kiritimati", "2026-02-28T10:00:00Z", "2026-02-27T10:00:00Z", "2026-01-31T10:00:00Z"),
    ],
)
def test_which_day_it_is_depends_on_the_zone(zone: str, today: str, yesterday: str, month: str) -> None:
    now = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
    names = ("today", "yesterday", "last-month")
    assert [today, yesterday, month] == [utc_text(moment(name, now=now, zone=ZoneInfo(zone))) for name in names]


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        ("Europe/Berlin", "2026-03-30T12:00:00Z", 23),
        ("Europe/Berlin", "2026-10-26T12:00:00Z", 25),
        # The clocks jump over midnight there, so that the day begins at one.
        ("Asia/Beirut", "2026-03-30T12:00:00Z", 23),
        # They go back to 23:00 there, so that the day before has its last hour twice.
        ("America/Sao_Paulo", "2018-02-18T12:00:00Z", 25),
        ("Australia/Lord_Howe", "2026-04-06T00:00:00Z", 24.5),
    ],
)
def test_yesterday_is_as_long_as_the_clocks_made_it(zone: str, now: str, hours: float) -> None:
    told = datetime.fromisoformat(now)
    start, end = (moment(name, now=told, zone=ZoneInfo(zone)) for name in ("yesterday", "today"))
    assert hours == (end - start) / timedelta(hours=1)


def test_a_range_is_told_to_the_second_in_its_zone() -> None:
    since, until = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    assert "2026-03-01T00:00:00Z to 2026-04-01T00:00:00Z" == range_text(since, until, UTC)
    assert "2026-03-01T01:00:00+01:00 to 2026-04-01T02:00:00+02:00" == range_text(since, until, BERLIN)


def test_names_of_periods_sort_by_time() -> None:
    assert "2026-01-01" == name_of(date(2026, 1, 1), "day")
    assert "2026-01" == name_of(date(2026, 1, 1), "month")
    assert "2026-W01" == name_of(date(2025, 12, 29), "week")
    assert "2026-W53" == name_of(date(2027, 1, 3), "week")


def test_days_around_a_change_of_clocks_have_23_and_25_hours() -> None:
    def hours(day: date) -> float:
        since = datetime(day.year, day.month, day.day, tzinfo=BERLIN)
        until = since + timedelta(days=1)
        (window,) = windows(since, until, BERLIN, "day")
        assert day == window.first
        return (window.end - window.start) / timedelta(hours=1)

    assert [23, 24, 25] == [hours(date(2026, 3, 29)), hours(date(2026, 3, 30)), hours(date(2026, 10, 25))]


def test_a_day_without_midnight_begins_where_the_clocks_jump_to() -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    since, until = datetime(2018, 11, 3, 12, tzinfo=UTC), datetime(2018, 11, 5, 12, tzinfo=UTC)
    jump, next_midnight = datetime(2018, 11, 4, 3, tzinfo=UTC), datetime(2018, 11, 5, 2, tzinfo=UTC)
    expected = [
        Window(date(2018, 11, 3), since, jump),
        Window(date(2018, 11, 4), jump, next_midnight),
        Window(date(2018, 11, 5), next_midnight, until),
    ]
    assert expected == list(windows(since, until, zone, "day"))


def test_the_moments_before_a_midnight_that_was_jumped_over_count_to_the_day_before() -> None:
    # Toronto's clocks went from 23:30 to 00:30 in 1919.
    since, until = datetime(1919, 3, 31, 4, 30, tzinfo=UTC), datetime(1919, 3, 31, 6, tzinfo=UTC)
    midnight = datetime(1919, 3, 31, 5, tzinfo=UTC)
    expected = [Window(date(1919, 3, 30), since, midnight), Window(date(1919, 3, 31), midnight, until)]
    zone = ZoneInfo("America/Toronto")
    assert expected == list(windows(since, until, zone, "day"))
    assert (datetime(1919, 3, 30, 5, tzinfo=UTC), midnight) == span_of(midnight - timedelta(minutes=1), "day", zone)
    assert (midnight, datetime(1919, 4, 1, 4, tzinfo=UTC)) == span_of(midnight, "day", zone)


@pytest.mark.parametrize("zone", HARD_ZONES)
@pytest.mark.parametrize("period", PERIODS[1:])
def test_the_span_of_a_moment_is_the_window_that_it_is_in(zone: str, period: Period) -> None:
    since = datetime(2011, 1, 1, tzinfo=UTC)
    for window in windows(since, since + timedelta(days=400), ZoneInfo(zone), period):
        if since < window.start < window.end < since + timedelta(days=400):
            for at in (window.start, window.end - timedelta(microseconds=1)):
                assert (window.start, window.end) == span_of(at, period, ZoneInfo(zone))


def test_a_day_that_a_zone_skipped_has_no_window() -> None:
    zone = ZoneInfo("Pacific/Apia")
    since, until = datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, 12, tzinfo=UTC)
    days = [window.first.day for window in windows(since, until, zone, "day")]
    assert [29, 31, 1] == days


@given(
    st.sampled_from(HARD_ZONES),
    st.sampled_from(PERIODS),
    st.integers(0, 17_500 * 86_400_000_000),
    st.integers(0, 100 * 86_400_000_000),
)
def test_windows_follow_each_other_and_are_exactly_the_range(
    name: str, period: Period, start: int, microseconds: int
) -> None:
    since = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=start)
    until = since + timedelta(microseconds=microseconds)
    found = list(windows(since, until, ZoneInfo(name), period))
    edges = [since, *(window.end for window in found)]
    assert edges[:-1] == [window.start for window in found]
    assert until == edges[-1]
    assert len(found) == len({name_of(window.first, period) for window in found})


@pytest.mark.parametrize(
    ("zone", "since", "expected"),
    [
        ("UTC", "2026-05-01T11:59", ["2026-05-01T11:00Z 11:59", "2026-05-01T12:00Z 12:00", "2026-05-01T13:00Z 13:00"]),
        (
            "Asia/Kathmandu",
            "2026-05-01T10:00",
            ["2026-05-01T15:00+05:45 10:00", "2026-05-01T16:00+05:45 10:15", "2026-05-01T17:00+05:45 11:15"],
        ),
        (
            "Europe/Berlin",
            "2026-10-25T00:00",
            ["2026-10-25T02:00+02:00 00:00", "2026-10-25T02:00+01:00 01:00", "2026-10-25T03:00+01:00 02:00"],
        ),
        # Clocks went from 02:00 to 02:30, so that the hour of two was half of one.
        (
            "Australia/Lord_Howe",
            "2026-10-03T14:30",
            ["2026-10-04T01:00+10:30 14:30", "2026-10-04T02:00+11:00 15:30", "2026-10-04T03:00+11:00 16:00"],
        ),
        # At one minute past midnight they went back to one past eleven.
        (
            "America/St_Johns",
            "2005-10-30T02:00",
            ["2005-10-29T23:00-02:30 02:00", "2005-10-30T00:00-02:30 02:30", "2005-10-29T23:00-03:30 02:31"],
        ),
    ],
)
def test_an_hour_is_one_of_the_clocks_of_its_zone(zone: str, since: str, expected: list[str]) -> None:
    start = datetime.fromisoformat(f"{since}+00:00")
    found = list(windows(start, start + timedelta(hours=4), ZoneInfo(zone), "hour"))
    assert expected == [f"{name_of(one.first, 'hour')} {one.start:%H:%M}" for one in found[: len(expected)]]


@pytest.mark.parametrize(
    ("text", "before", "start", "end"),
    [
        ("today", "2026-05-26T22:00:00Z", "2026-05-27T22:00:00Z", "2026-05-28T22:00:00Z"),
        ("this-week", "2026-05-17T22:00:00Z", "2026-05-24T22:00:00Z", "2026-05-31T22:00:00Z"),
        (" this-month", "2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z", "2026-05-31T22:00:00Z"),
        ("this-year", "2024-12-31T23:00:00Z", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
    ],
)
def test_a_period_that_goes_on_is_known_by_its_name(text: str, before: str, start: str, end: str) -> None:
    found = open_period(text, now=NOW, zone=BERLIN)
    assert found is not None
    assert [before, start, end] == [utc_text(when) for when in found]


@pytest.mark.parametrize("text", ["yesterday", "last-month", "2026-05", "30d", "", "this-day"])
def test_any_other_range_is_no_period_that_goes_on(text: str) -> None:
    assert open_period(text, now=NOW, zone=BERLIN) is None


def test_an_empty_range_has_no_windows() -> None:
    assert [] == list(windows(NOW, NOW, BERLIN, "month"))
