"""Real clients make a month; the gateway's report of it has faults; each of them is found, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner, Result

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.testing import Gateway
from tests.interop.sdk import told
from tests.ledger.reading import adjusted, adjustments, recomputed, rollup, stored

SAM = "meta/sam-3-1-image"
DEAR = "black-forest-labs/flux-2-klein-9b"
CUT = ("house/cut-0", "house/cut-1", "house/cut-2")
OFTEN = 4


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key to ask the stand-in with."""
    monkeypatch.setenv("PIXELMETER_USAGE_KEYS", "aigateway=sk-aig-0")


@pytest.fixture
def meter(new_url: str, tmp_path: Path) -> Iterator[pixelmeter.Meter]:
    """A meter that takes the stand-in for AIgateway."""
    with pixelmeter.Meter(new_url, gateways={"127.0.0.1:*": "aigateway"}, spool_dir=str(tmp_path / "spool")) as opened:
        yield opened


def reconcile(url: str, gateway: Gateway, *arguments: str) -> Result:
    month = time.strftime("%Y-%m", time.gmtime())
    asked = ["--gateway", "aigateway", "--month", month, "--base-url", gateway.root, "--database-url", url]
    return CliRunner().invoke(main, ["reconcile", *asked, "--lag", "0s", "--format", "json", *arguments])


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 3), result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def items(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in document["items"] if item["class"] == kind]


@pytest.mark.slow
def test_every_planted_difference_is_found_and_nothing_else(
    new_url: str, gateway: Gateway, meter: pixelmeter.Meter
) -> None:
    with openai.OpenAI(base_url=gateway.url, api_key="k", max_retries=1) as client, httpx.Client() as bare:
        stranger = httpx.Client()
        pixelmeter.instrument(client, meter)
        pixelmeter.instrument(bare, meter)

        def post(http: httpx.Client, model: str, **behaviour: Any) -> None:
            headers = {"authorization": "Bearer k", **(told(behaviour) if behaviour else {})}
            http.post(f"{gateway.url}/images/generations", json={"prompt": "fox", "model": model}, headers=headers)

        for _ in range(OFTEN):
            client.images.generate(prompt="fox", model=SAM)
            post(bare, SAM)
            post(bare, DEAR)
        client.images.generate(prompt="fox", model=SAM, extra_headers=told({"status": 429}, {}))
        with pytest.raises(openai.BadRequestError):
            client.images.generate(prompt="fox", model=SAM, extra_headers=told({"refusal": True}))
        began = time.time()
        for _ in range(OFTEN):
            client.images.generate(prompt="fox", model=SAM)
        ended = time.time()
        # Sent and charged, and no answer came: nobody on this side knows a name or an amount.
        for model in CUT:
            with pytest.raises(httpx.TransportError):
                post(bare, model, cut="before_headers")
        with pytest.raises(openai.APIConnectionError):
            client.with_options(max_retries=0).images.generate(
                prompt="fox", model="house/late", timeout=1.0, extra_headers=told({"hold": "before_headers"})
            )
        gateway.release()
        post(stranger, SAM)
        stranger.close()
    assert meter.flush(30)
    time.sleep(1.1)  # rows of a report are as old as their second, and what is younger than the lag is not missed

    gateway.tell(usage_duplicates=3, match={"path": "/*"})
    gateway.tell(usage_missing=[began, ended], match={"path": "/*"})
    gateway.tell(usage_percent={DEAR: 50}, match={"path": "/*"})
    gateway.tell(status=429, headers={"retry-after": "0"}, times=2, match={"path": "/v1/usage/*"})
    gateway.tell(cut=100, times=1, match={"path": "/v1/usage/*"})

    bill = {line["request_id"]: line for line in gateway.billing()}
    before = stored(new_url)
    shown = [part for kind in ("differs", "unsettled", "only_ours", "only_theirs") for part in ("--show", kind)]
    dry = found(reconcile(new_url, gateway, "--dry-run", *shown))
    assert [] == adjustments(new_url)

    wet = found(reconcile(new_url, gateway, "--yes", *shown))
    [alien] = items(wet, "only_theirs")
    for document in (dry, wet):
        assert {DEAR} == {item["model"] for item in items(document, "differs")}
        assert OFTEN == len(items(document, "differs"))
        assert sorted([*CUT, "house/late"]) == sorted(item["model"] for item in items(document, "unsettled"))
        gap = [item for item in items(document, "only_ours") if item["why"] == "it was billed, as far as we know"]
        assert OFTEN == len(gap) == len(items(document, "only_ours"))
        assert {before[item["attempt"]].request_id for item in gap} <= {
            name for name, line in bill.items() if began <= line["received_at"] / 1e6 < ended
        }
        assert [alien] == items(document, "only_theirs")
        assert alien["statement"] not in {one.request_id for one in before.values()}
    now = adjusted(new_url)
    lost = [one for one in before.values() if one.model in (*CUT, "house/late")]
    assert [None] * 4 == [one.cost for one in lost]
    by_model = {line["model"]: line["charged_nano"] for line in bill.values()}
    assert [by_model[one.model] for one in lost] == [now[one.id].cost for one in lost]
    assert before == stored(new_url)
    assert {one.id for one in lost} == {row["attempt_id"] for row in adjustments(new_url)}
    assert recomputed(new_url) == rollup(new_url)

    written = adjustments(new_url)
    again = found(reconcile(new_url, gateway, "--yes", *shown))
    assert written == adjustments(new_url)
    assert [] == items(again, "unsettled")
    assert [items(wet, kind) for kind in ("differs", "only_ours", "only_theirs")] == [
        items(again, kind) for kind in ("differs", "only_ours", "only_theirs")
    ]

    # The gateway mends its report, theirs is accepted, and the stranger alone is left.
    gateway.tell(usage_missing=[], usage_duplicates=0, match={"path": "/*"})
    last = found(reconcile(new_url, gateway, "--yes", "--accept", *shown))
    assert [OFTEN, 0, 0, 1] == [len(items(last, kind)) for kind in ("differs", "unsettled", "only_ours", "only_theirs")]
    charged = sum(line["charged_nano"] // (2 if line["model"] == DEAR else 1) for line in bill.values())
    alien_nano = bill[alien["statement"]]["charged_nano"]
    assert charged - alien_nano == sum(one.cost or 0 for one in adjusted(new_url).values())
    closed = found(reconcile(new_url, gateway, "--yes", *shown))
    assert (["only_theirs"], "0") == ([item["class"] for item in closed["items"]], closed["drift_usd"])


def test_a_report_that_lags_misses_nothing_that_is_young(
    new_url: str, gateway: Gateway, meter: pixelmeter.Meter
) -> None:
    with httpx.Client() as client:
        pixelmeter.instrument(client, meter)
        for _ in range(3):
            client.post(f"{gateway.url}/images/generations", json={"prompt": "fox", "model": SAM})
    assert meter.flush(30)
    gateway.tell(usage_lag=3600, match={"path": "/*"})
    late = reconcile(new_url, gateway, "--lag", "2h")
    assert (0, 3) == (late.exit_code, found(late)["classes"][-1]["attempts"])
    gateway.tell(usage_lag=0, match={"path": "/*"})
    there = reconcile(new_url, gateway)
    assert (0, 3, 1_000_000) == (
        there.exit_code, found(there)["classes"][0]["matches"], found(there)["coverage_ppm"]
    )  # fmt: skip
