"""Programs that make image calls through real clients, to be run and ended in other processes, and what to compare.

Each attempt carries an `aig_tag` of its own, which the gateway writes into its billing log and pixelmeter into the
row, so that the two can be compared one by one, also where no answer told a request id.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from typing import Any

import httpx
import msgspec
import openai

import pixelmeter
import pixelmeter.ledger.postgres
import pixelmeter.ledger.sqlite
from pixelmeter.core.record import Attempt
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.engine import open_reader
from pixelmeter.meter import adopt
from pixelmeter.settings import Settings

GATEWAYS = {"127.0.0.1:*": "aigateway"}
MODELS = (
    "black-forest-labs/flux-1-schnell",
    "black-forest-labs/flux-2-klein-9b",
    "stanford/iclight-v2",
    "meta/sam-3-1-image",
)

# Forks children that have everything imported but nothing started, which is ten times as fast as new interpreters.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Place:
    """Where calls go and where they are kept; can be sent to other processes."""

    gateway: str
    ledger: str
    spool: str

    def meter(self) -> pixelmeter.Meter:
        return pixelmeter.Meter(self.ledger, gateways=GATEWAYS, spool_dir=self.spool)


def call(place: Place, meter: pixelmeter.Meter, tag: str) -> int:
    """Make one image call with a client of its own; return the status."""
    with pixelmeter.instrument(httpx.Client(), meter) as client, pixelmeter.tags(aig_tag=tag):
        return client.post(f"{place.gateway}/images/generations", json=_body(0)).status_code


def call_for_ever(place: Place, report: str, name: str, *, sdk: bool, started: Event) -> None:
    """Call as fast as it goes from four threads and one event loop, until somebody ends the process.

    A line with its tag goes to the file `report` as soon as a call has returned or raised.
    """
    meter = place.meter()
    answered = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    numbers = itertools.count()

    def calls(caller: int, send: Any) -> None:
        while True:
            tag = f"{name}-{caller}-{next(numbers)}"
            with pixelmeter.tags(aig_tag=tag):
                with contextlib.suppress(httpx.HTTPError, openai.OpenAIError):
                    send(_body(next(numbers)))
            os.write(answered, f"{tag}\n".encode())

    async def async_calls(caller: int, send: Any) -> None:
        while True:
            tag = f"{name}-{caller}-{next(numbers)}"
            with pixelmeter.tags(aig_tag=tag):
                with contextlib.suppress(httpx.HTTPError, openai.OpenAIError):
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
    adopt(place.ledger, Settings(spool_dir=place.spool))


@dataclass
class Books:
    """The ledger and the billing log side by side."""

    rows: Sequence[Attempt]
    billing: Sequence[dict[str, Any]]
    by_tag: dict[str, Attempt] = field(init=False)

    def __post_init__(self) -> None:
        self.by_tag = {msgspec.json.decode(row.tags)["aig_tag"]: row for row in self.rows}

    @classmethod
    def read(cls, ledger: str, billing: Sequence[dict[str, Any]]) -> Books:
        """Read the ledger; `billing` must have been read before, as calls may still be on their way."""
        with open_reader(ledger).connect() as connection:
            return cls(attempts(connection, limit=1_000_000), billing)

    def check(self) -> None:
        """Every tag is in the ledger once, everything billed has a row, and the sums agree to the nano-dollar."""
        assert len(self.rows) == len(self.by_tag)
        billed = {str(entry["tag"]): entry for entry in self.billing}
        assert len(self.billing) == len(billed)
        assert set() == billed.keys() - self.by_tag.keys()
        for tag, row in self.by_tag.items():
            entry = billed.get(tag)
            if row.cost is not None:
                assert (row.cost, row.at_risk) == (entry["charged_nano"] if entry else 0, None)
            else:
                assert row.billing == "unknown"
                assert row.at_risk
            if row.request_id is not None:
                assert entry is not None
                assert entry["request_id"] == row.request_id
        known = sum(row.cost or 0 for row in self.rows)
        truth = sum(
            billed[tag]["charged_nano"] for tag, row in self.by_tag.items() if row.cost is None and tag in billed
        )
        assert sum(entry["charged_nano"] for entry in self.billing) == known + truth

    def outcomes(self) -> Counter[str]:
        return Counter(row.outcome for row in self.rows)


def _body(number: int) -> dict[str, Any]:
    form = "b64_json" if number % 7 == 0 else "url"
    return {"model": MODELS[number % len(MODELS)], "prompt": "fog", "n": 1 + number % 2, "response_format": form}


def _sender(url: str, meter: pixelmeter.Meter, *, sdk: bool) -> Any:
    if sdk:
        client = pixelmeter.instrument(openai.OpenAI(base_url=url, api_key="k", max_retries=0), meter)
        return lambda body: client.images.generate(**body)
    plain = pixelmeter.instrument(httpx.Client(), meter)
    return lambda body: plain.post(f"{url}/images/generations", json=body)


def _async_sender(url: str, meter: pixelmeter.Meter, *, sdk: bool) -> Any:
    if sdk:
        client = pixelmeter.instrument(openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0), meter)
        return lambda body: client.images.generate(**body)
    plain = pixelmeter.instrument(httpx.AsyncClient(), meter)
    return lambda body: plain.post(f"{url}/images/generations", json=body)
