"""Who an attempt was for: tags from every place they can come from, and the trace it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aigateway
import httpx
import httpx2
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider

import pixelmeter
from pixelmeter.testing import Gateway
from tests.interop.conftest import Metered

IMAGE = {"model": "meta/sam-3-1-image", "prompt": "a fox"}


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def client(request: pytest.FixtureRequest, gateway: Gateway, metered: Metered) -> Iterator[Any]:
    """A metered client of each library."""
    with request.param.Client(base_url=gateway.url, verify=False) as client:
        yield pixelmeter.instrument(client, metered.meter)


def test_the_tag_of_the_gateways_own_client_is_recorded(gateway: Gateway, metered: Metered) -> None:
    with aigateway.AIgateway(api_key="sk-aig-test", base_url=gateway.root, tag="hero") as client:
        pixelmeter.instrument(client, metered.meter)._request("POST", "/v1/images/generations", json=IMAGE)
    assert {"aig_tag": "hero"} == json.loads(metered.attempt().tags)
    assert "hero" == gateway.billing()[0]["tag"]


def test_a_tag_for_the_gateway_is_sent_and_recorded(client: Any, gateway: Gateway, metered: Metered) -> None:
    with pixelmeter.tags(aig_tag="hero", team="growth"):
        client.post("/images/generations", json=IMAGE)
    assert {"aig_tag": "hero", "team": "growth"} == json.loads(metered.attempt().tags)
    assert "hero" == gateway.billing()[0]["tag"]


def test_the_tag_that_was_sent_wins_over_the_one_of_the_context(
    client: Any, gateway: Gateway, metered: Metered
) -> None:
    with pixelmeter.tags(aig_tag="from-context"):
        client.post("/images/generations", json=IMAGE, headers={"x-aig-tag": "from-header"})
    assert {"aig_tag": "from-header"} == json.loads(metered.attempt().tags)
    assert "from-header" == gateway.billing()[0]["tag"]


def test_a_tag_for_another_gateway_is_kept_and_not_sent(client: Any, gateway: Gateway, metered: Metered) -> None:
    with pixelmeter.tags(aig_tag="hero"):
        client.post(gateway.url.replace("127.0.0.1", "localhost") + "/images/generations", json=IMAGE)
    assert {"aig_tag": "hero"} == json.loads(metered.attempt().tags)
    assert None is gateway.billing()[0]["tag"]


def test_inner_tags_win_over_outer_ones_and_both_over_those_of_the_meter(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    with (
        pixelmeter.Meter(sqlite_url, tags={"team": "all", "stage": "test"}, spool_dir=str(tmp_path / "spool")) as meter,
        httpx.Client(base_url=gateway.url, verify=False) as client,
    ):
        pixelmeter.instrument(client, meter)
        client.post("/images/generations", json=IMAGE)
        with pixelmeter.tags(team="growth", feature="hero"), pixelmeter.tags(feature="banner"):
            client.post("/images/generations", json=IMAGE)
        attempts = Metered(meter).attempts()
    assert [
        '{"stage":"test","team":"all"}',
        '{"feature":"banner","stage":"test","team":"growth"}',
    ] == [attempt.tags for attempt in attempts]


def test_the_retries_of_the_sdk_keep_the_tags(gateway: Gateway, metered: Metered) -> None:
    gateway.tell(status=503, headers={"retry-after-ms": "1"}, times=2)
    with openai.OpenAI(base_url=gateway.url, api_key="sk-test") as client:
        pixelmeter.instrument(client, metered.meter)
        with pixelmeter.tags(team="growth"):
            client.images.generate(model="meta/sam-3-1-image", prompt="a fox")
    assert ['{"team":"growth"}'] * 3 == [attempt.tags for attempt in metered.attempts()]


def test_the_trace_of_the_traceparent_header_is_recorded(client: Any, metered: Metered) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    client.post("/images/generations", json=IMAGE, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert trace == metered.attempt().trace_id


def test_the_trace_of_the_current_span_is_recorded(client: Any, metered: Metered) -> None:
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("work") as span:
        client.post("/images/generations", json=IMAGE)
    client.post("/images/generations", json=IMAGE)
    assert [f"{span.get_span_context().trace_id:032x}", None] == [attempt.trace_id for attempt in metered.attempts()]


@pytest.mark.parametrize(
    "header", ["", "00-xyz-1-01", f"00-{'0' * 32}-1-01", f"00-{'0' * 31}g-1-01", f"00-{'a' * 33}-1-01", "-" * 9]
)
def test_a_traceparent_that_makes_no_sense_is_no_trace(header: str, client: Any, metered: Metered) -> None:
    client.post("/images/generations", json=IMAGE, headers={"traceparent": header})
    assert None is metered.attempt().trace_id
