"""What reports add up, as SQL: sums of attempts, of the rollups of them, of retries, and of routed attempts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from pixelmeter.core.reporting.latency import bucket
from pixelmeter.core.reporting.report import ERRORS, Group
from pixelmeter.ledger.dialect import Dialect, wide

__all__ = [
    "BUCKETS",
    "BUCKETS_OF_ATTEMPTS",
    "BUCKETS_OF_ROLLUP",
    "BUCKETS_OF_TAGS",
    "OF_ATTEMPTS",
    "OF_RETRIES",
    "OF_ROLLUP",
    "OF_ROUTED",
    "OF_TAGS",
    "UNESTIMATED",
    "Sum",
    "bucket_of",
    "group_of",
    "retried",
    "selected",
]

_ERRORS = ", ".join(f"'{outcome}'" for outcome in ERRORS)
# Of a billed attempt nothing is at risk, also where nobody knows its price.
UNESTIMATED = "cost IS NULL AND at_risk IS NULL AND billing IN ('unknown', 'pending')"
_UNSETTLED = "billing IN ('unknown', 'pending')"
_AGAIN = "billing = 'billed' AND billed_before > 0"


# A latency bucket and how many attempts of it were sent, in one number: so many bits have the bucket.
_BITS = 10
_BUCKET = (1 << _BITS) - 1
BUCKETS = f"sent * {1 << _BITS} + bucket"
BUCKETS_OF_ATTEMPTS = f"CASE WHEN outcome <> 'blocked' THEN {1 << _BITS} + bucket END"
BUCKETS_OF_ROLLUP = f"CASE WHEN outcome <> 'blocked' THEN attempts * {1 << _BITS} + latency_bucket END"
BUCKETS_OF_TAGS = f"(attempts - blocked) * {1 << _BITS} + latency_bucket"
_LONGEST = 2**63 - 1


class Sum(NamedTuple):
    """The SQL of one sum: of what, and whether that may not fit into 64 bits."""

    text: str
    is_money: bool = False


def _money(nano_dollars: str) -> Sum:
    return Sum(nano_dollars, is_money=True)


def _count(condition: str) -> Sum:
    return Sum(f"count(*) FILTER (WHERE {condition})")


def _number(column: str) -> Sum:
    return Sum(f"coalesce(sum({column}), 0)")


def _where(column: str, condition: str) -> Sum:
    return Sum(f"coalesce(sum({column}) FILTER (WHERE {condition}), 0)")


# Each by the name of the sum of a `Row` that it becomes.
OF_ATTEMPTS: Mapping[str, Sum] = {
    "attempts": Sum("count(*)"),
    "calls": _count("attempt = 0 AND outcome <> 'blocked'"),
    "blocked": _count("outcome = 'blocked'"),
    "images": Sum("coalesce(sum(images), 0)"),
    "errors": _count(f"outcome IN ({_ERRORS})"),
    "cost": _money("cost"),
    "unknown_cost_attempts": Sum("count(*) - count(cost)"),
    "fee": _money("fee"),
    "unknown_fee_attempts": Sum("count(*) - count(fee)"),
    "at_risk": _money("at_risk"),
    "unestimated_attempts": _count(UNESTIMATED),
    "priced_images": Sum("coalesce(sum(images) FILTER (WHERE cost IS NOT NULL), 0)"),
    "pixels": _money("pixels"),
    "pixel_cost": _money("CASE WHEN pixels IS NOT NULL THEN cost END"),
    "failure_cost": _money("CASE WHEN outcome <> 'success' THEN cost END"),
    "unknown_failures": _count("outcome <> 'success' AND cost IS NULL"),
}
_SUMMED: Mapping[str, Sum] = {
    "attempts": _number("attempts"),
    "calls": _number("calls"),
    "images": _number("images"),
    "cost": _money("cost"),
    "unknown_cost_attempts": _number("unknown_cost_attempts"),
    "fee": _money("fee"),
    "unknown_fee_attempts": _number("unknown_fee_attempts"),
    "at_risk": _money("at_risk"),
    "unestimated_attempts": _number("unestimated_attempts"),
    "priced_images": _number("priced_images"),
    "pixels": _money("pixels"),
    "pixel_cost": _money("pixel_cost"),
}
OF_ROLLUP: Mapping[str, Sum] = {
    **_SUMMED,
    "blocked": _where("attempts", "outcome = 'blocked'"),
    "errors": _where("attempts", f"outcome IN ({_ERRORS})"),
    "failure_cost": _money("CASE WHEN outcome <> 'success' THEN cost END"),
    "unknown_failures": _where("unknown_cost_attempts", "outcome <> 'success'"),
}
OF_TAGS: Mapping[str, Sum] = {
    **_SUMMED,
    **{name: _number(name) for name in ("blocked", "errors", "unknown_failures")},
    "failure_cost": _money("failure_cost"),
}

OF_RETRIES: Mapping[str, Sum] = {
    "retry_cost": _money("cost"),
    "unknown_retries": Sum("count(*) - count(cost)"),
    "paid_twice": _count("billing = 'billed' AND billed_before = 1"),
    "paid_twice_cost": _money(f"CASE WHEN {_AGAIN} THEN cost END"),
    "unknown_paid_twice": _count(f"{_AGAIN} AND cost IS NULL"),
    "paid_twice_at_risk": _money(
        f"CASE WHEN billing = 'billed' AND billed_before = 0 THEN risk_before"
        f" WHEN {_UNSETTLED} AND billed_before > 0 THEN at_risk END"
    ),
    "unestimated_paid_twice": Sum(
        "coalesce(sum(CASE WHEN billing = 'billed' AND billed_before = 0 THEN unestimated_before"
        f" WHEN {UNESTIMATED} AND billed_before > 0 THEN 1 END), 0)"
    ),
}
"""Money that was paid twice counts with the later attempt; where that is the first one billed, what is at risk of those
before it counts with it too. So each amount counts once, and the sums of parts add up."""
OF_ROUTED: Mapping[str, Sum] = {
    "routed_attempts": Sum("count(*)"),
    "baseline": _money("baseline_cost"),
    "stated_baselines": Sum("count(baseline_cost)"),
    "route_fee": _money("route_fee"),
    "stated_route_fees": Sum("count(route_fee)"),
    "savings": _money("savings"),
    "stated_savings": Sum("count(savings)"),
}


def retried(relation: str) -> str:
    """Return the columns that tell of an attempt of a relation, named `one`, what became of those before it."""
    is_earlier = "early.call_id = one.call_id AND (early.attempt, early.id) < (one.attempt, one.id)"
    earlier = f"FROM {relation} AS early WHERE {is_earlier}"
    return (
        f"(SELECT count(*) {earlier} AND early.billing = 'billed') AS billed_before,"
        f" (SELECT sum(early.at_risk) {earlier} AND early.{_UNSETTLED}) AS risk_before,"
        f" (SELECT count(*) {earlier} AND early.cost IS NULL AND early.at_risk IS NULL AND early.{_UNSETTLED})"
        " AS unestimated_before"
    )


def selected(sums: Mapping[str, Sum], dialect: Dialect, *, is_wide: bool) -> Iterator[str]:
    """Yield the SQL of the columns of sums, in order; those of money may go past 64 bits where it is wide."""
    for one in sums.values():
        if one.is_money and is_wide:
            yield from dialect.wide_sum(one.text)
        else:
            yield f"coalesce(sum({one.text}), 0)" if one.is_money else one.text


def group_of(
    key: tuple[str | None, ...], sums: Mapping[str, Sum], values: Iterator[Any], width: int, has_buckets: bool
) -> Group:
    """Return the group of what a database found: the values of `selected`, `width` of them an amount of money.

    The last one, where there are buckets, is what `Dialect.joined` makes of them.
    """
    if width == 1:
        found = dict(zip(sums, map(int, values), strict=False))
    else:
        found = {
            name: wide(*islice(values, width)) if one.is_money else int(next(values)) for name, one in sums.items()
        }
    return Group(key, found, _histogram(next(values) or "") if has_buckets else {})


def _histogram(text: str) -> Mapping[int, int]:
    if text.isdecimal():
        both = int(text)
        return {both & _BUCKET: both >> _BITS}
    counts: dict[int, int] = {}
    for both in map(int, text.split(",")) if text else ():
        bucket = both & _BUCKET
        counts[bucket] = counts.get(bucket, 0) + (both >> _BITS)
    return counts


def bucket_of(dialect: Dialect) -> str:
    """Return the latency bucket of a row's duration, as `pixelmeter.core.reporting.latency.bucket` has it.

    Databases differ in their logarithms, so the bounds are worked out here, and SQL only searches them.
    """
    return dialect.rank("duration", _bounds())


@cache
def _bounds() -> list[int]:
    return [_shortest(index) for index in range(1, bucket(_LONGEST) + 1)]


def _shortest(index: int) -> int:
    """Return the shortest duration, in microseconds, of a bucket."""
    low, high = 0, 1
    while bucket(high) < index:
        low, high = high, high * 2
    return low + bisect_left(range(low, min(high, _LONGEST)), index, key=bucket)
