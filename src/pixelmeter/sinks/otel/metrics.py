"""Metrics of attempts through OpenTelemetry's API, under the names of its conventions where there are such."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter

from pixelmeter import lifecycle
from pixelmeter._version import __version__
from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.labels import error_type, quality_label, size_label
from pixelmeter.core.metrics import DURATION_BUCKETS, metric
from pixelmeter.sinks.otel import semconv
from pixelmeter.sinks.otel.attributes import ANSWERED
from pixelmeter.sinks.otel.usage import LatestUsage, Usage
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
        self._usage = LatestUsage(meter) if latest else Usage(meter)
        self._requests = meter.create_counter(
            "pixelmeter.requests", unit="{request}", description=_help("pixelmeter_requests_total")
        )
        self._retries = meter.create_counter(
            "pixelmeter.retries", unit="{request}", description=_help("pixelmeter_retries_total")
        )
        self._cost = meter.create_counter("pixelmeter.cost", unit="USD", description=_help("pixelmeter_cost_usd_total"))
        self._at_risk = meter.create_counter(
            "pixelmeter.at_risk", unit="USD", description=_help("pixelmeter_at_risk_usd_total")
        )
        self._unknown = meter.create_counter(
            "pixelmeter.unknown_cost_requests",
            unit="{request}",
            description=_help("pixelmeter_unknown_cost_requests_total"),
        )
        self._images = meter.create_counter(
            "pixelmeter.images", unit="{image}", description=_help("pixelmeter_images_total")
        )

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
        error = error_type(attempt)
        gateway, model = self._names(attempt, attempt.model)
        call = {"pixelmeter.gateway": gateway, "pixelmeter.operation": attempt.operation, "pixelmeter.model": model}
        failure = {semconv.ERROR_TYPE: error} if error else {}
        self._requests.add(1, {**call, "pixelmeter.outcome": attempt.outcome, **failure}, context)
        if attempt.attempt:
            self._retries.add(1, call, context)
        if attempt.cost is None:
            self._unknown.add(1, {**call, "pixelmeter.cost.reason": attempt.cost_reason or ""}, context)
        elif attempt.cost:
            dollars = attempt.cost / NANO_PER_USD
            self._cost.add(dollars, {**call, "pixelmeter.cost.source": attempt.cost_source}, context)
        if attempt.at_risk:
            self._at_risk.add(attempt.at_risk / NANO_PER_USD, call, context)
        if attempt.images:
            shape = {"pixelmeter.image.size": size_label(attempt), "pixelmeter.image.quality": quality_label(attempt)}
            self._images.add(attempt.images, {**call, **shape}, context)
        standard = self._standard(attempt, gateway, model)
        self._usage.record(attempt, standard, context)
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


def _help(name: str) -> str:
    return metric(name).help
