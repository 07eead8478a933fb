"""The span of an attempt: started when it leaves, current until its transport has answered, ended with its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_tracer,
    set_span_in_context,
)

from pixelmeter import lifecycle
from pixelmeter._version import __version__
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.linking import show
from pixelmeter.settings import CostAttributes
from pixelmeter.sinks.otel import semconv
from pixelmeter.sinks.otel.attributes import ended, raised, started
from pixelmeter.sinks.otel.calls import CallSpans
from pixelmeter.sinks.otel.context import leave

__all__ = ["Spans"]

_OPEN_LIMIT = 10_000


class Spans:
    """Spans of attempts, and above them those of calls."""

    def __init__(self, provider: TracerProvider | None, cost_attributes: CostAttributes | None) -> None:
        self._tracer = get_tracer("pixelmeter", __version__, provider)
        self._cost_attributes: CostAttributes | None = cost_attributes
        self._calls = CallSpans(self._tracer, provider)
        show(self._calls)
        self._open: dict[str, Span] = {}
        lifecycle.register(self)

    def begin(self, intent: Attempt) -> Callable[[], None] | None:
        """Start a span, and make it current until what is returned is called."""
        parent = self._calls.parent_of(intent)
        model = intent.requested_model or intent.model
        span = self._tracer.start_span(
            f"{semconv.GENERATE_CONTENT} {model}".rstrip(),
            parent,
            SpanKind.CLIENT,
            started(intent),
            start_time=intent.started_at * 1000,
        )
        if not span.get_span_context().is_valid:
            return None
        self._calls.started(intent, span)
        if span.is_recording():
            self._open[intent.id] = span
            if len(self._open) > _OPEN_LIMIT:  # attempts that we failed to meter never end
                with suppress(KeyError, StopIteration, RuntimeError):
                    del self._open[next(iter(self._open))]
        return partial(leave, attach(set_span_in_context(span, parent)))

    def end(self, attempt: Attempt) -> Context:
        """End the attempt's span; return a context with it, for exemplars."""
        span = self._open.pop(attempt.id, None)
        end_time = (attempt.started_at + attempt.duration) * 1000
        # Not the current one: that may be of another request, which is told of what was collected before.
        context = set_span_in_context(INVALID_SPAN, Context())
        if span is not None:
            attributes = ended(attempt, self._cost_attributes)
            span.set_attributes(attributes)
            if semconv.ERROR_TYPE in attributes:
                exception = raised(attempt)
                if exception is not None:
                    # Not `record_exception`: that would keep its message, which may quote the request.
                    span.add_event("exception", {semconv.EXCEPTION_TYPE: exception}, timestamp=end_time)
                span.set_status(StatusCode.ERROR)
            span.end(end_time)
            context = set_span_in_context(span, context)
        self._calls.ended(attempt, end_time)
        return context

    def tidy(self) -> None:
        """End the spans of calls that nobody has tried again for long."""
        self._calls.tidy()

    def locks(self) -> Sequence[lifecycle.Lock]:
        """Return what a fork should hold: nothing."""
        return ()

    def forget(self) -> None:
        """Drop the spans that belong to the parent process."""
        self._open.clear()
        self._calls.forget()
