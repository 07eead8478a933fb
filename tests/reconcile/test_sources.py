"""Each report, as the stand-in gateway gives it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import pytest

from pixelmeter.core.reconciling.statement import Period, month
from pixelmeter.errors import SourceError
from pixelmeter.gateways import load_profiles
from pixelmeter.reconcile.sources import SOURCES, Source, cloudflare, litellm, openai, sources_for
from pixelmeter.testing import Gateway
from tests.reconcile.conftest import Ask, all_of, this_month

Bill = Callable[..., None]
KLEIN = "black-forest-labs/flux-2-klein-9b"
SAM = "meta/sam-3-1-image"
DAY = 86_400_000_000
BY_NAME = {source.id: source for source in SOURCES}
# What a row of a log has, and nobody should keep.
PRIVATE = ("fox", "203.0.113.7", "88dc28d0", "alice", "secret-0123")


def named(name: str) -> Source:
    return BY_NAME[name]


@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in SOURCES])
def test_a_report_has_the_whole_bill_and_nothing_private(
    source: Source, gateway: Gateway, ask: Ask, bill: Bill
) -> None:
    bill(2, tag="hero")
    bill(model=KLEIN, key="sk-aig-sub-acme")
    bill(model="bria/fibo-edit/edit", tag="banner")

    pages = ask(source)
    statements = all_of(pages)

    assert [] == [problem for page in pages for problem in page.problems]
    assert pages[-1].cursor is None
    if source.has_amounts:
        assert gateway.billed_nano() == sum(each.amount or 0 for each in statements) == 102_000_000
    else:
        assert {None} == {each.amount for each in statements}
        assert 4 == sum(each.images or 0 for each in statements)
    # OpenAI's costs count images.
    assert 4 == sum(each.requests or each.images or 0 for each in statements)
    assert {(source.gateway, source.id, source.grain)} == {
        (each.gateway, each.source, each.grain) for each in statements
    }
    assert len(statements) == len({each.external_id for each in statements})
    text = msgspec.json.encode(statements).decode()
    assert [] == [word for word in PRIVATE if word in text]


@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in SOURCES])
def test_a_row_has_the_same_id_whenever_it_is_read(source: Source, gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill(model=KLEIN, tag="hero")
    first = all_of(ask(source))
    gateway.tell(usage_percent={KLEIN: 50}, match={"path": "/*"})
    again = all_of(ask(source))

    assert [each.external_id for each in first] == [each.external_id for each in again]
    if source.has_amounts:
        assert [40_000_000, 20_000_000] == [first[0].amount, again[0].amount]
        assert first[0].raw != again[0].raw


@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in SOURCES])
def test_a_gateway_without_rows_has_no_statements(source: Source, ask: Ask) -> None:
    assert [] == all_of(ask(source))


@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in SOURCES])
@pytest.mark.parametrize("body", ["{}", "[1, {}]", '{"data": 3, "result": [[]]}', '{"data": [{"results": {}}]}', "3"])
def test_what_is_no_report_is_an_error_or_a_problem_and_never_nothing(
    source: Source, body: str, gateway: Gateway, ask: Ask, bill: Bill
) -> None:
    bill()
    gateway.tell(body_text=body, match={"path": "/*"})
    try:
        pages = ask(source)
    except SourceError as error:
        problems = [str(error)]
    else:
        assert [] == all_of(pages)
        problems = [problem for page in pages for problem in page.problems]
    assert problems


@pytest.mark.parametrize(
    "name", ["aigateway_recent", "litellm_spend_logs", "cloudflare_logs", "openrouter_generations"]
)
def test_a_request_is_one_statement(name: str, gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill(model=KLEIN, tag="hero")
    line = gateway.billing()[0]

    [found] = all_of(ask(named(name)))

    prefix = "gen-" if name.startswith("openrouter") else ""
    assert f"{prefix}{line['request_id']}" == found.external_id == found.ids[0]
    assert line["request_id"] in found.ids
    assert (KLEIN, 40_000_000, 1, None) == (found.model, found.amount, found.requests, found.ends_at)
    assert found.status in ("succeeded", None)
    # AIgateway says seconds, the others thousandths.
    assert 0 <= line["received_at"] - found.starts_at < 1_000_000


def test_a_request_that_failed_says_so(gateway: Gateway, ask: Ask, http: Any) -> None:
    gateway.tell(status=500)
    http.post(f"{gateway.url}/images/generations", json={"prompt": "a fox", "model": KLEIN})

    for name in ("aigateway_recent", "litellm_spend_logs", "cloudflare_logs"):
        [found] = all_of(ask(named(name)))
        assert ("failed", 0) == (found.status, found.amount)


def test_a_job_is_one_request_that_is_listed_once_it_has_ended(gateway: Gateway, ask: Ask, http: Any) -> None:
    model = "black-forest-labs/flux-2-flex"
    submit = http.post(f"{gateway.url}/images/generations", json={"prompt": "a fox", "model": model})
    assert [] == all_of(ask(named("aigateway_recent")))
    gateway.end_jobs()

    [found] = all_of(ask(named("aigateway_recent")))
    assert (submit.headers["x-request-id"], "job_01") == found.ids
    assert 60_000_000 == found.amount


@pytest.mark.parametrize("shape", ["list", "data"])
def test_sums_by_tag_in_both_shapes(shape: str, gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill(2, tag="hero")
    bill(tag="banner")
    gateway.tell(by_tag_shape=shape, match={"path": "/v1/usage/by-tag"})

    found = all_of(ask(named("aigateway_by_tag")))
    assert [("banner", 1, 10_000_000), ("hero", 2, 20_000_000)] == [(s.label, s.requests, s.amount) for s in found]
    assert {this_month()} == {(each.starts_at, each.ends_at) for each in found}
    with pytest.raises(SourceError, match="whole months"):
        ask(named("aigateway_by_tag"), Period(0, DAY))


def test_sums_by_sub_account(ask: Ask, bill: Bill) -> None:
    bill(2, key="sk-aig-sub-acme")
    bill(key="sk-aig-sub-zoo")

    for name in ("aigateway_sub_accounts", "aigateway_sub_account_days"):
        found = all_of(ask(named(name)))
        assert [("acme", 20_000_000), ("zoo", 10_000_000)] == [(each.label, each.amount) for each in found]


@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in sources_for("aigateway")])
def test_a_report_that_aigateway_does_not_have_is_said_to_be_missing(
    source: Source, gateway: Gateway, ask: Ask
) -> None:
    gateway.tell(status=404, match={"path": "/v1/*"})
    with pytest.raises(SourceError, match="not every AIgateway has: use another --source"):
        ask(source)


def test_the_latest_requests_that_do_not_reach_back_say_so(gateway: Gateway, ask: Ask, bill: Bill) -> None:
    row = '{"request_id":"r%d","model":"m","status":200,"cost_cents":1,"created_at":%d}'
    now = int(time.time())
    gateway.tell(body_text=f'{{"data":[{",".join(row % (at, now) for at in range(1000))}]}}', match={"path": "/v1/*"})

    [page] = ask(named("aigateway_recent"))
    assert 1000 == len(page.statements)
    assert "lists the latest 1000 requests" in page.notes[0]
    gateway.reset()
    bill()
    assert () == ask(named("aigateway_recent"))[0].notes


def test_fewer_of_the_latest_requests_are_asked_for_where_a_thousand_are_refused(
    gateway: Gateway, ask: Ask, bill: Bill
) -> None:
    bill()
    gateway.tell(status=400, times=1, match={"path": "/v1/usage/recent"})
    assert 1 == len(all_of(ask(named("aigateway_recent"))))


@pytest.mark.parametrize(
    ("name", "rows", "pages"),
    [("litellm_spend_logs", 120, 2), ("cloudflare_logs", 120, 3), ("openrouter_generations", 120, 3)],
)
def test_a_report_of_several_pages_has_all_of_them(name: str, rows: int, pages: int, ask: Ask, bill: Bill) -> None:
    bill(rows)
    today = Period(int(time.time() * 1e6) // DAY * DAY, int(time.time() * 1e6) // DAY * DAY + DAY)

    found = ask(named(name), today)
    assert pages == len(found)
    assert rows == len({each.external_id for each in all_of(found)})


@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in SOURCES])
def test_a_report_goes_on_where_it_was_left(source: Source, ask: Ask, bill: Bill) -> None:
    bill(60)
    bill(60, key="sk-aig-sub-acme")
    days = this_month() if source.grain == "month" else Period(_today().start - 2 * DAY, _today().end)
    if source.gateway == "openai":
        days = Period(_today().start - 70 * DAY, _today().end)

    found = ask(source, days)
    assert (len(found) > 1) == (source.id not in ("aigateway_recent", "aigateway_by_tag", "aigateway_sub_accounts"))
    for at, page in enumerate(found[:-1]):
        assert page.cursor is not None
        rest = ask(source, days, cursor=page.cursor)
        assert [len(each.statements) for each in rest] == [len(each.statements) for each in found[at + 1 :]]
        assert [s.external_id for s in all_of(rest)] == [s.external_id for s in all_of(found[at + 1 :])]


def test_the_buckets_of_openai_come_in_pages(ask: Ask, bill: Bill) -> None:
    bill()
    end = this_month().end
    period = Period(end - 100 * DAY, end)

    found = ask(named("openai_costs"), period)
    assert 3 <= len(found) <= 4
    assert [10_000_000] == [each.amount for each in all_of(found)]
    assert all_of(found) != []
    assert found[0].cursor is not None
    assert len(found) - 1 == len(ask(named("openai_costs"), period, cursor=found[0].cursor))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai_costs", '{"data":[],"has_more":true,"next_page":"page_0"}'),
        ("openai_costs", '{"data":[{"start_time":%d,"results":[]}],"has_more":true,"next_page":"page_0"}'),
        ("litellm_spend_logs", '{"data":[{"request_id":"r1","startTime":%d,"spend":1}],"page_size":1}'),
        ("litellm_spend_logs", '{"data":[{"request_id":"r1","startTime":%d,"spend":1}],"total_pages":2}'),
        ("cloudflare_logs", '{"result":[{"id":"r1","created_at":%d,"cost":1}],"result_info":{"total_count":2}}'),
    ],
)
def test_a_page_that_comes_again_is_no_end(name: str, body: str, gateway: Gateway, ask: Ask) -> None:
    gateway.tell(body_text=body.replace("%d", str(_today().start // 1_000_000)), match={"path": "/*"})
    with pytest.raises(SourceError, match=r"the same page twice \(page 2 has what page 1 had\).* is kept"):
        ask(named(name), _today())


def test_a_litellm_without_pages_is_read_day_by_day(gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill(3)
    gateway.tell(status=404, match={"path": "/spend/logs/v2"})
    assert 3 == len({each.external_id for each in all_of(ask(named("litellm_spend_logs")))})


def test_a_total_of_litellm_that_is_capped_is_not_believed(gateway: Gateway, ask: Ask) -> None:
    day = time.strftime("%Y-%m-%dT00:00:%%02dZ", time.gmtime())
    row = '{"request_id":"r%d","spend":0.01,"startTime":"%s"}'
    page = f'{{"data":[{row}],"total_pages":1,"total_is_capped":true,"page_size":1}}'
    today = Period(int(time.time() * 1e6) // DAY * DAY, int(time.time() * 1e6) // DAY * DAY + DAY)
    gateway.tell(body_text='{"data":[],"total_pages":1}', match={"path": "/spend/*"})
    for at in (2, 1):
        gateway.tell(body_text=page % (at, day % at), times=at, match={"path": "/spend/*"})

    assert ["r1", "r2"] == [each.external_id for each in all_of(ask(named("litellm_spend_logs"), today))]


def test_a_generation_that_is_not_there_yet_is_counted(gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill()
    known = f"gen-{gateway.billing()[0]['request_id']}"
    [page] = ask(named("openrouter_generations"), wanted=[known, "gen-unknown"])
    assert [known] == [each.external_id for each in page.statements]
    assert ("1 of the requests are not known to /api/v1/generation, or not yet",) == page.notes


def test_days_that_openrouter_no_longer_has_are_noted(gateway: Gateway, ask: Ask) -> None:
    gateway.tell(status=400, match={"path": "/api/v1/activity"})
    pages = ask(named("openrouter_activity"), month("2026-01"))
    assert 31 == len(pages)
    assert ("/api/v1/activity has no 2026-01-01: it goes back thirty days",) == pages[0].notes


FAULTS = ["aigateway_recent", "litellm_spend_logs", "cloudflare_logs"]


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_in_every_report(name: str, gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill(3)
    gateway.tell(usage_duplicates=3, times=1, match={"path": "/*"})
    ids = [each.external_id for each in all_of(ask(named(name), _today()))]
    assert (4, 3) == (len(ids), len(set(ids)))

    gateway.tell(usage_lag=3600, times=1, match={"path": "/*"})
    assert [] == all_of(ask(named(name), _today()))

    second = gateway.billing()[1]["received_at"] / 1e6
    gateway.tell(usage_missing=[second - 0.0001, second + 0.0001], times=1, match={"path": "/*"})
    assert 2 == len(all_of(ask(named(name), _today())))


def _today() -> Period:
    start = int(time.time() * 1e6) // DAY * DAY
    return Period(start, start + DAY)


def test_every_gateway_with_a_report_is_known_to_the_profiles() -> None:
    known = load_profiles({}).ids
    assert [] == [source.id for source in SOURCES if source.gateway not in known]
    assert ["openai_costs", "openai_images"] == [source.id for source in sources_for("openai")]
    assert () == sources_for("fal")


def test_sums_of_sub_accounts_that_do_not_reach_back_say_so(ask: Ask, bill: Bill) -> None:
    bill()
    [page] = ask(named("aigateway_sub_account_days"), month("2026-01"))
    assert ("/v1/sub-accounts/main/usage has the last thirty days, not all of the month",) == page.notes
    assert () == ask(named("aigateway_sub_account_days"), _today())[0].notes


_LINES = [
    ("gpt-image-1 image, output", "gpt-image-1"),
    ("gpt-image-2 text, input", "gpt-image-2"),
    ("gpt-image-1", "gpt-image-1"),
    ("gpt-image-1.5 image, cached input", "gpt-image-1.5"),
    ("gpt-4o-2024-08-06, input", "gpt-4o-2024-08-06"),
    ("Image models", None),
    ("web search calls | gpt-4o", None),
    (None, None),
]


def test_a_page_of_openai_costs_as_it_is_documented(gateway: Gateway, ask: Ask) -> None:
    start = int(_today().start // 1_000_000)
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": value, "currency": currency},
            "line_item": line,
            "project_id": "proj_1",
            "organization_id": "org-1",
            "quantity": 3.0,
            "quantity_unit": unit,
        }
        for value, currency, unit, (line, _) in zip(
            [0.06, "0.13080438", 1e-05, -0.5, 0, 0.06, 1.0, 0.25],
            ["usd"] * 5 + ["Usd", "eur", "usd"],
            ["images", "1000_tokens", "images", None, None, None, None, "images"],
            _LINES,
            strict=True,
        )
    ]
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results}
    page = {"object": "page", "data": [bucket], "has_more": False, "next_page": None}
    gateway.tell(body_text=json.dumps(page), match={"path": "/v1/organization/costs"})

    asked = ask(named("openai_costs"), _today())
    found = all_of(asked)
    [problem] = asked[0].problems
    assert "its amount is in 'eur', not in USD" in problem
    assert [model for _, model in _LINES] == [each.model for each in found]
    assert [line for line, _ in _LINES] == [each.label for each in found]
    nano = [60_000_000, 130_804_380, 10_000, -500_000_000, 0, 60_000_000, None, 250_000_000]
    assert nano == [each.amount for each in found]
    assert [3, None, 3, None, None, None, None, 3] == [each.images for each in found]
    assert len(found) == len({each.external_id for each in found})


def test_a_generation_of_openrouter_as_it_is_documented(gateway: Gateway, ask: Ask, bill: Bill) -> None:
    bill()
    data = {
        "id": "gen-3bhGkxlo4XFrqiabUM7NDtwDzWwG", "upstream_id": "chatcmpl-791bcf62", "request_id": "req-1",
        "total_cost": 0.0387, "created_at": f"{time.strftime('%Y-%m-%d')}T00:00:00.000000+00:00", "usage": 0.0387,
        "model": "google/gemini-3-pro-image", "origin": "https://private.example/", "is_byok": True,
        "upstream_inference_cost": 0.1, "cache_discount": None, "streamed": True, "cancelled": False,
        "provider_name": "Google", "num_media_completion": 1, "external_user": "alice", "http_referer": None,
        "native_tokens_completion_images": 1290,
    }  # fmt: skip
    gateway.tell(body_text=json.dumps({"data": data}), match={"path": "/api/v1/generation"})

    [found] = all_of(ask(named("openrouter_generations"), _today()))
    assert (data["id"], data["request_id"], data["upstream_id"]) == found.ids
    assert (38_700_000, 1, data["model"]) == (found.amount, found.images, found.model)
    assert [] == [word for word in ("alice", "private") if word in found.raw]
    assert {"is_byok": True, "upstream_inference_cost": 0.1}.items() <= json.loads(found.raw).items()


@pytest.mark.parametrize(
    ("name", "module", "body"),
    [
        ("openai_costs", openai, '{"data":[],"has_more":true,"next_page":"page_%d"}'),
        ("litellm_spend_logs", litellm, '{"data":[{"request_id":"%d"}],"page_size":1}'),
        ("cloudflare_logs", cloudflare, '{"result":[{"id":"%d"}],"result_info":{"total_count":999999}}'),
    ],
)
def test_a_report_without_an_end_is_an_error(
    name: str, module: ModuleType, body: str, gateway: Gateway, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE_LIMIT", 5)
    for at in range(10):
        gateway.tell(body_text=body % (10 - at), times=10 - at, match={"path": "/*"})
    with pytest.raises(SourceError, match="more than 5 pages"):
        ask(named(name), _today())
