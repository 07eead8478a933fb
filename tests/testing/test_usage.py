"""The usage reports of the stand-in, as their vendors' own clients and documents have them."""

from __future__ import annotations

import time
from typing import Any

import httpx
import openai
import pytest

from pixelmeter.core.reconciling.statement import month
from pixelmeter.reconcile.sources import UsageClient
from pixelmeter.reconcile.sources.openai import OpenaiCosts, OpenaiImages
from pixelmeter.testing import Gateway
from tests.testing.conftest import Post

SAM, KLEIN = "meta/sam-3-1-image", "black-forest-labs/flux-2-klein-9b"
DAY = 86_400


def get(gateway: Gateway, path: str, **query: object) -> Any:
    answer = httpx.get(f"{gateway.root}{path}", params={name: str(value) for name, value in query.items()})
    assert 200 == answer.status_code
    return answer.json()


@pytest.fixture
def billed(post: Post) -> None:
    """Two calls of one model and one of another."""
    for model, account in ((SAM, "main"), (KLEIN, "acme"), (SAM, "main")):
        post(model=model, headers={"authorization": f"Bearer sk-aig-sub-{account}"})


@pytest.mark.usefixtures("billed")
def test_the_sdk_of_openai_reads_costs_and_images(gateway: Gateway) -> None:
    start = int(time.time()) // DAY * DAY - 40 * DAY
    with openai.OpenAI(admin_api_key="k", base_url=gateway.url) as client:
        usage = client.admin.organization.usage
        first = usage.costs(start_time=start, limit=31, group_by=["line_item"])
        assert first.next_page is not None
        second = usage.costs(start_time=start, limit=31, page=first.next_page)
        assert (True, False, None) == (first.has_more, second.has_more, second.next_page)
        assert 41 == len(first.data) + len(second.data)
        costs: list[Any] = second.data[-1].results
        assert [(f"{KLEIN} image, output", 0.04), (f"{SAM} image, output", 0.02)] == [
            (each.line_item, each.amount.value) for each in costs
        ]
        images: list[Any] = usage.images(start_time=start, limit=31, page="page_31").data[-1].results
        assert [(KLEIN, 1), (SAM, 2)] == [(each.model, each.images) for each in images]


def test_our_queries_are_those_of_the_sdk(gateway: Gateway) -> None:
    """What is asked for has the names and brackets that OpenAI's own client writes."""
    ours: dict[str, httpx.QueryParams] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        ours[request.url.path] = request.url.params
        return httpx.Response(200, json={"object": "page", "data": [], "has_more": False, "next_page": None})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        for source in (OpenaiCosts(), OpenaiImages()):
            list(source.pages(UsageClient(http, "https://api.openai.com", "k"), month("2026-10")))
    span: dict[str, Any] = {"start_time": month("2026-10").start // 10**6, "end_time": month("2026-10").end // 10**6}
    with openai.OpenAI(admin_api_key="k", base_url=gateway.url) as client:
        usage = client.admin.organization.usage.with_raw_response
        costs = usage.costs(**span, bucket_width="1d", limit=31, group_by=["line_item", "project_id"])
        images = usage.images(**span, bucket_width="1d", limit=31, group_by=["model", "size", "source", "project_id"])
    for raw in (costs, images):
        theirs = raw.http_request.url
        assert sorted(theirs.params.multi_items()) == sorted(ours[theirs.path].multi_items())


@pytest.mark.usefixtures("billed")
def test_openrouter_has_a_generation_and_the_sums_of_a_day(gateway: Gateway) -> None:
    line = gateway.billing()[1]
    found = get(gateway, "/api/v1/generation", id=f"gen-{line['request_id']}")["data"]
    assert (KLEIN, 0.04, False) == (found["model"], found["total_cost"], found["is_byok"])
    assert 404 == httpx.get(f"{gateway.root}/api/v1/generation?id=gen-none").status_code
    today = time.strftime("%Y-%m-%d", time.gmtime())
    rows = get(gateway, "/api/v1/activity", date=today)["data"]
    assert [(KLEIN, 0.04, 1), (SAM, 0.02, 2)] == [(row["model"], row["usage"], row["requests"]) for row in rows]
    assert [] == get(gateway, "/api/v1/activity", date="2001-01-01")["data"]


@pytest.mark.usefixtures("billed")
def test_litellm_has_a_log_with_pages_and_one_without(gateway: Gateway) -> None:
    start, end = (time.strftime("%Y-%m-%d 00:00:00", time.gmtime(time.time() + days * DAY)) for days in (0, 1))
    pages = [
        get(gateway, "/spend/logs/v2", start_date=start, end_date=end, page=page, page_size=2) for page in (1, 2, 3)
    ]
    assert [2, 1, 0] == [len(page["data"]) for page in pages]
    assert {(3, 2)} == {(page["total"], page["total_pages"]) for page in pages}
    whole = get(gateway, "/spend/logs", start_date=start[:10], end_date=start[:10], summarize="false")
    assert whole == [row for page in pages for row in page["data"]]
    assert [] == get(gateway, "/spend/logs", start_date="2001-01-01", end_date="2001-01-02")


@pytest.mark.usefixtures("billed")
def test_cloudflare_has_logs_with_pages_and_filters(gateway: Gateway) -> None:
    path = "/client/v4/accounts/a/ai-gateway/gateways/g/logs"
    found = get(gateway, path, per_page=2, page=2)
    assert {"page": 2, "per_page": 2, "count": 1, "total_count": 3} == found["result_info"]
    assert [0.01] == [row["cost"] for row in found["result"]]
    bound = {"filters[0][key]": "created_at", "filters[0][value][]": "2026-01-01T00:00:00Z"}
    assert 3 == len(get(gateway, path, **bound, **{"filters[0][operator]": "gt"})["result"])
    assert [] == get(gateway, path, **bound, **{"filters[0][operator]": "lt"})["result"]


@pytest.mark.usefixtures("billed")
def test_sub_accounts_are_told_by_their_keys(gateway: Gateway) -> None:
    assert ["acme", "main"] == [row["id"] for row in get(gateway, "/v1/sub-accounts")["data"]]
    rows = get(gateway, "/v1/usage/by-sub-account")["data"]
    assert [("acme", 1, 4), ("main", 2, 2)] == [
        (row["sub_account_id"], row["requests"], row["cost_cents"]) for row in rows
    ]
    found = get(gateway, "/v1/sub-accounts/acme/usage", window="30d")
    assert ({"requests": 1, "cost_cents": 4}, KLEIN) == (found["summary"], found["by_model"][0]["model_id"])
    assert [4] == [row["cost_cents"] for row in found["by_day"]]


@pytest.mark.usefixtures("billed")
def test_faults_are_in_the_report_and_not_in_the_bill(gateway: Gateway) -> None:
    lines = gateway.billing()
    first = lines[0]["received_at"] / 1e6

    def costs(**fault: Any) -> list[float]:
        gateway.tell(**fault, times=1, match={"path": "/v1/usage/recent"})
        return [row["cost_cents"] for row in get(gateway, "/v1/usage/recent")["data"]]

    assert [1, 4, 4, 1] == costs(usage_duplicates=2)
    assert [1, 4] == costs(usage_missing=[first - 0.0001, first + 0.0001])
    assert [1, 2, 1] == costs(usage_percent={KLEIN: 50})
    assert [] == costs(usage_lag=3600)
    assert [1, 4, 1] == costs()
    assert lines == gateway.billing()
