"""What attempts and changes of attempts add to the sums by hour, by day and by the value of a tag."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

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
    "HourSums",
    "RolledUp",
    "TagSums",
    "daily_rows",
    "hourly_row",
    "rolled_up",
    "tag_row",
]

_MICROSECONDS_PER_HOUR = 3_600_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class _Sums(msgspec.Struct, omit_defaults=True, gc=False):
    """What every rollup adds up. An encoded one leaves out what is 0."""

    attempts: int = 0
    calls: int = 0
    images: int = 0
    cost: int = 0
    fee: int = 0
    at_risk: int = 0
    unknown_cost_attempts: int = 0
    duration: int = 0
    unestimated_attempts: int = 0
    unknown_fee_attempts: int = 0
    priced_images: int = 0
    pixels: int = 0
    pixel_cost: int = 0


SUMS = _Sums.__struct_fields__
"""The sums of every rollup, in the order of their columns."""


class HourSums(_Sums, kw_only=True):
    """What is added to one row of the rollup by hour."""

    hour: str
    """The UTC hour, such as "2026-05-17 13:00:00+00"."""
    gateway: str
    provider: str
    operation: str
    model: str
    outcome: str
    latency_bucket: int


class TagSums(_Sums, kw_only=True):
    """What is added to one row of the rollup by the value of a tag."""

    tag: str
    day: str
    """The UTC day, such as "2026-05-17"."""
    value: str
    latency_bucket: int
    errors: int = 0
    blocked: int = 0
    failure_cost: int = 0
    unknown_failures: int = 0


HOURLY_KEY = ("hour", "gateway", "provider", "operation", "model", "outcome", "latency_bucket")
DAILY_KEY = ("day", *HOURLY_KEY[1:])
TAG_DAILY_KEY = ("tag", "day", "value", "latency_bucket")
TAG_SUMS = (*SUMS, "errors", "blocked", "failure_cost", "unknown_failures")
HOURLY_COLUMNS = (*HOURLY_KEY, *SUMS)
DAILY_COLUMNS = (*DAILY_KEY, *SUMS)
TAG_DAILY_COLUMNS = (*TAG_DAILY_KEY, *TAG_SUMS)

hourly_row = attrgetter(*HOURLY_COLUMNS)
tag_row = attrgetter(*TAG_DAILY_COLUMNS)
_of_hour = attrgetter(*HOURLY_KEY[1:])
_sums = attrgetter(*SUMS)
_tag_sums = attrgetter(*TAG_SUMS)
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


class RolledUp(NamedTuple):
    """What is added to rollups: one entry for each row that changes."""

    hourly: Sequence[HourSums]
    tag_daily: Sequence[TagSums]
    wide: Collection[str]
    """The keys of tags that turn out to be wide, which are in no entry."""


_Hours = dict[tuple[object, ...], HourSums]
_Tagged = dict[tuple[str, int, int], TagSums]


def rolled_up(attempts: Iterable[Attempt], changes: Iterable[Change], wide: Collection[str]) -> RolledUp:
    """Return what attempts and changes of attempts add; nothing to the tags that are known to be wide."""
    hours: _Hours = {}
    tagged: _Tagged = {}
    for attempt in attempts:
        _add(hours, tagged, attempt, 1)
    for change in changes:
        _add(hours, tagged, change.before, -1)
        _add(hours, tagged, change.after, 1)
    by_value, found = _by_value(tagged, wide)
    return RolledUp(list(hours.values()), by_value, found)


def daily_rows(hourly: Iterable[HourSums]) -> Iterable[tuple[Any, ...]]:
    """Return the same by day: the values of DAILY_COLUMNS."""
    days: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for sums in hourly:
        key = (sums.hour[:10], *_of_hour(sums))
        added = _sums(sums)
        known = days.get(key)
        days[key] = added if known is None else tuple(map(int.__add__, known, added))
    return [key + sums for key, sums in days.items()]


def _add(hours: _Hours, tagged: _Tagged, one: Attempt, sign: int) -> None:
    hour = one.started_at // _MICROSECONDS_PER_HOUR
    provider = one.provider or ""
    latency = bucket(one.duration)
    key = (hour, one.gateway, provider, one.operation, one.model, one.outcome, latency)
    sums = hours.get(key)
    if sums is None:
        sums = hours[key] = HourSums(
            hour=f"{_day(hour // 24)} {hour % 24:02}:00:00+00",
            gateway=one.gateway,
            provider=provider,
            operation=one.operation,
            model=one.model,
            outcome=one.outcome,
            latency_bucket=latency,
        )
    _count(sums, one, sign)
    if one.tags == "{}":
        return
    alike = (one.tags, hour // 24, latency)
    of_tags = tagged.get(alike)
    if of_tags is None:
        of_tags = tagged[alike] = TagSums(tag="", day=_day(hour // 24), value="", latency_bucket=latency)
    _count(of_tags, one, sign)
    if one.outcome != "success":
        if one.outcome in ERRORS:
            of_tags.errors += sign
        elif one.outcome == "blocked":
            of_tags.blocked += sign
        if one.cost is None:
            of_tags.unknown_failures += sign
        else:
            of_tags.failure_cost += sign * one.cost


def _count(sums: _Sums, one: Attempt, sign: int) -> None:
    # Written out, because a good part of a writer's CPU is spent here.
    sums.attempts += sign
    if not one.attempt and one.outcome != "blocked":
        sums.calls += sign
    images = one.images
    if images:
        sums.images += sign * images
    cost = one.cost
    if cost is None:
        sums.unknown_cost_attempts += sign
        if one.at_risk is None and one.billing in ("unknown", "pending"):
            sums.unestimated_attempts += sign
    else:
        sums.cost += sign * cost
        if images:
            sums.priced_images += sign * images
        pixels = delivered_pixels(images, one.size)
        if pixels is not None:
            sums.pixels += sign * pixels
            sums.pixel_cost += sign * cost
    if one.fee is None:
        sums.unknown_fee_attempts += sign
    else:
        sums.fee += sign * one.fee
    if one.at_risk:
        sums.at_risk += sign * one.at_risk
    sums.duration += sign * one.duration


def _by_value(tagged: _Tagged, wide: Collection[str]) -> tuple[Sequence[TagSums], Collection[str]]:
    """Return the sums of each value of each tag, from those of attempts whose tags are all the same."""
    texts: dict[str, Sequence[tuple[str, str]]] = {}
    found_wide: set[str] = set()
    by_value: dict[tuple[str, str, str, int], TagSums] = {}
    for (text, _, latency), sums in tagged.items():
        pairs = texts.get(text)
        if pairs is None:
            pairs = texts[text] = [(key, value) for key, value in _pairs(text, found_wide) if key not in wide and value]
        for tag, value in pairs:
            key = (tag, sums.day, value, latency)
            known = by_value.get(key)
            if known is None:
                by_value[key] = msgspec.structs.replace(sums, tag=tag, value=value)
            else:
                _merge(known, sums)
    if len(by_value) > MOST_VALUES:
        found_wide |= _many(by_value)
    if found_wide:
        return [sums for sums in by_value.values() if sums.tag not in found_wide], found_wide - set(wide)
    return list(by_value.values()), ()


def _pairs(text: str, found_wide: set[str]) -> Iterable[tuple[str, str]]:
    """Yield the tags of which every reader tells the same value; the keys of the others are added to `found_wide`."""
    try:
        tags: Mapping[str, object] = _decode_tags(text)
    except msgspec.DecodeError:
        tags = _foreign(text)
    for key, value in tags.items():
        if not is_plain_key(key):
            continue
        if is_plain_value(value):
            yield key, value
        else:
            found_wide.add(key)


def _foreign(text: str) -> Mapping[str, object]:
    """Return tags that are not only text, as none of ours are; nothing of what is no object."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _many(by_value: Iterable[tuple[str, str, str, int]]) -> set[str]:
    """Return the tags that have more values on a day than a rollup keeps."""
    values: dict[tuple[str, str], set[str]] = {}
    for tag, day, value, _ in by_value:
        values.setdefault((tag, day), set()).add(value)
    return {tag for (tag, _), found in values.items() if len(found) > MOST_VALUES}


def _merge(known: TagSums, added: TagSums) -> None:
    for name, value in zip(TAG_SUMS, _tag_sums(added), strict=True):
        if value:
            setattr(known, name, getattr(known, name) + value)


def _day(day: int) -> str:
    # As text: where the clock is stopped for a test, a date is of a class that JSON does not know.
    return date.fromordinal(_EPOCH_DAY + day).isoformat()
