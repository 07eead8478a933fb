"""How many connections the server takes, and how long one may stay without a request.

uvicorn closes a connection that is idle after an answer. It has no time-out for one that never asks, or asks one byte
at a time, and its limit of connections turns away those who ask instead of those who do not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection", "Limits", "connection_class", "failure_logger", "suitable_limits"]

_MOST = 100
_FEWEST = 8
# File descriptors that the process needs for other things: modules, log, ledger, and the spool files that it reads.
_RESERVED = 64
_log = logging.getLogger("pixelmeter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may take; times in seconds."""

    connections: int = _MOST
    """One more, and the one that has waited longest without a request is closed."""
    header_seconds: float = 10.0
    """From the connection, or the first byte of a later request, to the end of its headers."""
    answer_seconds: float = 30.0
    """From there to the end of the answer and of the request's body; a scrape waits for the database for five."""
    idle_seconds: int = 5
    """From the end of an answer to the first byte of the next request."""

    @property
    def burst(self) -> int:
        """How many connections are accepted before any of them is looked at."""
        return max(self.connections // 4, 1)


def suitable_limits() -> Limits:
    """Return limits that leave the process enough file descriptors."""
    try:
        import resource
    except ImportError:  # Windows
        return Limits()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Limits()
    return Limits(connections=min(max((soft - _RESERVED) // 2, _FEWEST), _MOST))


class Connection(H11Protocol):
    """A connection that is closed when its time is up, or when it waits without a request and others have no room."""

    limits: ClassVar[Limits]
    waiting: ClassVar[dict[Connection, None]]
    """Those without a request, in the order in which they began to wait."""

    _timer: asyncio.TimerHandle | None = None
    _state: Literal["asking", "answering", "idle"] = "asking"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; make room where there are too many."""
        super().connection_made(transport)
        self._enter("asking", self.limits.header_seconds)
        if len(self.connections) > self.limits.connections:
            next(iter(self.waiting)).give_up()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; the first byte of a request begins the time for its headers."""
        if self._state == "idle":
            self._enter("asking", self.limits.header_seconds)
        super().data_received(data)
        self._begin_to_answer()

    def on_response_complete(self) -> None:
        """Wait for the next request; until the body of this one is here too, its time goes on."""
        self._state = "asking"
        # Begins with the next request, if that has come already.
        super().on_response_complete()
        if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
            # uvicorn closes it after the first part of that time. What the client has not read by then goes at the end.
            self._enter("idle", self.limits.idle_seconds + self.limits.answer_seconds)
            return
        self._begin_to_answer()
        if self._state == "asking":
            self.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back the place."""
        if self._timer is not None:
            self._timer.cancel()
        self.waiting.pop(self, None)
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Close at once, whatever is under way."""
        self.waiting.pop(self, None)
        self.transport.abort()

    def _begin_to_answer(self) -> None:
        cycle = getattr(self, "cycle", None)
        if self._state == "asking" and cycle is not None and not cycle.response_complete:
            self._enter("answering", self.limits.answer_seconds)

    def _enter(self, state: Literal["asking", "answering", "idle"], seconds: float) -> None:
        self._state = state
        self.waiting.pop(self, None)
        if state != "answering":
            self.waiting[self] = None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.give_up)


def connection_class(limits: Limits) -> type[Connection]:
    """Return the class of connections that share these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "waiting": {}})


def failure_logger(every: float = 60.0) -> Callable[[asyncio.AbstractEventLoop, Mapping[str, Any]], None]:
    """Return an exception handler for an event loop: it logs a line, the same one at most once in that many seconds."""
    told: dict[str, float] = {}

    def handle(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        line = f"{context['message']}: {error if isinstance(error, OSError) else type(error).__name__}"
        if loop.time() - told.get(line, -every) >= every:
            told[line] = loop.time()
            _log.warning("the server goes on after a failure: %s", line)

    return handle
