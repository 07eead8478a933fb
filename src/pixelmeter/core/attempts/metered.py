"""An attempt on its way: its end becomes its record."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.attempts.assemble import Wire, assemble
from pixelmeter.core.attempts.intent import Prepared
from pixelmeter.core.attempts.record import Attempt, Outcome
from pixelmeter.core.gateways.routes import Route

__all__ = ["Metered"]


class Metered:
    """An attempt that an exchange watches."""

    __slots__ = ("_emit", "_intent", "_note", "_prepared", "request", "route")

    def __init__(
        self,
        intent: Attempt,
        prepared: Prepared,
        emit: Callable[[Attempt], None],
        note: Callable[[str, Exception], None] = lambda place, error: None,
    ) -> None:
        """Begin with the intent, and what it was made of.

        `emit` takes the record, `note` a failure of ours and where it was.
        """
        self._intent = intent
        self._prepared = prepared
        self._emit = emit
        self._note = note
        self.route: Route = prepared.terms.route
        """The route that its request has taken."""
        self.request: ImageRequest = prepared.terms.request
        """What it asks for."""

    @property
    def is_traced(self) -> bool:
        """Whether the trace of its request is known."""
        return self._intent.trace_id is not None

    def trace(self, trace_id: str) -> None:
        """Take the trace of its request."""
        self._intent = msgspec.structs.replace(self._intent, trace_id=trace_id)

    def end(self, wire: Wire, response: ImageResponse, outcome: Outcome, error_type: str | None, *, sent: bool) -> None:
        """Emit its record."""
        try:
            attempt = assemble(self._intent, self._prepared, wire, response, outcome, error_type, sent=sent)
        except Exception as error:
            self._note("record", error)
            # The intent says "interrupted, cost unknown"; what is certain is put right.
            attempt = msgspec.structs.replace(
                self._intent, outcome="error", error_type=type(error).__name__, duration=wire.duration
            )
        self._emit(attempt)
