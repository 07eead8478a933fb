"""Spans: one for each attempt, from when it leaves to the end of its body, and one above those of a call."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import partial
from typing import cast

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from pixelmeter import lifecycle
from pixelmeter._version import __version__
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.labels import error_type
from pixelmeter.linking import Block, announced, current_block, show
from pixelmeter.settings import CostAttributes
from pixelmeter.sinks.otel import semconv
from pixelmeter.sinks.otel.attributes import ended, raised, started

__all__ = ["Spans"]

_OPEN_LIMIT = 10_000
"""Spans of attempts, and as many of calls, that may be open at once."""
_CALL = "image_generation"
_OUTSIDE = "opentelemetry context"
# The longest that openai's SDK waits before it tries again is 60 s.
_PATIENCE = 90 * 1_000_000_000


class Spans:
    """Spans of attempts, and above them those of calls."""

    def __init__(self, provider: TracerProvider | None, cost_attributes: CostAttributes | None) -> None:
        self._tracer = get_tracer("pixelmeter", __version__, provider)
        self._cost_attributes: CostAttributes | None = cost_attributes
        self._calls = _CallSpans(self._tracer, provider)
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
        return partial(_restore, attach(set_span_in_context(span, parent)))

    def end(self, attempt: Attempt) -> Context:
        """End the attempt's span; return a context with it, for exemplars."""
        span = self._open.pop(attempt.id, None)
        end_time = (attempt.started_at + attempt.duration) * 1000
        # Not the current span: this may be told late, while another request is under way.
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


class _Call:
    """What a task or thread knows of the call that it made last."""

    __slots__ = ("attempts", "call_id", "error", "outcome", "outside", "span", "until")

    def __init__(self, call_id: str, span: Span, outside: SpanContext | None) -> None:
        self.call_id = call_id
        self.span = span
        """The call's own span; that of its first attempt where it has none."""
        self.outside = outside
        """The span that was current when the call's own span started; None where it has none."""
        self.attempts = 0
        self.until: int | None = None
        """When its last attempt ended, in nanoseconds; None while one is under way."""
        self.outcome = ""
        self.error = ""


