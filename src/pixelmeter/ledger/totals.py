"""What a group of attempts adds to the totals since the ledger began."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from operator import attrgetter

from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.labels import error_type, quality_label, size_label
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.ledger.schema import DURATIONS, TOTALS, TOTALS_KEY

__all__ = ["SUMMED", "Key", "summarise"]

Key = tuple[str, ...]
"""The values of `pixelmeter.ledger.schema.TOTALS_KEY`."""

SUMMED = tuple(column.name for column in TOTALS.columns if not column.primary_key and column.name not in TOTALS_KEY)
"""What is added up, in the order of the table."""

_BOUNDS = [round(bound * 1e6) for bound in DURATION_BUCKETS]
_BUCKETS = 12
_MICROSECONDS = 1_000_000
_kind = attrgetter(
    "gateway", "operation", "model", "outcome", "status", "error_type", "error_code", "cost_source", "cost_reason",
    "size", "quality",
)  # fmt: skip


def summarise(attempts: Iterable[Attempt]) -> Mapping[Key, list[int]]:
    """Return what to add to SUMMED, by key; each attempt is counted once, so ids must not repeat."""
    return {key: _split(sums) for key, sums in _added_up(attempts).items()}


def _added_up(attempts: Iterable[Attempt]) -> Mapping[Key, list[int]]:
    totals: dict[Key, list[int]] = {}
    # Labels are worked out once for attempts that are alike, those of known and those of unknown cost.
    alike: tuple[dict[tuple[object, ...], list[int]], ...] = ({}, {})
    for one in attempts:
        kind = _kind(one)
        added = alike[one.cost is None].get(kind)
        if added is None:
            added = alike[one.cost is None][kind] = totals.setdefault(_key(one), [0] * (_BUCKETS + len(DURATIONS)))
        # In place and one by one: a seventh of a writer's CPU is spent here.
        added[0] += 1
        if one.attempt:
            added[1] += 1
        if one.images:
            added[2] += one.images
        if one.cost is None:
            added[5] += 1
        else:
            added[3] += one.cost
        if one.at_risk:
            added[4] += one.at_risk
        added[6] += one.duration
        if one.input_text_tokens:
            cached = min(one.cached_input_tokens or 0, one.input_text_tokens)
            added[7] += one.input_text_tokens - cached
            added[8] += cached
        if one.input_image_tokens:
            added[9] += one.input_image_tokens
        if one.output_text_tokens:
            added[10] += one.output_text_tokens
        if one.output_image_tokens:
            added[11] += one.output_image_tokens
        added[_BUCKETS + bisect_left(_BOUNDS, one.duration)] += 1
    return totals


def _split(sums: list[int]) -> list[int]:
    attempts, retries, images, cost, at_risk, unknown, duration, *rest = sums
    return [
        attempts,
        retries,
        images,
        *divmod(cost, NANO_PER_USD),
        *divmod(at_risk, NANO_PER_USD),
        unknown,
        *divmod(duration, _MICROSECONDS),
        *rest,
    ]


def _key(one: Attempt) -> Key:
    return (
        one.gateway,
        one.operation,
        one.model,
        one.outcome,
        error_type(one),
        one.cost_source,
        one.cost_reason or "" if one.cost is None else "",
        size_label(one),
        quality_label(one),
    )
