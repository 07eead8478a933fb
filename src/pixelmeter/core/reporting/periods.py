"""Moments as people write them, and hours, days, weeks and months of a time zone as half-open windows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple

from pixelmeter.errors import ConfigError

__all__ = [
    "PERIODS",
    "OpenPeriod",
    "Period",
    "Window",
    "microseconds_of",
    "moment",
    "moment_of",
    "name_of",
    "open_period",
    "range_text",
    "span_of",
    "utc_text",
    "windows",
    "zoned_text",
]

Period = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")

_DURATION = re.compile(r"([0-9]{1,9})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CALENDAR = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")
_NAMED = re.compile(r"(this|last)-(week|month|year)")
_DAYS = re.compile(r"last-([1-9][0-9]{0,4})-days")


class Window(NamedTuple):
    """The part of an hour, day, week or month that lies in a range: `start` is in it, `end` is not; both are UTC."""

    first: date
    """Its first day; of an hour a local time in it, with its offset."""
    start: datetime
    end: datetime


class OpenPeriod(NamedTuple):
    """A day, week, month or year that goes on: when the one before it began, and when it began and ends, in UTC."""

    before: datetime
    start: datetime
    end: datetime


def moment(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Return the UTC time that "2026-05-01", "2026-05-01T12:30", "2026-05-01T12:30Z" or "7d" (ago) names.

    A day, month or year ("2026-05", "2026", "yesterday", "last-month") is its first moment in `zone`, and a time
    without an offset is read there. "last-30-days" are today and the 29 days before. ConfigError for anything else.
    """
    text = text.strip()
    try:
        if found := _DURATION.fullmatch(text):
            return now.astimezone(UTC) - int(found[1]) * _UNITS[found[2]]
        day = _day_named(text, now.astimezone(zone).date())
        if day is not None:
            return _midnight(day, zone)
        written = datetime.fromisoformat(text)
        return (written if written.tzinfo else written.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"{text[:40]!r} is outside the years 1 to 9999") from None
    except ValueError:
        raise ConfigError(
            f"{text[:40]!r} is not a time: write a date (2026-05-01), month (2026-05), time (2026-05-01T12:30Z), "
            "name (today, last-month) or how long ago (24h, 7d)"
        ) from None


def _day_named(text: str, today: date) -> date | None:
    """Return the first day of what a text names; None where it names no day, ValueError where there is no such day."""
    if found := _CALENDAR.fullmatch(text):
        return date(int(found[1]), int(found[2] or 1), 1)
    if text == "today":
        return today
    if text == "yesterday":
        return today - _DAY
    if found := _DAYS.fullmatch(text):
        return today - (int(found[1]) - 1) * _DAY
    if not (found := _NAMED.fullmatch(text)):
        return None
    first = _first_day(today, found[2])
    return first if found[1] == "this" else _first_day(first - _DAY, found[2])


def windows(since: datetime, until: datetime, zone: tzinfo, period: Period) -> Iterator[Window]:
    """Yield the windows that [since, until) falls into, in order; together they are exactly that range.

    A day may last 23 or 25 hours, begin at 01:00, or (where a zone crossed the date line) not exist; an hour may last
    half of one.
    """
    if period == "hour":
        yield from _hours(since, until, zone)
        return
    # A zone can jump over its midnight, and then the first moments of a day count to the day before.
    first = _first_day(since.astimezone(zone).date() - _DAY, period)
    start = _midnight(first, zone)
    while start < until:
        following = _following(first, period)
        end = _midnight(following, zone)
        window = Window(first, max(start, since), min(end, until))
        if window.start < window.end:
            yield window
        first, start = following, end


def span_of(at: datetime, period: Period, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return when the day, week (from Monday) or month begins that a moment is in, and when it ends; both are UTC."""
    first = _first_day(at.astimezone(zone).date(), period)
    start = _midnight(first, zone)
    # Where a zone jumps over its midnight, the first moments of a day count to the day before.
    if at < start:
        first = _first_day(first - _DAY, period)
        start = _midnight(first, zone)
    following = _following(first, period)
    end = _midnight(following, zone)
    return (start, end) if at < end else (end, _midnight(_following(following, period), zone))


def open_period(text: str, *, now: datetime, zone: tzinfo) -> OpenPeriod | None:
    """Return the period that "today", "this-week", "this-month" or "this-year" names; None for any other text."""
    today = now.astimezone(zone).date()
    if text.strip() == "today":
        kind, first = "day", today
    elif (found := _NAMED.fullmatch(text.strip())) and found[1] == "this":
        kind, first = found[2], _first_day(today, found[2])
    else:
        return None
    days = (_first_day(first - _DAY, kind), first, _following(first, kind))
    return OpenPeriod(*(_midnight(day, zone) for day in days))


def name_of(first: date, period: Period) -> str:
    """Return the text of the period that the first day or hour of a window belongs to.

    "2026-05-01T14:00+02:00", "2026-05-01", "2026-W18" (ISO 8601) or "2026-05".
    """
    if period == "hour":
        assert isinstance(first, datetime)
        text = first.isoformat(timespec="minutes")
        offset = text[16:]
        return f"{text[:14]}00{'Z' if offset == '+00:00' else offset}"
    if period == "week":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02}"
    return first.isoformat()[: 10 if period == "day" else 7]


def moment_of(microseconds: int) -> datetime:
    """Return a Unix time in microseconds."""
    return _EPOCH + microseconds * _MICROSECOND


def microseconds_of(moment: datetime) -> int:
    """Return the Unix time of a moment, in microseconds."""
    return (moment - _EPOCH) // _MICROSECOND


def utc_text(when: datetime) -> str:
    """Return ISO 8601 in UTC with a Z; fractions of a second only where there are some."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def range_text(since: datetime, until: datetime, zone: tzinfo) -> str:
    """Return both ends to the second as `zone` has them, such as "2026-05-01T00:00:00+02:00 to …"; UTC has a Z."""
    return f"{zoned_text(since, zone)} to {zoned_text(until, zone)}"


def zoned_text(when: datetime, zone: tzinfo) -> str:
    """Return ISO 8601 to the second as `zone` has it, such as "2026-05-01T00:00:00+02:00"; UTC has a Z."""
    text = when.astimezone(zone).replace(microsecond=0).isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _hours(since: datetime, until: datetime, zone: tzinfo) -> Iterator[Window]:
    start = since.astimezone(UTC)
    while start < until:
        local = start.astimezone(zone)
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        end = start + _HOUR - into
        if (end - _MICROSECOND).astimezone(zone).utcoffset() != local.utcoffset():
            end = _change_of_clocks(start, end, zone)
        yield Window(local, start, min(end, until))
        start = end


def _change_of_clocks(start: datetime, end: datetime, zone: tzinfo) -> datetime:
    """Return the first moment after `start` whose offset is another one, where that of `end` is."""
    before = start.astimezone(zone).utcoffset()
    while end - start > _MICROSECOND:
        middle = start + (end - start) // 2
        if middle.astimezone(zone).utcoffset() == before:
            start = middle
        else:
            end = middle
    return end


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def _first_day(day: date, period: str) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "year":
        return day.replace(month=1, day=1)
    return day if period == "day" else day.replace(day=1)


def _following(day: date, period: str) -> date:
    if period == "year":
        return day.replace(year=day.year + 1)
    if period == "month":
        return (day + timedelta(days=31)).replace(day=1)
    return day + (_DAY if period == "day" else timedelta(weeks=1))
