"""A bare client and a metered one that meet the same thing."""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health
from pixelmeter.testing import Gateway
from tests.clients import Client, Kit, failure

__all__ = ["KLEIN", "MOCK", "URLS", "Pair", "Record", "asked", "json_headers"]

KLEIN = "black-forest-labs/flux-2-klein-9b"
"""A model that the stand-in and the price book charge 0.04 USD an image for."""
MOCK = "http://mock.test/v1/images/generations"
"""Where requests go that no server answers; its profile is AIgateway's."""
URLS = b'{"created":1,"data":[{"url":"https://media.test/1.png"}]}'
"""The body of an answer with one image."""


def asked(**behaviour: Any) -> dict[str, Any]:
    """Return the arguments of an image request that is to be answered with this behaviour."""
    body = {key: behaviour.pop(key) for key in ("n", "stream", "partial_images", "size", "quality") if key in behaviour}
    model = behaviour.pop("model", KLEIN)
    headers = {"x-request-id": "req_fixed"}
    if "encoding" in behaviour:
        # How far an answer can be compressed depends on what it says.
        behaviour["created"] = 1_790_000_000
    if behaviour:
        headers["x-test-behaviour"] = json.dumps(behaviour)
    return {"json": {"model": model, "prompt": "a fox"} | body, "headers": headers}


def json_headers(**more: str) -> dict[str, str]:
    """Return the headers of a JSON answer, and more."""
    return {"content-type": "application/json"} | more


class Record:
    """A sink that remembers: all attempts, and those since `latest` was replaced."""

    def __init__(self) -> None:
        self.everything: list[Attempt] = []
        self.latest: list[Attempt] = []

    def begin(self, intent: Attempt) -> None:
        pass

    def record(self, attempt: Attempt) -> None:
        self.everything.append(attempt)
        self.latest.append(attempt)

    def observe(self, health: Health) -> None:
        pass


@dataclass
class Pair:
    """What a test of a hazard has at hand."""

    kit: Kit
    gateway: Gateway
    meter: Meter
    record: Record

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts of this test, in the order in which they ended; the sinks are told of all of them by now."""
        assert self.meter.flush(10)
        return self.record.latest

    @property
    def url(self) -> str:
        """Where the stand-in gateway makes images."""
        return f"{self.gateway.url}/images/generations"

    @property
    def openai_url(self) -> str:
        """The same, under a name that the meter takes for OpenAI itself."""
        return self.url.replace("127.0.0.1", "localhost")

    @property
    def attempt(self) -> Attempt:
        """The one attempt that there must be."""
        [attempt] = self.attempts
        return attempt

    def bare(self, **options: Any) -> Client:
        """Return a client that nobody meters."""
        return self.kit.client(**options)

    def metered(self, **options: Any) -> Client:
        """Return a client that is instrumented."""
        client = self.kit.client(**options)
        self.kit.meter(client.raw, self.meter)
        return client

    def meter_transport(self, inner: Any) -> Any:
        """Return a meter transport around another transport."""
        binding = importlib.import_module(f"pixelmeter.{self.kit.package.__name__}")
        return (binding.AsyncMeterTransport if self.kit.is_async else binding.MeterTransport)(self.meter, inner)

    async def both(
        self, scene: Callable[[Client], Awaitable[Any]], *, transport: Callable[[], Any] | None = None, **options: Any
    ) -> Any:
        """Play a scene with a bare client and with a metered one, assert that both see the same, and return that.

        What a scene raises is part of what it sees.
        """
        views: list[Any] = []
        for make in (self.bare, self.metered):
            own = {} if transport is None else {"transport": transport()}
            client = make(**options, **own)
            try:
                views.append(await scene(client))
            except Exception as error:
                views.append(failure(error))
            await client.close()
            if make == self.bare:
                assert self.attempts == []
        assert views[0] == views[1], f"bare saw {views[0]}, metered saw {views[1]}"
        return views[1]

    def settlement(self) -> tuple[Any, ...]:
        """Return outcome, billing, cost and the cost at risk of the one attempt."""
        attempt = self.attempt
        return attempt.outcome, attempt.billing, attempt.cost, attempt.at_risk
