"""What an attempt, and a later fact about it, adds to each metric and total: the one table for all who count.

`Tally.add` says which numbers an attempt adds and on which condition, `COUNTS` which metric shows which of them, and
`key_of` what they are told apart by; `adjustment_tallies` and `ADJUSTMENT_COUNTS` say the same of adjustments. The
metrics of a process, those of OpenTelemetry, the totals of the ledger and the exporter that shows these all go by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, cast

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.labels import Direction, Modality, error_type, quality_label, size_label
from pixelmeter.core.metrics import MetricKind, metric

__all__ = [
    "ADJUSTMENT_COUNTS",
    "COUNTS",
    "AdjustmentKey",
    "AdjustmentTally",
    "Count",
    "Key",
    "Tally",
    "adjustment_tallies",
    "key_of",
    "observed",
    "tally_of",
    "tokens",
]

_MICROSECONDS = 1_000_000
Labels = tuple[str, ...]


class Key(NamedTuple):
    """What counts are told apart by; "" where an attempt does not have it."""

    gateway: str
    operation: str
    model: str
    outcome: str
    error_type: str
    cost_source: str
    cost_reason: str
    """Why the cost is unknown; "" where it is known, and of any job that has not ended `pending_job`."""
    size: str
    quality: str


def key_of(attempt: Attempt) -> Key:
    """Return what an attempt is counted under."""
    return Key(
        attempt.gateway,
        attempt.operation,
        attempt.model,
        attempt.outcome,
        error_type(attempt),
        attempt.cost_source,
        _unknown_for(attempt),
        size_label(attempt),
        quality_label(attempt),
    )


def _unknown_for(attempt: Attempt) -> str:
    if attempt.cost is not None:
        return ""
    return "pending_job" if attempt.billing == "pending" else attempt.cost_reason or ""


@dataclass(slots=True)
class Tally:
    """What attempts of one key add up to: the key, then the sums; money in nano-dollars, time in microseconds."""

    gateway: str
    operation: str
    model: str
    outcome: str
    error_type: str
    cost_source: str
    cost_reason: str
    size: str
    quality: str
    attempts: int = 0
    retries: int = 0
    images: int = 0
    cost: int = 0
    at_risk: int = 0
    unknown_cost_attempts: int = 0
    duration: int = 0
    input_text_tokens: int = 0
    """Those that were not cached."""
    cached_input_tokens: int = 0
    input_image_tokens: int = 0
    output_text_tokens: int = 0
    output_image_tokens: int = 0

    def add(self, attempt: Attempt) -> None:
        """Add what an attempt counts for; each of its tokens is counted once."""
        # One by one, and nothing is added that is 0: a seventh of a writer's CPU is spent here.
        self.attempts += 1
        if attempt.outcome == "blocked":  # nothing was sent, so it repeated nothing, and it has no other number
            return
        if attempt.attempt:
            self.retries += 1
        if attempt.images:
            self.images += attempt.images
        if attempt.cost is None:
            self.unknown_cost_attempts += 1
        else:
            self.cost += attempt.cost
        if attempt.at_risk:
            self.at_risk += attempt.at_risk
        self.duration += attempt.duration
        if attempt.input_text_tokens:
            # Cached input is part of the text input, as far as gateways tell them apart.
            cached = min(attempt.cached_input_tokens or 0, attempt.input_text_tokens)
            self.input_text_tokens += attempt.input_text_tokens - cached
            self.cached_input_tokens += cached
        if attempt.input_image_tokens:
            self.input_image_tokens += attempt.input_image_tokens
        if attempt.output_text_tokens:
            self.output_text_tokens += attempt.output_text_tokens
        if attempt.output_image_tokens:
            self.output_image_tokens += attempt.output_image_tokens


def tally_of(attempt: Attempt) -> Tally:
    """Return what one attempt counts for, under its own key."""
    tally = Tally(*key_of(attempt))
    tally.add(attempt)
    return tally


class AdjustmentKey(NamedTuple):
    """What adjustments are told apart by."""

    gateway: str
    operation: str
    model: str
    kind: str
    outcome: str
    """Of the end of a job; "" of any other adjustment."""
    size: str
    """Of the images that came with it; "" without any."""
    quality: str


@dataclass(slots=True)
class AdjustmentTally:
    """What adjustments of one key add to counters, which never fall: what goes up, and apart from it what goes down."""

    gateway: str
    operation: str
    model: str
    kind: str
    outcome: str
    size: str = ""
    quality: str = ""
    adjustments: int = 0
    jobs: int = 0
    """Jobs that have ended."""
    images: int = 0
    """Images that were delivered at the end of a job."""
    cost_up: int = 0
    """Nano-dollars that the known cost rose by."""
    cost_down: int = 0
    at_risk_up: int = 0
    at_risk_down: int = 0

    def add(self, other: AdjustmentTally) -> None:
        """Add what others count for."""
        self.adjustments += other.adjustments
        self.jobs += other.jobs
        self.images += other.images
        self.cost_up += other.cost_up
        self.cost_down += other.cost_down
        self.at_risk_up += other.at_risk_up
        self.at_risk_down += other.at_risk_down


def adjustment_tallies(change: Change) -> tuple[AdjustmentTally, ...]:
    """Return what an adjustment counts for: two of them where it gives the attempt another model.

    A job is counted when its end is heard of first, and not for other attempts that were answered with the same job.
    """
    adjustment, before, after = change
    is_end = adjustment.kind == "job" and before.outcome == "pending" != after.outcome
    outcome = after.outcome if adjustment.kind == "job" else ""
    now = AdjustmentTally(after.gateway, after.operation, after.model, adjustment.kind, outcome)
    now.adjustments = 1
    now.jobs = int(is_end and after.cost_reason != "same_job" and adjustment.job_duration is not None)
    now.images = max((after.images or 0) - (before.images or 0), 0)
    if now.images:
        now.size, now.quality = size_label(after), quality_label(after)
    if before.model == after.model:
        _move(now, (after.cost or 0) - (before.cost or 0), (after.at_risk or 0) - (before.at_risk or 0))
        return (now,)
    _move(now, after.cost or 0, after.at_risk or 0)
    then = AdjustmentTally(before.gateway, before.operation, before.model, adjustment.kind, outcome)
    _move(then, -(before.cost or 0), -(before.at_risk or 0))
    return now, then


def _move(tally: AdjustmentTally, cost: int, at_risk: int) -> None:
    tally.cost_up, tally.cost_down = max(cost, 0), max(-cost, 0)
    tally.at_risk_up, tally.at_risk_down = max(at_risk, 0), max(-at_risk, 0)


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """A metric, and the number that goes into it."""

    metric: str
    kind: MetricKind
    number: str
    """Of a counter a field of a tally, added where it is not 0; else a field of `Attempt`, shown where it is known."""
    unit: int
    """How many of that number are 1 in the metric: nano-dollars are shown as dollars, microseconds as seconds."""
    fixed: tuple[str, ...]
    """The values of the labels that do not come from the key; they are the last ones."""
    labels: Callable[[Key | Tally | AdjustmentTally], Labels]
    """Returns the values of the metric's labels."""

    def value(self, number: int) -> float:
        """Return a number in the unit of the metric, as an integer where that is its own."""
        return number if self.unit == 1 else number / self.unit


