"""Transports at the end of the way: what they are given is what left."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from tests.clients import Body, Client, Kit, settled

__all__ = ["BODY", "EDIT", "URL", "Gate", "Wire", "handle_of", "metered_transport", "numbers", "wrapping"]

URL = "http://mock.test/v1/images/generations"
EDIT = "http://mock.test/v1/images/edits"
BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
ANSWER = b'{"created":1,"data":[{"url":"https://media.test/1.png"}]}'


class Wire:
    """Answers with one status after the other, the last one for ever, and keeps the requests."""

    def __init__(self, kit: Kit, *statuses: int) -> None:
        self.kit = kit
        self.statuses = list(statuses) or [200]
        self.sent: list[Any] = []

    def answer(self, request: Any) -> Any:
        self.sent.append(request)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        stream = self.kit.stream(Body(ANSWER if status == 200 else b"{}"))
        return self.kit.package.Response(status, headers={"content-type": "application/json"}, stream=stream)

    @property
    def transport(self) -> Any:
        """A transport of a class of its own, which holds no other."""
        return self.kit.wire(self.answer)


class Gate:
    """Holds whoever passes until so many are there: they are under way at once."""

    def __init__(self, kit: Kit, number: int) -> None:
        self._kit = kit
        self._number = number
        self._there = 0
        self._threads = threading.Barrier(number, timeout=60)
        self._open: Any = None

    async def passed(self) -> None:
        if not self._kit.is_async:
            self._threads.wait()
            return
        if self._open is None:
            self._open = asyncio.Event()
        self._there += 1
        if self._there == self._number:
            self._open.set()
        await asyncio.wait_for(self._open.wait(), 60)


def wrapping(kit: Kit, inner: Any, send: Callable[[Any, Callable[[Any], Any]], Any]) -> Any:
    """Return a transport of a user's own that holds another one; `send(request, handle)` sends through that."""
    transport = kit.wire(
        lambda request: send(request, handle_of(kit, transport.inner)),
        lambda: inner.aclose() if kit.is_async else inner.close(),
    )
    transport.inner = inner
    return transport


def handle_of(kit: Kit, transport: Any) -> Any:
    """Return what sends a request through a transport."""
    return transport.handle_async_request if kit.is_async else transport.handle_request


def metered_transport(kit: Kit, meter: Meter, inner: Any) -> Any:
    """Return a meter transport around another transport."""
    binding = importlib.import_module(f"pixelmeter.{kit.package.__name__}")
    return (binding.AsyncMeterTransport if kit.is_async else binding.MeterTransport)(meter, inner)


async def posted(client: Client, **options: Any) -> Any:
    return await settled(client.raw.post(URL, **(options or {"json": BODY})))


def numbers(attempts: Sequence[Attempt]) -> list[tuple[int, str]]:
    """Return number and outcome of each attempt, and assert that all are of one call."""
    assert 1 == len({attempt.call_id for attempt in attempts})
    return sorted((attempt.attempt, attempt.outcome) for attempt in attempts)
