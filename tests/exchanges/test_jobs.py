"""Documented answers about jobs, from an instrumented client to what was heard of the job's end, if anything was.

Each names where it comes from. The bodies are made up; the shapes are the source's.
"""

from __future__ import annotations

import base64
import datetime
import json
import struct
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.gateways.routes import Followed, FollowRoute
from pixelmeter.gateways import load_profiles
from pixelmeter.meter import intake_of
from pixelmeter.testing import capture_calls
from tests.clients import KITS, Kit

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1024, 1024) + bytes(3000)).decode()
_PROFILES = load_profiles({})
_TOLD = {"error_type", "error_code", "not_charged", "model", "provider", "size", "units"}
_SILENT = {"deepinfra", "cloudflare-ai-gateway"}
"""Of these no source says how to ask for a job, or it is the profile of the vendor behind that does."""


class Exchange(msgspec.Struct, forbid_unknown_fields=True):
    """A request about a job and its answer, and what was heard of the job's end: nothing, while it goes on."""

    what: str
    source: str
    date: datetime.date
    request: dict[str, Any]
    response: dict[str, Any]
    expect: dict[str, Any] | None


def _exchanges() -> Iterator[tuple[str, Exchange]]:
    for file in sorted((Path(__file__).parent / "jobs").glob("*.json")):
        text = file.read_text(encoding="utf-8").replace('"PNG"', f'"{_PNG}"')
        for exchange in msgspec.json.decode(text, type=list[Exchange]):
            yield file.stem, exchange


def _of_each_client() -> Iterator[Any]:
    seen = set[str]()
    for gateway, exchange in _exchanges():
        is_new = gateway not in seen
        seen.add(gateway)
        for kit in KITS:
            is_slow = kit is not KITS[0] and not is_new
            name = f"{kit}-{gateway}: {exchange.what}"
            yield pytest.param(kit, gateway, exchange, id=name, marks=[pytest.mark.slow] if is_slow else [])


def _answer(kit: Kit, response: Mapping[str, Any]) -> Any:
    kind, content = "application/json", b""
    if "picture" in response:
        kind, content = response["picture"], base64.b64decode(_PNG)
    elif "data" in response:
        kind = "text/event-stream"
        content = "".join(f"data: {json.dumps(event)}\n\n" for event in response["data"]).encode()
    elif "json" in response:
        content = json.dumps(response["json"]).encode()
    headers = {"content-type": kind} | response.get("headers", {})
    return kit.package.Response(response["status"], headers=headers, content=content)


@pytest.mark.parametrize(("kit", "gateway", "exchange"), list(_of_each_client()))
def test_an_answer_about_a_job_tells_its_end_or_nothing(
    tmp_path: Path, kit: Kit, gateway: str, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db")
    ends: list[JobEnd] = []
    monkeypatch.setattr(intake_of(meter).recorder, "job_end", ends.append)
    client = pixelmeter.instrument(kit.client(transport=kit.mock(lambda _: _answer(kit, exchange.response))).raw, meter)

    async def send() -> None:
        request = exchange.request
        body = {"json": request["json"]} if "json" in request else {}
        sent = client.request(request["method"], request["url"], **body)
        if kit.is_async:
            await sent

    with capture_calls() as calls:
        kit.run(send())

    assert [] == calls
    assert {} == meter.status()["failures"]
    if exchange.expect is None:
        assert [] == ends
        return
    [end] = ends
    expected = dict(exchange.expect)
    usd = expected.pop("reported_usd", None)
    assert (gateway, None if usd is None else int(Decimal(usd).scaleb(9))) == (end.gateway, end.reported_cost)
    told = {name: value for name in _TOLD if (value := getattr(end, name)) and name not in expected}
    assert {} == {name: value for name, value in told.items() if name != "error_type"}
    assert expected == {name: getattr(end, name) for name in expected}


def test_every_gateway_that_has_jobs_says_how_to_ask_for_them_and_has_an_exchange() -> None:
    tried = {gateway for gateway, exchange in _exchanges() if exchange.expect is not None}
    jobs = {profile.id for profile in _PROFILES.profiles if profile.job or any(route.job for route in profile.route)}
    assert jobs - _SILENT == tried


def _routes_of(request: Mapping[str, Any]) -> Iterator[FollowRoute]:
    url = urlsplit(request["url"])
    for found in _PROFILES.requests(request["method"], url.netloc.encode(), url.path.encode()):
        if isinstance(found, Followed):
            yield found.route


def test_every_route_about_a_job_has_an_exchange() -> None:
    tried = {route for _, exchange in _exchanges() for route in _routes_of(exchange.request)}
    routes = [route for profile in _PROFILES.profiles for route in _PROFILES.follow_routes_of(profile)]
    own = [route for route in routes if not route.profile.inner]
    assert [] == [f"{route.profile.id} {route.method} {route.path}" for route in own if route not in tried]
