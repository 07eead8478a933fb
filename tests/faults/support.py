"""Image calls through real clients, to be made and ended in other processes.

Each has an `aig_tag` of its own, which the gateway writes into its billing log and pixelmeter into the row, so that
`tests.faults.books` can compare the two one by one, also where no answer told a request id.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import threading
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from typing import Any

import httpx

import pixelmeter
from pixelmeter.settings import Settings
from pixelmeter.upkeep import adopt

GATEWAYS = {"127.0.0.1:*": "aigateway"}
MODELS = (
    "black-forest-labs/flux-1-schnell",
    "black-forest-labs/flux-2-klein-9b",
    "stanford/iclight-v2",
    "meta/sam-3-1-image",
)

# Forks children that have everything imported but nothing started, which is ten times as fast as new interpreters.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        __name__,
        "openai",
        "pixelmeter.ledger.postgres",
        "pixelmeter.ledger.sqlite",
        "tests.faults.adopter",
        "tests.faults.caller",
    ]
)


@dataclass(frozen=True)
class Place:
    """Where calls go and where they are kept; can be sent to other processes."""

    gateway: str
    ledger: str
    spool: str
    folders: tuple[str, ...] = field(default=(), kw_only=True)
    """Where relative paths of ledger and spool are taken from, and where the process then goes, again and again."""

    def meter(self) -> pixelmeter.Meter:
        self.go_home()
        return pixelmeter.Meter(self.ledger, gateways=GATEWAYS, spool_dir=self.spool)

    def go_home(self) -> None:
        if self.folders:
            os.chdir(self.folders[0])


def call(place: Place, meter: pixelmeter.Meter, tag: str, **behaviour: Any) -> int:
    """Make one image call with a client of its own; return the status."""
    headers = {"x-test-behaviour": json.dumps(behaviour)}
    with pixelmeter.instrument(httpx.Client(headers=headers), meter) as client, pixelmeter.tags(aig_tag=tag):
        return client.post(f"{place.gateway}/images/generations", json=_body(0)).status_code


def call_for_ever(place: Place, report: str, name: str, *, sdk: bool, started: Event) -> None:
    """Call as fast as it goes from four threads and one event loop, until somebody ends the process.

    A line with its tag goes to the file `report` as soon as a call has returned or raised.
    """
    import openai

    meter = place.meter()
    answered = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    numbers = itertools.count()
    ways = itertools.cycle(place.folders)

    def goes_on() -> bool:
        if place.folders:
            os.chdir(next(ways))
        return True

    def calls(caller: int, send: Any) -> None:
        while goes_on():
            tag = f"{name}-{caller}-{next(numbers)}"
            with pixelmeter.tags(aig_tag=tag), contextlib.suppress(httpx.HTTPError, openai.OpenAIError):
                send(_body(next(numbers)))
            os.write(answered, f"{tag}\n".encode())

    async def async_calls(caller: int, send: Any) -> None:
        while goes_on():
            tag = f"{name}-{caller}-{next(numbers)}"
            with pixelmeter.tags(aig_tag=tag), contextlib.suppress(httpx.HTTPError, openai.OpenAIError):
                await send(_body(next(numbers)))
            os.write(answered, f"{tag}\n".encode())

    async def tasks() -> None:
        send = _async_sender(place.gateway, meter, sdk=sdk)
        await asyncio.gather(*(async_calls(caller, send) for caller in range(4, 8)))

    send = _sender(place.gateway, meter, sdk=sdk)
    for caller in range(4):
        threading.Thread(target=calls, args=(caller, send), daemon=True).start()
    started.set()
    asyncio.run(tasks())


def recover(place: Place) -> None:
    """Take over what dead processes left."""
    place.go_home()
    adopt(place.ledger, Settings(spool_dir=place.spool))


def _body(number: int) -> dict[str, Any]:
    form = "b64_json" if number % 7 == 0 else "url"
    return {"model": MODELS[number % len(MODELS)], "prompt": "fog", "n": 1 + number % 2, "response_format": form}


def _sender(url: str, meter: pixelmeter.Meter, *, sdk: bool) -> Any:
    if sdk:
        import openai

        client = pixelmeter.instrument(openai.OpenAI(base_url=url, api_key="k", max_retries=0), meter)
        return lambda body: client.images.generate(**body)
    plain = pixelmeter.instrument(httpx.Client(), meter)
    return lambda body: plain.post(f"{url}/images/generations", json=body)


def _async_sender(url: str, meter: pixelmeter.Meter, *, sdk: bool) -> Any:
    if sdk:
        import openai

        client = pixelmeter.instrument(openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0), meter)
        return lambda body: client.images.generate(**body)
    plain = pixelmeter.instrument(httpx.AsyncClient(), meter)
    return lambda body: plain.post(f"{url}/images/generations", json=body)
