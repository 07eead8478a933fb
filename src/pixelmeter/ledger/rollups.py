"""What attempts and changes of attempts add to the sums by hour, by day and by the value of a tag."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from operator import add
from typing import Any, NamedTuple, cast

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.core.reporting.pixels import delivered_pixels
from pixelmeter.core.reporting.report import ERRORS
from pixelmeter.ledger.wide_tags import MOST_VALUES, is_plain_key, is_plain_value

__all__ = [
    "DAILY_COLUMNS",
    "DAILY_KEY",
    "HOURLY_COLUMNS",
    "HOURLY_KEY",
    "SUMS",
    "TAG_DAILY_COLUMNS",
    "TAG_DAILY_KEY",
    "TAG_SUMS",
    "RolledUp",
    "Row",
    "daily_rows",
    "rolled_up",
]

HOURLY_KEY = ("hour", "gateway", "provider", "operation", "model", "outcome", "latency_bucket")
DAILY_KEY = ("day", *HOURLY_KEY[1:])
TAG_DAILY_KEY = ("tag", "day", "value", "latency_bucket")
SUMS = (
    "attempts", "calls", "images", "cost", "fee", "at_risk", "unknown_cost_attempts", "duration",
    "unestimated_attempts", "unknown_fee_attempts", "priced_images", "pixels", "pixel_cost",
)  # fmt: skip
"""What every rollup adds up, in the order of its columns."""
TAG_SUMS = (*SUMS, "errors", "blocked", "failure_cost", "unknown_failures")
"""What the rollup by tags adds up: it does not tell outcomes apart."""
HOURLY_COLUMNS = (*HOURLY_KEY, *SUMS)
DAILY_COLUMNS = (*DAILY_KEY, *SUMS)
TAG_DAILY_COLUMNS = (*TAG_DAILY_KEY, *TAG_SUMS)

_MICROSECONDS_PER_HOUR = 3_600_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_WIDTH = len(TAG_SUMS)
(
    _ATTEMPTS, _CALLS, _IMAGES, _COST, _FEE, _AT_RISK, _UNKNOWN_COST, _DURATION, _UNESTIMATED, _UNKNOWN_FEE,
    _PRICED_IMAGES, _PIXELS, _PIXEL_COST, _ERRORS, _BLOCKED, _FAILURE_COST, _UNKNOWN_FAILURES,
) = range(_WIDTH)  # fmt: skip
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode

Row = tuple[Any, ...]


class RolledUp(NamedTuple):
    """What is added to rollups: the values of their columns, for each row that changes."""

    hourly: Sequence[Row]
    """By HOURLY_COLUMNS; the hour is text such as "2026-05-17 13:00:00+00"."""
    tag_daily: Sequence[Row]
    """By TAG_DAILY_COLUMNS; the day is text such as "2026-05-17"."""
    wide: Collection[str]
    """The tags that turn out to be wide, which are in no row."""


def rolled_up(attempts: Iterable[Attempt], changes: Iterable[Change], wide: Collection[str]) -> RolledUp:
    """Return what attempts and changes of attempts add; nothing to the tags that are known to be wide."""
    rollups = _Rollups(wide)
    for attempt in attempts:
        rollups.add(attempt, 1)
    for change in changes:
        rollups.add(change.before, -1)
        rollups.add(change.after, 1)
    return rollups.result()


def daily_rows(hourly: Iterable[Row]) -> Iterable[Row]:
    """Return the same by day: the values of DAILY_COLUMNS."""
    width = len(HOURLY_KEY)
    days: dict[Row, tuple[int, ...]] = {}
    for row in hourly:
        key, added = (row[0][:10], *row[1:width]), row[width:]
        known = days.get(key)
        days[key] = added if known is None else tuple(map(add, known, added))
    return [key + sums for key, sums in days.items()]


class _Rollups:
    """The rows that attempts are counted in, by their keys."""

    def __init__(self, wide: Collection[str]) -> None:
        self._known_wide = wide
        self._found_wide: set[str] = set()
        self._hourly: dict[Row, list[int]] = {}
        self._tag_daily: dict[Row, list[int]] = {}
        self._pairs: dict[str, Sequence[tuple[str, str]]] = {"{}": ()}

    def add(self, one: Attempt, sign: int) -> None:
        """Count an attempt, or take it away where `sign` is -1."""
        # A good part of a writer's CPU is spent here: nothing is called that need not be.
        hour, text, latency = one.started_at // _MICROSECONDS_PER_HOUR, one.tags, bucket(one.duration)
        key: Row = (hour, one.gateway, one.provider or "", one.operation, one.model, one.outcome, latency)
        row = self._hourly.get(key)
        if row is None:
            row = self._hourly[key] = [0] * _WIDTH
        rows = [row]
        pairs = self._pairs.get(text)
        if pairs is None:
            pairs = self._pairs_of(text)
        for tag, value in pairs:
            key = (tag, hour // 24, value, latency)
            row = self._tag_daily.get(key)
            if row is None:
                row = self._tag_daily[key] = [0] * _WIDTH
            rows.append(row)
        _count(rows, one, sign)

    def result(self) -> RolledUp:
        """Return what the rows have by now."""
        hourly = [(_hour(hour), *rest, *row[: len(SUMS)]) for (hour, *rest), row in self._hourly.items()]
        found = self._found_wide
        if len(self._tag_daily) > MOST_VALUES:
            found |= _many(self._tag_daily)
        tag_daily = [
            (tag, _day(day), value, latency, *row)
            for (tag, day, value, latency), row in self._tag_daily.items()
            if tag not in found
        ]
        return RolledUp(hourly, tag_daily, found.difference(self._known_wide))

    def _pairs_of(self, text: str) -> Sequence[tuple[str, str]]:
        found, strange = _parsed(text)
        self._found_wide |= strange
        wide = self._known_wide
        pairs = self._pairs[text] = [pair for pair in found if pair[0] not in wide] if wide else found
        return pairs


def _count(rows: Iterable[list[int]], one: Attempt, sign: int) -> None:
    """Add an attempt to rows of TAG_SUMS."""
    cost, fee, at_risk, outcome = one.cost, one.fee, one.at_risk, one.outcome
    images, duration = sign * (one.images or 0), sign * one.duration
    calls = 0 if one.attempt or outcome == "blocked" else sign
    known = 0 if cost is None else sign * cost
    pixels = None if cost is None else delivered_pixels(one.images, one.size)
    for row in rows:
        row[_ATTEMPTS] += sign
        row[_CALLS] += calls
        row[_IMAGES] += images
        row[_DURATION] += duration
        if fee is None:
            row[_UNKNOWN_FEE] += sign
        else:
            row[_FEE] += sign * fee
        if cost is not None:
            row[_COST] += known
            row[_PRICED_IMAGES] += images
            if pixels is not None:
                row[_PIXELS] += sign * pixels
                row[_PIXEL_COST] += known
    if outcome != "success" or cost is None or at_risk:
        _count_doubts(rows, one, sign)


def _count_doubts(rows: Iterable[list[int]], one: Attempt, sign: int) -> None:
    """Add what is unknown of an attempt, and what went wrong."""
    cost, at_risk, outcome = one.cost, one.at_risk, one.outcome
    is_unestimated = cost is None and at_risk is None and one.billing in ("unknown", "pending")
    is_failure = outcome != "success"
    for row in rows:
        row[_AT_RISK] += sign * (at_risk or 0)
        row[_UNKNOWN_COST] += sign * (cost is None)
        row[_UNESTIMATED] += sign * is_unestimated
        row[_ERRORS] += sign * (outcome in ERRORS)
        row[_BLOCKED] += sign * (outcome == "blocked")
        row[_FAILURE_COST] += sign * (cost or 0) * is_failure
        row[_UNKNOWN_FAILURES] += sign * (is_failure and cost is None)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Sequence[tuple[str, str]], frozenset[str]]:
    """Return the tags that every reader tells the value of, and the keys of those whose values databases tell apart."""
    try:
        tags: Mapping[str, object] = _decode_tags(text)
    except msgspec.DecodeError:
        tags = _foreign(text)
    plain = {key: value for key, value in tags.items() if is_plain_key(key)}
    pairs = [(key, value) for key, value in plain.items() if is_plain_value(value)]
    return [pair for pair in pairs if pair[1]], frozenset(plain.keys() - dict(pairs))


def _foreign(text: str) -> Mapping[str, object]:
    """Return tags that are not only text, as none of ours are; nothing of what is no object."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return {}
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else {}


def _many(by_value: Iterable[Row]) -> set[str]:
    """Return the tags that have more values on a day than a rollup keeps."""
    values: dict[Row, set[str]] = {}
    for tag, day, value, _ in by_value:
        values.setdefault((tag, day), set()).add(value)
    return {tag for (tag, _), found in values.items() if len(found) > MOST_VALUES}


@lru_cache(maxsize=1024)
def _hour(hour: int) -> str:
    return f"{_day(hour // 24)} {hour % 24:02}:00:00+00"


@lru_cache(maxsize=1024)
def _day(day: int) -> str:
    # As text: where the clock is stopped for a test, a date is of a class that JSON does not know.
    return date.fromordinal(_EPOCH_DAY + day).isoformat()
