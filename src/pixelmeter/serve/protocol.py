"""The exporter's connections: uvicorn's, within limits."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pixelmeter.serve.connections import Limits, Place, Places

__all__ = ["Connection", "connection_class"]


class Connection(H11Protocol):
    """A connection that has a place among the others."""

    places: ClassVar[Places]
    _place: Place | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; make room where there are too many."""
        super().connection_made(transport)
        self._place = self.places.take(self.loop, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; the first byte of a request begins the time for its headers."""
        if self._place is not None and self._place.state == "idle":
            self._place.enter("asking")
        super().data_received(data)
        self._begin_to_answer()

    def on_response_complete(self) -> None:
        """Wait for the next request; until the body of this one is here too, its time goes on."""
        if self._place is not None:
            self._place.state = "asking"
        # Begins with the next request, if that has come already.
        super().on_response_complete()
        if self._place is None:
            return
        if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
            # uvicorn closes it after the first part of that time. What the client has not read by then goes at the end.
            self._place.enter("idle", grace=self.places.limits.answer_seconds or 0)
            return
        self._begin_to_answer()
        if self._place.state == "asking":
            self._place.wait_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back the place."""
        if self._place is not None:
            self._place.leave()
        super().connection_lost(exc)

    def _begin_to_answer(self) -> None:
        cycle = getattr(self, "cycle", None)
        place = self._place
        if place is not None and place.state == "asking" and cycle is not None and not cycle.response_complete:
            place.enter("answering")


def connection_class(limits: Limits) -> type[Connection]:
    """Return the class of connections that share these limits."""
    return type("LimitedConnection", (Connection,), {"places": Places(limits)})
