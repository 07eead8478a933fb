"""Metrics of attempts through OpenTelemetry's API, under the names of its conventions where there are such."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import get_args

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Meter, MeterProvider, get_meter
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

from pixelmeter import lifecycle
from pixelmeter._version import __version__
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.counting import (
    ADJUSTMENT_COUNTS,
    COUNTS,
    AdjustmentTally,
    Count,
    Tally,
    adjustment_tallies,
    tally_of,
    tokens,
)
from pixelmeter.core.labels import Direction
from pixelmeter.core.metrics import DURATION_BUCKETS, metric
from pixelmeter.sinks.otel import semconv
from pixelmeter.sinks.otel.attributes import ANSWERED
from pixelmeter.sinks.series import Series

__all__ = ["Metrics"]

# What decides how many names there may be: the series that each gateway, operation and model has at least.
_BOUNDING = (
    "pixelmeter_requests_total",
    "pixelmeter_request_duration_seconds",
    "pixelmeter_cost_usd_total",
    "pixelmeter_at_risk_usd_total",
    "pixelmeter_unknown_cost_requests_total",
    "pixelmeter_images_total",
    "pixelmeter_tokens_total",
)
_COUNTERS = {
    "pixelmeter_requests_total": ("pixelmeter.requests", "{request}"),
    "pixelmeter_retries_total": ("pixelmeter.retries", "{request}"),
    "pixelmeter_cost_usd_total": ("pixelmeter.cost", "USD"),
    "pixelmeter_at_risk_usd_total": ("pixelmeter.at_risk", "USD"),
    "pixelmeter_unknown_cost_requests_total": ("pixelmeter.unknown_cost_requests", "{request}"),
    "pixelmeter_images_total": ("pixelmeter.images", "{image}"),
    "pixelmeter_jobs_total": ("pixelmeter.jobs", "{job}"),
    "pixelmeter_adjustments_usd_total": ("pixelmeter.adjustments", "USD"),
    "pixelmeter_at_risk_adjustments_usd_total": ("pixelmeter.at_risk_adjustments", "USD"),
}
"""What the counters are called here, and their units."""
_ATTRIBUTES = {
    "gateway": "pixelmeter.gateway",
    "operation": "pixelmeter.operation",
    "model": "pixelmeter.model",
    "outcome": "pixelmeter.outcome",
    "error_type": semconv.ERROR_TYPE,
    "cost_source": "pixelmeter.cost.source",
    "reason": "pixelmeter.cost.reason",
    "size": "pixelmeter.image.size",
    "quality": "pixelmeter.image.quality",
    "kind": "pixelmeter.adjustment.kind",
    "direction": "pixelmeter.adjustment.direction",
}
"""What the labels of metrics are called here."""
_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class Metrics:
    """The instruments, and how an attempt and what adjusts it are counted in them."""

    def __init__(self, provider: MeterProvider | None, *, latest: bool) -> None:
        """`latest` chooses the names of the conventions after 1.41."""
        self.lock = threading.RLock()
        """Held by whoever counts, and by a fork: a child could not get at a lock of ours or the SDK's that is held."""
        lifecycle.register(self)
        meter = get_meter("pixelmeter", __version__, provider)
        self._series = Series([metric(name) for name in _BOUNDING])
        self._duration = meter.create_histogram(
            "gen_ai.client.inference.duration" if latest else "gen_ai.client.operation.duration",
            unit="s",
            description="Time from sending an attempt to the end of its answer.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._usage = _LatestUsage(meter) if latest else _Usage(meter)
        counters = {name: _counter(meter, name) for name in _COUNTERS}
        self._counters = [_Counter(counters[count.metric], count) for count in COUNTS if count.metric in _COUNTERS]
        self._adjusting = [_Counter(counters[count.metric], count) for count in ADJUSTMENT_COUNTS]

    def locks(self) -> Sequence[lifecycle.Lock]:
        """Return what a fork should hold."""
        return (self.lock,)

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self.lock = threading.RLock()

    def record(self, attempt: Attempt, context: Context) -> None:
        """Count an attempt that has ended; `context` has its span, for exemplars."""
        with self.lock:
            self._record(attempt, context)

    def adjust(self, change: Change) -> None:
        """Count what a later fact changed of an attempt."""
        # Not the current span, for exemplars: that is of somebody else.
        context = set_span_in_context(INVALID_SPAN, Context())
        priced = _is_priced(change.before) or _is_priced(change.after)
        with self.lock:
            for tally in adjustment_tallies(change):
                tally.gateway, tally.model = self._series.names(
                    tally.gateway, tally.operation, tally.model, priced=priced
                )
                for counter in self._adjusting:
                    counter.record(tally, context)

    def _record(self, attempt: Attempt, context: Context) -> None:
        tally = tally_of(attempt)
        tally.gateway, tally.model = self._names(attempt, attempt.model)
        for counter in self._counters:
            counter.record(tally, context)
        if attempt.outcome == "blocked":  # nothing was sent that could have taken time
            return
        standard = self._standard(attempt, tally.gateway, tally.model)
        self._usage.record(tally, standard, context)
        failure = {semconv.ERROR_TYPE: tally.error_type} if tally.error_type else {}
        self._duration.record(attempt.duration / 1e6, {**standard, **failure}, context)

    def _standard(self, attempt: Attempt, gateway: str, model: str) -> dict[str, str]:
        asked = attempt.requested_model or attempt.model
        labels = {
            semconv.OPERATION_NAME: semconv.GENERATE_CONTENT,
            semconv.PROVIDER_NAME: semconv.provider_of(attempt.gateway),
            "pixelmeter.gateway": gateway,
            "pixelmeter.operation": attempt.operation,
        }
        if asked:
            labels[semconv.REQUEST_MODEL] = model if asked == attempt.model else self._names(attempt, asked)[1]
        if model and attempt.outcome in ANSWERED:
            labels[semconv.RESPONSE_MODEL] = model
        return labels

    def _names(self, attempt: Attempt, model: str) -> tuple[str, str]:
        return self._series.names(attempt.gateway, attempt.operation, model, priced=_is_priced(attempt))


def _is_priced(attempt: Attempt) -> bool:
    return attempt.price_id is not None or attempt.at_risk is not None


def _counter(meter: Meter, name: str) -> Counter:
    """Return a counter of the catalogue under its name in OpenTelemetry."""
    named, unit = _COUNTERS[name]
    return meter.create_counter(named, unit=unit, description=metric(name).help)


class _Counter:
    """A counter, and which number of a tally goes into it."""

    def __init__(self, counter: Counter, count: Count) -> None:
        self._count = count
        self._attributes = [_ATTRIBUTES[label] for label in metric(count.metric).labels]
        self._counter = counter

    def record(self, tally: Tally | AdjustmentTally, context: Context) -> None:
        """Add the number of an attempt, or of an adjustment."""
        number: int = getattr(tally, self._count.number)
        if number:
            attributes = dict(zip(self._attributes, self._count.labels(tally), strict=True))
            if not attributes.get(semconv.ERROR_TYPE):
                attributes.pop(semconv.ERROR_TYPE, None)
            self._counter.add(self._count.value(number), attributes, context)


class _Usage:
    """`gen_ai.client.token.usage`: the tokens of an attempt, by input and output."""

    def __init__(self, meter: Meter) -> None:
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of an attempt that the gateway counted.",
            explicit_bucket_boundaries_advisory=semconv.TOKEN_BUCKETS,
        )

    def record(self, tally: Tally, labels: Mapping[str, str], context: Context) -> None:
        """Record what the gateway counted."""
        for direction, number in _totals(tally).items():
            self._tokens.record(number, {**labels, semconv.TOKEN_TYPE: direction}, context)


