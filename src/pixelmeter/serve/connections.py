"""How many connections a server takes, and how long one may stay without a request; for whatever library it runs on.

The libraries close a connection that is idle after an answer. What they lack is a time-out for one that never asks, or
asks one byte at a time, and a limit of connections that turns away those who do not ask instead of those who do.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Limits", "Place", "Places", "failure_logger", "room_for", "suitable_limits"]

_MOST = 100
_FEWEST = 8
# File descriptors that the process needs for other things: modules, log, ledger, and the spool files that it reads.
_RESERVED = 64
# How often the times of connections are looked at: every second, or often enough for those that are short.
_TICK = 1.0
_TICKS = 5
_SHORTEST_TICK = 0.05
_log = logging.getLogger("pixelmeter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may take; times in seconds."""

    connections: int = _MOST
    """One more, and the one that has waited longest without a request is closed."""
    header_seconds: float = 10.0
    """From the connection, or the first byte of a later request, to the end of its headers."""
    answer_seconds: float | None = 30.0
    """From there to the end of the answer and of the request's body; a scrape waits for the database for five.

    None where that may last as long as something goes on.
    """
    idle_seconds: int = 5
    """From the end of an answer to the first byte of the next request."""

    @property
    def burst(self) -> int:
        """How many connections are accepted before any of them is looked at."""
        return max(self.connections // 4, 1)


def suitable_limits() -> Limits:
    """Return limits that leave the process enough file descriptors."""
    return Limits(connections=room_for(_MOST, descriptors=2))


def room_for(most: int, *, descriptors: int) -> int:
    """Return how many connections there may be, `most` at most, where each may take so many file descriptors."""
    try:
        import resource
    except ImportError:  # Windows
        return most
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    return min(max((soft - _RESERVED) // descriptors, _FEWEST), most)


class Places:
    """The connections of a server, and which of them wait without a request.

    One timer for all looks after their times, because a call would cost two timers otherwise.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        times = (limits.header_seconds, limits.idle_seconds, limits.answer_seconds or _TICK * _TICKS)
        self._tick = max(min(_TICK, *(seconds / _TICKS for seconds in times)), _SHORTEST_TICK)
        self._taken: dict[Place, None] = {}
        self._waiting: dict[Place, None] = {}
        self._is_ticking = False

    def take(self, loop: asyncio.AbstractEventLoop, close: Callable[[], object]) -> Place:
        """Return a place for a new connection, which begins to wait for a request; make room where there are too many.

        `close` ends the connection at once, whatever is under way.
        """
        place = Place(self._taken, self._waiting, self.limits, loop.time, close)
        self._taken[place] = None
        place.enter("asking")
        if len(self._taken) > self.limits.connections:
            next(iter(self._waiting)).give_up()
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(self._tick, self._look, loop)
        return place

    def close_idle(self) -> None:
        """Close the connections that wait without a request."""
        for place in list(self._waiting):
            place.give_up()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close those whose time is up."""
        now = loop.time()
        for place in [place for place in self._taken if place.due <= now]:
            place.give_up()
        self._is_ticking = bool(self._taken)
        if self._is_ticking:
            loop.call_later(self._tick, self._look, loop)


class Place:
    """A connection that is closed when its time is up, or when it waits without a request and others have no room."""

    __slots__ = ("_close", "_limits", "_now", "_taken", "_waiting", "due", "state")

    def __init__(
        self,
        taken: dict[Place, None],
        waiting: dict[Place, None],
        limits: Limits,
        now: Callable[[], float],
        close: Callable[[], object],
    ) -> None:
        self._taken = taken
        self._waiting = waiting
        self._limits = limits
        self._now = now
        self._close = close
        self.state: Literal["asking", "answering", "idle"] = "asking"
        self.due = math.inf
        """When its time is up, by the clock of the event loop."""

    def enter(self, state: Literal["asking", "answering", "idle"], *, grace: float = 0) -> None:
        """Go on to a state, whose time begins; `grace` is seconds beyond what the limits say."""
        self.state = state
        waiting, limits = self._waiting, self._limits
        waiting.pop(self, None)
        if state == "answering":
            seconds = limits.answer_seconds
            self.due = math.inf if seconds is None else self._now() + seconds
            return
        waiting[self] = None
        self.due = self._now() + (limits.header_seconds if state == "asking" else limits.idle_seconds) + grace

    def wait_on(self) -> None:
        """Make room for others if need be, from now on; its time goes on."""
        self.state = "asking"
        self._waiting[self] = None

    def give_up(self) -> None:
        """Close at once, whatever is under way."""
        self._waiting.pop(self, None)
        self._close()

    def leave(self) -> None:
        """Give back the place: the connection has ended."""
        self._taken.pop(self, None)
        self._waiting.pop(self, None)


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