class _CallSpans:
    """Keeps a call's span open between its attempts, and ends it with the last one.

    Whether an attempt was the last shows at once for one that is not tried again; a call that an SDK has given up ends
    when its task or thread makes another, when it is 90 s old or the process ends, with the time of its last attempt.
    """

    def __init__(self, tracer: Tracer, provider: TracerProvider | None) -> None:
        self._tracer = tracer
        self._key = ("opentelemetry", provider)
        # A context variable is never freed; there is one for each sink, which live as long as the program.
        self._latest: ContextVar[_Call | None] = ContextVar("pixelmeter_otel_call", default=None)
        self._open: dict[str, _Call] = {}
        self._registered = False

    def parent_of(self, intent: Attempt) -> Context | None:
        """Return the context that an attempt belongs into; None for the current one."""
        latest = self._latest.get()
        block = current_block()
        if block is not None:
            return self._below(block)
        if latest is not None and latest.call_id == intent.call_id:
            latest.until = None
            # A span that the program has opened since is the parent. Without one, the call's span or first attempt is.
            around = get_current_span().get_span_context()
            return None if around.is_valid and around != latest.outside else set_span_in_context(latest.span)
        if latest is not None and latest.until is not None:
            self._close(latest)
        if not announced(intent.call_id):
            return None
        span = self._tracer.start_span(
            f"{_CALL} {intent.requested_model or intent.model}".rstrip(),
            attributes=_attributes(intent),
            start_time=intent.started_at * 1000,
        )
        if not span.get_span_context().is_valid:
            return None
        call = _Call(intent.call_id, span, get_current_span().get_span_context())
        self._latest.set(call)
        if span.is_recording():
            self._keep(call)
        return set_span_in_context(span)

    def started(self, intent: Attempt, span: Span) -> None:
        """Take note of an attempt's span."""
        latest = self._latest.get()
        if latest is None or latest.call_id != intent.call_id:
            self._latest.set(_Call(intent.call_id, span, None))
        block = current_block()
        above = None if block is None or intent.attempt else block.views.get(self._key)
        if isinstance(above, Span):
            above.update_name(f"{_CALL} {intent.requested_model or intent.model}".rstrip())
            above.set_attributes(_attributes(intent))

    def ended(self, attempt: Attempt, end_time: int) -> None:
        """Take note of an attempt that ended at that time (nanoseconds); of the last one the call's span ends too."""
        call = self._open.get(attempt.call_id)
        if call is not None:
            if attempt.outcome != "blocked":
                call.attempts = max(call.attempts, attempt.attempt + 1)
            if attempt.attempt == 0:  # the answer may have told which gateway it is
                call.span.set_attribute("pixelmeter.gateway", attempt.gateway)
            call.outcome, call.error = attempt.outcome, error_type(attempt)
            call.until = end_time
            if not _may_be_tried_again(attempt):
                self._close(call)

    def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
        """Start the span of a block and make it current; what is returned ends it."""
        if self._key in block.views:
            return None
        # With several providers, each has a span of its own for the block, beside the others and not below them.
        outside = cast("Context", block.views.setdefault(_OUTSIDE, get_current()))
        span = self._tracer.start_span(_CALL, outside)
        if not span.get_span_context().is_valid:
            return None
        block.views[self._key] = span
        token = attach(set_span_in_context(span, outside))

        def close(error: BaseException | None) -> None:
            _restore(token)
            span.set_attribute("pixelmeter.attempts", block.attempts)
            if isinstance(error, Exception):
                span.set_attribute(semconv.ERROR_TYPE, type(error).__name__)
                span.set_status(StatusCode.ERROR)
            span.end()

        return close

    def tidy(self, patience: int = _PATIENCE) -> None:
        """End the spans of calls whose last attempt is that many nanoseconds ago."""
        now = time.time_ns()
        for call in list(self._open.values()):
            if call.until is not None and now - call.until >= patience:
                self._close(call)

    def forget(self) -> None:
        """Drop the spans that belong to the parent process."""
        self._open.clear()

    def _below(self, block: Block) -> Context | None:
        """Return the context of our own span of the block if another provider's is current, else None."""
        own, current = block.views.get(self._key), get_current_span()
        between = not any(current is span for span in block.views.values())
        return None if between or not isinstance(own, Span) else set_span_in_context(own)

    def _keep(self, call: _Call) -> None:
        if not self._registered:
            self._registered = True
            # Not earlier: exit handlers run in reverse order, and this one must run before the SDK shuts down.
            atexit.register(_finish, weakref.ref(self))
        self._open[call.call_id] = call
        if len(self._open) > _OPEN_LIMIT:
            with suppress(StopIteration, RuntimeError):
                self._close(next(iter(self._open.values())))

    def _close(self, call: _Call) -> None:
        # Popping is atomic: of two threads that close it at once, one ends the span.
        if self._open.pop(call.call_id, None) is None:
            return
        call.span.set_attribute("pixelmeter.attempts", call.attempts)
        if call.outcome:
            call.span.set_attribute("pixelmeter.outcome", call.outcome)
        if call.error:
            call.span.set_attribute(semconv.ERROR_TYPE, call.error)
            call.span.set_status(StatusCode.ERROR)
        call.span.end(call.until)


def _finish(calls: weakref.ref[_CallSpans]) -> None:
    found = calls()
    if found is not None:
        found.tidy(0)


def _attributes(intent: Attempt) -> dict[str, str]:
    return {
        "pixelmeter.call_id": intent.call_id,
        "pixelmeter.operation": intent.operation,
        "pixelmeter.gateway": intent.gateway,
    }


def _may_be_tried_again(attempt: Attempt) -> bool:
    """Return whether openai's SDK would try again; a redirect is followed by another request too."""
    if attempt.outcome in ("success", "pending", "cancelled"):
        return False
    if attempt.status is None or attempt.status < 300:
        return raised(attempt) is not None
    return attempt.status < 400 or attempt.status in (408, 409, 429) or attempt.status >= 500


def _restore(token: Token[Context]) -> None:
    """Make current again the context that was before; do nothing in another one, where a generator may be closed.

    Not `detach`, which logs a traceback for that.
    """
    with suppress(ValueError, RuntimeError):
        token.var.reset(token)