class _LatestUsage:
    """`gen_ai.client.inference.usage.*`, which can be summed, and `gen_ai.client.inference.operation.*_tokens`."""

    def __init__(self, meter: Meter) -> None:
        self._used = {
            direction: meter.create_counter(
                f"gen_ai.client.inference.usage.{direction}_tokens",
                unit="{token}",
                description=f"Tokens of the {direction} that the gateway counted.",
            )
            for direction in _DIRECTIONS
        }
        self._cached = meter.create_counter(
            "gen_ai.client.inference.usage.cache_read.input_tokens",
            unit="{token}",
            description="Tokens of the input that came from the gateway's cache.",
        )
        self._by_attempt = {
            direction: meter.create_histogram(
                f"gen_ai.client.inference.operation.{direction}_tokens",
                unit="{token}",
                description=f"Tokens of the {direction} of an attempt that the gateway counted.",
                explicit_bucket_boundaries_advisory=semconv.TOKEN_BUCKETS,
            )
            for direction in _DIRECTIONS
        }

    def record(self, tally: Tally, labels: Mapping[str, str], context: Context) -> None:
        """Record what the gateway counted."""
        for direction, modality, number in tokens(tally):
            kind = modality.removeprefix("cached_")
            self._used[direction].add(number, {**labels, semconv.TOKEN_MODALITY: kind}, context)
            if kind != modality:
                self._cached.add(number, {**labels, semconv.TOKEN_MODALITY: kind}, context)
        for direction, number in _totals(tally).items():
            self._by_attempt[direction].record(number, labels, context)


def _totals(tally: Tally) -> Mapping[Direction, int]:
    totals: dict[Direction, int] = {}
    for direction, _, number in tokens(tally):
        totals[direction] = totals.get(direction, 0) + number
    return totals
