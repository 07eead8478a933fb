"""What users' own tests see of their image calls."""

from __future__ import annotations

from pathlib import Path

import httpx

import pixelmeter
from pixelmeter.testing import Gateway, capture_calls


def test_calls_are_captured_and_nothing_is_written(gateway: Gateway, tmp_path: Path) -> None:
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"127.0.0.1:*": "aigateway"})
    with httpx.Client() as client, capture_calls() as attempts:
        pixelmeter.instrument(client, meter)
        with capture_calls():
            # As empty as the one around it, and yet another.
            pass
        client.post(f"{gateway.url}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})
    [attempt] = attempts
    assert ("success", 10_000_000) == (attempt.outcome, attempt.cost)
    assert [] == list(tmp_path.iterdir())


def test_after_the_block_calls_are_kept_again_and_two_blocks_see_the_same(gateway: Gateway, tmp_path: Path) -> None:
    url = f"{gateway.url}/images/generations"
    body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
    with pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db") as meter, httpx.Client() as client:
        pixelmeter.instrument(client, meter)
        with capture_calls() as outer:
            client.post(url, json=body)
            with capture_calls() as inner:
                client.post(url, json=body)
        client.post(url, json=body)
        assert meter.flush(60)
        assert (2, 1) == (len(outer), len(inner))
        assert outer[1] is inner[0]
        drain = meter.status()["drain"]
        assert drain is not None
        assert 1 == drain["committed"]


def test_a_call_that_began_before_the_block_is_kept_and_not_captured(gateway: Gateway, tmp_path: Path) -> None:
    url = f"{gateway.url}/images/generations"
    body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
    with pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db") as meter, httpx.Client() as client:
        pixelmeter.instrument(client, meter)
        with client.stream("POST", url, json=body) as response, capture_calls() as attempts:
            response.read()
        assert meter.flush(60)
        drain = meter.status()["drain"]
    assert drain is not None
    assert ([], 1) == (attempts, drain["committed"])
