from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.periods import PERIODS, Period, Window, moment, name_of, utc_text, windows
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


@pytest.mark.parametrize("text", ["", "yesterday", "7", "d", "-7d", "7 d", "1.5d", "2026-13-01", "9" * 5000, "7d7h"])
def test_anything_else_is_refused_with_what_to_write_instead(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a time: write a date") as caught:
        moment(text, now=NOW, zone=UTC)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["999999999w", "9999999d", "0001-01-01"])
def test_a_moment_outside_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="outside the years 1 to 9999"):
        moment(text, now=NOW, zone=BERLIN)


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
        assert day == window.first_day
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
    assert expected == list(windows(since, until, ZoneInfo("America/Toronto"), "day"))


def test_a_day_that_a_zone_skipped_has_no_window() -> None:
    zone = ZoneInfo("Pacific/Apia")
    since, until = datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, 12, tzinfo=UTC)
    days = [window.first_day.day for window in windows(since, until, zone, "day")]
    assert [29, 31, 1] == days


@given(
    st.sampled_from(HARD_ZONES),
    st.sampled_from(PERIODS),
    st.integers(0, 17_500 * 86_400_000_000),
    st.integers(0, 400 * 86_400_000_000),
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
    assert len(found) == len({name_of(window.first_day, period) for window in found})


def test_an_empty_range_has_no_windows() -> None:
    assert [] == list(windows(NOW, NOW, BERLIN, "month"))
