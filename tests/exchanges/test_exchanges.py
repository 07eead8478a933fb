"""Documented exchanges of vendors, from an instrumented client to a row of the ledger, without any configuration.

Each names where it comes from. The bodies are made up; the shapes, the counts and the prices are the source's.
"""

from __future__ import annotations

import base64
import datetime
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.gateways import load_profiles
from pixelmeter.system import SystemClock
from tests.clients import KITS, Kit
from tests.ledger.reading import stored

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1024, 1024) + bytes(3000)).decode()
_EVENTS = "text/event-stream; charset=utf-8"
_PROFILES = load_profiles({})
_ASSERTED = {"outcome", "images", "cost_usd"}


class Exchange(msgspec.Struct, forbid_unknown_fields=True):
    """One request and its answer, and what must be in the ledger afterwards."""

    what: str
    source: str
    date: datetime.date
    request: dict[str, Any]
    response: dict[str, Any]
    expect: dict[str, Any]


def exchanges() -> Iterator[tuple[str, Exchange]]:
    """Yield every exchange with its name."""
    for file in sorted(Path(__file__).parent.glob("*.json")):
        for exchange in msgspec.json.decode(
            file.read_text().replace('"PNG"', f'"{_PNG}"').replace("PNGDATA", _PNG), type=list[Exchange]
        ):
            yield f"{file.stem}: {exchange.what}", exchange


def _shape(exchange: Exchange) -> tuple[object, ...]:
    """Return the APIs that its address may mean, and the kind of its answer: what the code of a client depends on."""
    url = urlsplit(exchange.request["url"])
    routes = _PROFILES.routes("POST", (url.hostname or "").encode(), url.path.encode())
    return *(found.route.api for found in routes), *(exchange.response.keys() & {"events", "data", "picture", "json"})


def _of_each_client() -> Iterator[Any]:
    """Yield each exchange with each client; one of each shape is for every day, of the others those with one client."""
    seen = set[tuple[object, ...]]()
    for name, exchange in exchanges():
        is_new = (shape := _shape(exchange)) not in seen
        seen.add(shape)
        for kit in KITS:
            is_slow = kit is not KITS[0] and not is_new
            yield pytest.param(kit, exchange, id=f"{kit}-{name}", marks=[pytest.mark.slow] if is_slow else [])


class Ledger:
    """A client that is answered as the exchange says, on its day, and the ledger that it is metered into."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        self._kit = kit
        self._url = f"sqlite:///{folder}/ledger.db"
        self._meter = pixelmeter.Meter(self._url, spool_dir=str(folder / "spool"))
        self._client = pixelmeter.instrument(kit.client(transport=kit.mock(lambda _: self._answer)).raw, self._meter)
        self._known: set[str] = set()
        self._answer: Any = None

    def row_of(self, exchange: Exchange) -> Attempt:
        """Send the request, and return the one row that has come."""
        self._answer = _answer(self._kit, exchange.response)
        self._kit.run(self._send(exchange.request))
        assert self._meter.flush(60)
        assert {} == self._meter.status()["failures"]
        rows = stored(self._url, without=self._known)
        self._known |= rows.keys()
        [row] = rows.values()
        return row

    async def _send(self, request: Mapping[str, Any]) -> None:
        content: dict[str, Any] = {"json": request.get("json")}
        if "form" in request:
            files = [(name, ("a.png", b"\x89PNG", "image/png")) for name in request["files"]]
            content = {"data": request["form"], "files": files}
        sent = self._client.post(request["url"], headers=request.get("headers", {}), **content)
        if self._kit.is_async:
            await sent

    def close(self) -> None:
        """Give back what the meter has."""
        assert self._meter.close(60)


def _answer(kit: Kit, response: Mapping[str, Any]) -> Any:
    if "events" in response:
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in response["events"])
        kind, content = _EVENTS, text.encode()
    elif "data" in response:  # events without names, of which a text stands for itself
        lines = [line if isinstance(line, str) else json.dumps(line) for line in response["data"]]
        kind, content = _EVENTS, "".join(f"data: {line}\n\n" for line in lines).encode()
    elif "picture" in response:  # the body is the image, of this content type
        kind, content = response["picture"], base64.b64decode(_PNG)
    else:
        kind, content = "application/json", json.dumps(response["json"]).encode()
    headers = {"content-type": kind} | response.get("headers", {})
    return kit.package.Response(response["status"], headers=headers, content=content)


@pytest.fixture(scope="module")
def ledger_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Kit], Ledger]]:
    """One ledger for each kit, made when it is first asked for."""
    made = cache(lambda kit: stack.enter_context(closing(Ledger(kit, tmp_path_factory.mktemp("exchanges")))))
    with ExitStack() as stack:
        yield made


@pytest.mark.parametrize(("kit", "exchange"), list(_of_each_client()))
def test_an_exchange_is_in_the_ledger_at_what_it_cost(
    ledger_of: Callable[[Kit], Ledger], kit: Kit, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime.datetime.combine(exchange.date, datetime.time(12), datetime.UTC)
    monkeypatch.setattr(SystemClock, "now", lambda _: int(noon.timestamp()) * 1_000_000)

    row = ledger_of(kit).row_of(exchange)

    expected = exchange.expect
    cost = None if expected["cost_usd"] is None else int(Decimal(expected["cost_usd"]).scaleb(9))
    assert (expected["outcome"], expected["images"], cost, expected.get("cost_reason")) == (
        row.outcome,
        row.images,
        row.cost,
        row.cost_reason,
    )
    others = expected.keys() - _ASSERTED
    assert {name: expected[name] for name in others} == {name: getattr(row, name) for name in others}
