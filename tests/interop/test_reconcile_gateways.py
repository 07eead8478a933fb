"""Real clients, and the reports of the gateways other than AIgateway, by the name that each gives to a request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import Gateway
from tests.interop.sdk import told
from tests.ledger.reading import adjusted, adjustments, stored

GPT, SAM, KLEIN = "gpt-image-2", "meta/sam-3-1-image", "black-forest-labs/flux-2-klein-9b"
LOGS = "/client/v4/accounts/a/ai-gateway/gateways/g"


class Team:
    """A ledger that is filled by a meter and settled by the command line."""

    def __init__(self, url: str, gateway: Gateway, meter: pixelmeter.Meter, profile: str) -> None:
        self.url = url
        self.gateway = gateway
        self.meter = meter
        self.profile = profile

    def reconcile(self, *arguments: str, path: str = "") -> dict[str, Any]:
        """Return what the command says; the attempts of this run are old enough for it."""
        assert self.meter.flush(30)
        asked = ["--gateway", self.profile, "--month", time.strftime("%Y-%m", time.gmtime()), "--lag", "0s", "--yes"]
        where = ["--base-url", self.gateway.root + path, "--database-url", self.url, "--format", "json"]
        result = CliRunner().invoke(main, ["reconcile", *asked, *where, *arguments])
        assert result.exit_code in (0, 1), result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def costs(self) -> list[int | None]:
        """Return what the attempts have cost, adjustments included, in the order of starting."""
        return [one.cost for one in _in_order(adjusted(self.url).values())]

    def bill(self) -> list[int]:
        """Return what the gateway has charged for them."""
        return [line["charged_nano"] for line in self.gateway.billing()]


def _in_order(attempts: Any) -> list[Attempt]:
    return sorted(attempts, key=lambda one: one.id)


@pytest.fixture
def team(
    request: pytest.FixtureRequest, sqlite_url: str, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Team]:
    """A team whose stand-in is the gateway that the test names."""
    profile: str = request.param
    monkeypatch.setenv("PIXELMETER_USAGE_KEYS", f"{profile}=k")
    spool = str(tmp_path / "spool")
    with pixelmeter.Meter(sqlite_url, gateways={"127.0.0.1:*": profile}, spool_dir=spool) as meter:
        yield Team(sqlite_url, gateway, meter, profile)


def numbers(document: dict[str, Any]) -> dict[str, int]:
    """Return how many matches, or statements and attempts, each class has, without those that have none."""
    found = {row["class"]: row["matches"] or row["statements"] + row["attempts"] for row in document["classes"]}
    return {kind: number for kind, number in found.items() if number}


@pytest.mark.slow
@pytest.mark.parametrize("team", ["litellm"], indirect=True)
def test_the_log_of_litellm_settles_what_a_proxy_did_not_say(team: Team) -> None:
    team.gateway.tell(gateway="litellm")
    with openai.OpenAI(base_url=team.gateway.url, api_key="k", max_retries=0) as client:
        pixelmeter.instrument(client, team.meter)
        client.images.generate(prompt="fox", model=SAM)
        client.images.generate(prompt="fox", model="house/one", extra_headers=told({"cost_header": False}))
        with pytest.raises(openai.APIConnectionError):
            client.images.generate(prompt="fox", model="house/two", extra_headers=told({"cut": "before_headers"}))

    found = team.reconcile()
    assert {"equal": 1, "unsettled": 2} == numbers(found)
    assert team.bill() == team.costs()
    assert {"equal": 3} == numbers(team.reconcile())
    assert 2 == len(adjustments(team.url))


@pytest.mark.slow
@pytest.mark.parametrize("team", ["openrouter"], indirect=True)
def test_openrouter_is_asked_for_the_generations_that_nobody_knows(team: Team) -> None:
    with httpx.Client() as client:
        pixelmeter.instrument(client, team.meter)
        for model, behaviour in ((SAM, {}), ("house/one", {"usage": False})):
            body = {"model": model, "prompt": "fox"}
            client.post(f"{team.gateway.root}/api/v1/images", json=body, headers=told(behaviour) if behaviour else {})

    team.meter.flush(30)
    assert [10_000_000, None] == [one.cost for one in _in_order(stored(team.url).values())]
    found = team.reconcile()
    assert {"unsettled": 1} == numbers(found)
    assert ["1 attempt of known cost: the report was not asked for them"] == found["notes"]
    assert team.bill() == team.costs()
    assert {"equal": 2} == numbers(team.reconcile("--source", "openrouter_activity"))


@pytest.mark.parametrize("team", ["cloudflare-ai-gateway"], indirect=True)
def test_the_logs_of_cloudflare_price_what_passes_through(team: Team) -> None:
    with httpx.Client() as client:
        pixelmeter.instrument(client, team.meter)
        for name, model in (("log_1", "house/one"), ("log_2", "house/two")):
            headers = {**told({"gateway": "generic", "headers": {"cf-aig-log-id": name}}), "x-request-id": name}
            address = f"{team.gateway.root}/v1/a/g/openai/images/generations"
            assert 200 == client.post(address, json={"model": model, "prompt": "fox"}, headers=headers).status_code

    found = team.reconcile(path=LOGS)
    assert {"unsettled": 2} == numbers(found)
    assert ["log_1", "log_2"] == [one.request_id for one in _in_order(stored(team.url).values())]
    assert team.bill() == team.costs()


@pytest.mark.parametrize("team", ["openai"], indirect=True)
def test_costs_and_images_of_openai_are_those_of_the_ledger(team: Team) -> None:
    team.gateway.tell(gateway="openai")
    with openai.OpenAI(base_url=team.gateway.url, api_key="k", max_retries=0) as client:
        pixelmeter.instrument(client, team.meter)
        client.images.generate(prompt="fox", model=GPT, n=2, quality="low")
        client.images.generate(prompt="fox", model=GPT, quality="high")

    found = team.reconcile()
    assert {"equal": 1} == numbers(found)
    assert (1_000_000, "0") == (found["coverage_ppm"], found["drift_usd"])
    [images] = team.reconcile("--source", "openai_images")["images"]
    assert ("equal", GPT, 3, 3, 0) == tuple(images[name] for name in ("class", "model", "theirs", "ours", "unknown"))

    # A day that is dearer than the book says changes no attempt; this one is not over, so it may still come right.
    team.gateway.tell(usage_percent={GPT: 150}, match={"path": "/v1/organization/costs"})
    assert {"too_young": 1 + 2} == numbers(team.reconcile("--accept"))
    assert [] == adjustments(team.url)
