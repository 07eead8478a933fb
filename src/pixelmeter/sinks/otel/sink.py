"""The sink that turns attempts into OpenTelemetry spans and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health
from pixelmeter.errors import ConfigError
from pixelmeter.settings import CostAttributes, from_environment

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["OtelSink"]


class OtelSink:
    """A sink that makes OpenTelemetry spans and metrics of image calls, for `Meter(sinks=[OtelSink()])`.

    A provider of None means the global one, also when that is set later; without an SDK of OpenTelemetry nothing
    happens. `cost_attributes` puts the cost on spans under further names: "semconv" as `gen_ai.usage.cost.amount` and
    its like, as proposed for the conventions, "openlit" as `gen_ai.usage.cost`; None leaves it to the setting
    `PIXELMETER_COST_ATTRIBUTES`. Raises ConfigError where OpenTelemetry is not installed, and for a setting that cannot
    be used.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        cost_attributes: CostAttributes | None = None,
    ) -> None:
        # Here and not above: importing this module loads no OpenTelemetry.
        try:
            from pixelmeter.sinks.otel.metrics import Metrics
            from pixelmeter.sinks.otel.spans import Spans
        except ImportError as error:
            raise ConfigError(f'OpenTelemetry is needed ({error}): pip install "pixelmeter[otel]"') from None

        settings = from_environment()
        self._spans = Spans(tracer_provider, cost_attributes or settings.cost_attributes)
        self._metrics = Metrics(meter_provider, latest=settings.latest_conventions)

    def begin(self, intent: Attempt) -> Callable[[], None] | None:
        """Start the attempt's span and make it current, until what is returned is called."""
        return self._spans.begin(intent)

    def record(self, attempt: Attempt) -> None:
        """End the attempt's span, and count the attempt."""
        self._metrics.record(attempt, self._spans.end(attempt))

    def adjust(self, change: Change) -> None:
        """Count what a later fact changed of an attempt, whose span has ended long since."""
        self._metrics.adjust(change)

    def observe(self, health: Health) -> None:
        """End the spans of calls that were given up; called on the writer's thread."""
        self._spans.tidy()