def _count(name: str, number: str, unit: int = 1, **fixed: str) -> Count:
    fields = ["cost_reason" if each == "reason" else each for each in metric(name).labels if each not in fixed]
    return Count(
        metric=name,
        kind=metric(name).kind,
        number=number,
        unit=unit,
        fixed=tuple(fixed.values()),
        labels=_labels(fields, tuple(fixed.values())),
    )


def _labels(fields: Sequence[str], fixed: Labels) -> Callable[[Key | Tally | AdjustmentTally], Labels]:
    if len(fields) == 1:  # of which `attrgetter` returns the value, not a tuple
        return lambda key: (getattr(key, fields[0]), *fixed)
    pick: Callable[[object], Labels] = attrgetter(*fields)
    return (lambda key: pick(key) + fixed) if fixed else pick


def _token_count(number: str, direction: Direction, modality: Modality) -> Count:
    return _count("pixelmeter_tokens_total", number, direction=direction, modality=modality)


COUNTS: tuple[Count, ...] = (
    _count("pixelmeter_requests_total", "attempts"),
    _count("pixelmeter_retries_total", "retries"),
    _count("pixelmeter_request_duration_seconds", "duration", _MICROSECONDS),
    _count("pixelmeter_time_to_first_byte_seconds", "first_byte", _MICROSECONDS),
    _count("pixelmeter_time_to_first_image_seconds", "first_image", _MICROSECONDS),
    _count("pixelmeter_ratelimit_remaining", "remaining_requests", kind="requests"),
    _count("pixelmeter_cost_usd_total", "cost", NANO_PER_USD),
    _count("pixelmeter_unknown_cost_requests_total", "unknown_cost_attempts"),
    _count("pixelmeter_at_risk_usd_total", "at_risk", NANO_PER_USD),
    _count("pixelmeter_images_total", "images"),
    _token_count("input_text_tokens", "input", "text"),
    _token_count("cached_input_tokens", "input", "cached_text"),
    _token_count("input_image_tokens", "input", "image"),
    _token_count("output_text_tokens", "output", "text"),
    _token_count("output_image_tokens", "output", "image"),
)
"""In the order in which their labels get room."""


def observed(count: Count, attempt: Attempt) -> int | None:
    """Return the number that a histogram or a gauge takes of an attempt; None where there is none.

    One that a budget refused has taken no time at all.
    """
    number: int | None = None if attempt.outcome == "blocked" else getattr(attempt, count.number)
    return number


ADJUSTMENT_COUNTS: tuple[Count, ...] = (
    _count("pixelmeter_jobs_total", "jobs"),
    _count("pixelmeter_adjustments_usd_total", "cost_up", NANO_PER_USD, direction="up"),
    _count("pixelmeter_adjustments_usd_total", "cost_down", NANO_PER_USD, direction="down"),
    _count("pixelmeter_at_risk_adjustments_usd_total", "at_risk_up", NANO_PER_USD, direction="up"),
    _count("pixelmeter_at_risk_adjustments_usd_total", "at_risk_down", NANO_PER_USD, direction="down"),
    _count("pixelmeter_images_total", "images"),
)
"""The same of an `AdjustmentTally`."""

_TOKENS = tuple(
    (cast("tuple[Direction, Modality]", count.fixed), count.number)
    for count in COUNTS
    if count.metric == "pixelmeter_tokens_total"
)


def tokens(tally: Tally) -> Iterator[tuple[Direction, Modality, int]]:
    """Yield the token counts that the gateway gave, each token once, zeros left out."""
    for (direction, modality), name in _TOKENS:
        number: int = getattr(tally, name)
        if number:
            yield direction, modality, number
