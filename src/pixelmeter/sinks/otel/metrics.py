"""Metrics of attempts through OpenTelemetry's API, under the names of its conventions where there are such."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import get_args

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider, get_meter

from pixelmeter import lifecycle
from pixelmeter._version import __version__
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.counting import COUNTS, Count, Tally, tally_of, tokens
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
}
"""What the labels of metrics are called here."""
_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class Metrics:
    """The instruments, and how an attempt is counted in them."""

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
        self._counters = [_Counter(meter, count) for count in COUNTS if count.metric in _COUNTERS]

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

    def _record(self, attempt: Attempt, context: Context) -> None:
        tally = tally_of(attempt)
        tally.gateway, tally.model = self._names(attempt, attempt.model)
        for counter in self._counters:
            counter.record(tally, context)
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
        priced = attempt.price_id is not None or attempt.at_risk is not None
        return self._series.names(attempt.gateway, attempt.operation, model, priced=priced)


class _Counter:
    """A counter of the catalogue under its name in OpenTelemetry."""

    def __init__(self, meter: Meter, count: Count) -> None:
        described = metric(count.metric)
        name, unit = _COUNTERS[count.metric]
        self._count = count
        self._attributes = [_ATTRIBUTES[label] for label in described.labels]
        self._counter = meter.create_counter(name, unit=unit, description=described.help)

    def record(self, tally: Tally, context: Context) -> None:
        """Add the number of an attempt."""
        number: int = getattr(tally, self._count.number)
        if number:
            attributes = dict(zip(self._attributes, self._count.labels(tally), strict=True))
            if not tally.error_type:
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
