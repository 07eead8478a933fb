"""The exchanges that gateways are known for: what the client sees, and what the gateway bills; jobs, usage, balance."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from pixelmeter.testing import Gateway
from tests.testing.conftest import Post

KLEIN = "black-forest-labs/flux-2-klein-9b"


def bill(gateway: Gateway) -> tuple[Any, ...]:
    """Return status, images, nano-dollars and outcome of the latest attempt."""
    line = gateway.billing()[-1]
    return line["status"], line["images"], line["charged_nano"], line["outcome"]


def test_an_image_by_url(post: Post, gateway: Gateway) -> None:
    answer = post(model=KLEIN, size="512x256", response_format="url", headers={"x-request-id": "req_01"})
    assert ("4", "req_01") == (answer.headers["x-cost-cents"], answer.headers["x-request-id"])
    assert ("600", "599", "60") == tuple(
        answer.headers[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset")
    )
    assert ("fireworks", "lowest_cost", "1") == tuple(
        answer.headers[f"x-aig-{name}"] for name in ("provider", "route-policy", "attempts")
    )
    (image,) = answer.json()["data"]
    png = httpx.get(image["url"])
    assert ("image/png", (512).to_bytes(4) + (256).to_bytes(4)) == (png.headers["content-type"], png.content[16:24])
    assert (200, 1, 40_000_000, "success") == bill(gateway)


def test_an_edit_by_json_runs_the_edit_model(post: Post, gateway: Gateway) -> None:
    answer = post("/v1/images/edits", image_url="https://example.com/a.png")
    assert "4.2" == answer.headers["x-cost-cents"]
    line = gateway.billing()[-1]
    assert ("edit", "bria/fibo-edit/edit", 1) == (line["operation"], line["model"], line["input_images"])


def test_a_variation_counts_its_input_image(gateway: Gateway) -> None:
    httpx.post(f"{gateway.url}/images/variations", files={"image": ("a.png", b"png")}, data={"model": KLEIN, "n": "2"})
    line = gateway.billing()[-1]
    assert ("variation", 1, 2) == (line["operation"], line["input_images"], line["images"])


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "budget_exceeded"),
        (403, "scope_exceeded"),
        (404, "model_not_found"),
        (429, "rate_limit_error"),
        (502, "provider_error"),
        (503, "provider_error"),
        (504, "timeout_error"),
    ],
)
def test_a_failure_has_the_type_of_its_status_and_is_not_charged(
    post: Post, gateway: Gateway, status: int, kind: str
) -> None:
    answer = post(model=KLEIN, behaviour={"status": status})
    assert (status, kind, status) == (
        answer.status_code,
        answer.json()["error"]["type"],
        answer.json()["error"]["code"],
    )
    assert "x-cost-cents" not in answer.headers
    assert (status, 0, 0) == bill(gateway)[:3]


def test_a_failure_can_be_charged(post: Post, gateway: Gateway) -> None:
    post(model=KLEIN, behaviour={"status": 500, "charged": True})
    assert (500, 0, 40_000_000, "error") == bill(gateway)


@pytest.mark.parametrize("body", [{"n": 0}, {"n": "many"}, {"size": "99999x1"}, {"size": "big"}])
def test_a_request_that_makes_no_sense_is_rejected(post: Post, gateway: Gateway, body: dict[str, Any]) -> None:
    assert 400 == post(**body).status_code
    assert (400, 0, 0, "rejected") == bill(gateway)


def test_the_automatic_model_says_what_ran(post: Post, gateway: Gateway) -> None:
    headers = post(model="auto/image").headers
    assert ("true", "black-forest-labs/flux-1-schnell", "0.08", "3.91") == tuple(
        headers[name] for name in ("x-auto-routed", "x-routing-selected", "x-cost-cents", "x-auto-savings-cents")
    )
    assert "black-forest-labs/flux-1-schnell" == gateway.billing()[-1]["model"]
    hidden = post(model="auto/image", behaviour={"headers": {"x-routing-selected": None}})
    assert "x-routing-selected" not in hidden.headers


def test_a_refused_prompt_is_not_charged(post: Post, gateway: Gateway) -> None:
    answer = post(model="gpt-image-2", behaviour={"refusal": True, "gateway": "openai"})
    assert (400, "moderation_blocked") == (answer.status_code, answer.json()["error"]["code"])
    assert (400, 0, 0, "refused") == bill(gateway)


def test_the_callers_own_key_leaves_a_fee(post: Post, gateway: Gateway) -> None:
    assert "0.2" == post(model=KLEIN, headers={"x-byok-bfl": "key"}).headers["x-cost-cents"]
    assert 2_000_000 == gateway.billed_nano()


def test_the_bill_names_what_the_client_said_of_itself(post: Post, gateway: Gateway) -> None:
    post(headers={"x-aig-tag": "hero", "x-test-id": "t1", "x-stainless-retry-count": "2"})
    line = gateway.billing()[-1]
    assert ("hero", "t1", 2) == (line["tag"], line["test_id"], line["retry_count"])


FLEX = "black-forest-labs/flux-2-flex"


def poll(gateway: Gateway, job: str) -> httpx.Response:
    return httpx.get(f"{gateway.url}/jobs/{job}")


def test_a_job_is_charged_by_the_poll_that_finds_it_completed(post: Post, gateway: Gateway) -> None:
    answer = post(model=FLEX, n=2, size="64x32")
    assert (202, {"id": "job_01", "status": "queued", "object": "job"}) == (answer.status_code, answer.json())
    assert 0 == gateway.billed_nano()
    assert "running" == poll(gateway, "job_01").json()["status"]
    assert 0 == gateway.billed_nano()
    done = poll(gateway, "job_01").json()
    assert ("completed", FLEX, done["result_url"]) == (done["status"], done["model"], done["result"]["file_url"])
    assert (64).to_bytes(4) + (32).to_bytes(4) == httpx.get(done["result_url"]).content[16:24]
    poll(gateway, "job_01")
    assert [("pending", 0), ("success", 120_000_000)] == [
        (line["outcome"], line["charged_nano"]) for line in gateway.billing()
    ]


@pytest.mark.parametrize(
    ("behaviour", "statuses", "error"),
    [
        ({"job_polls": 1}, ["completed"], None),
        ({"job_polls": 3, "job_word": "processing"}, ["processing", "processing", "completed"], None),
        ({"job_polls": 3, "job_not_modified": True}, ["running", 304, "completed"], None),
        ({"job_polls": 1, "job_end": "failed"}, ["failed"], "the provider could not make the image"),
        (
            {"job_polls": 1, "job_end": "failed_object"},
            ["failed"],
            {"code": "provider_error", "message": "the provider could not make the image"},
        ),
    ],
)
def test_a_job_goes_as_told(
    post: Post, gateway: Gateway, behaviour: dict[str, Any], statuses: list[Any], error: object
) -> None:
    job = post(model="meta/sam-3-1-image", behaviour=behaviour | {"job": True}).json()["id"]
    answers = [poll(gateway, job) for _ in statuses]
    assert statuses == [304 if answer.status_code == 304 else answer.json()["status"] for answer in answers]
    assert error == answers[-1].json().get("error")
    assert (0 if error else 10_000_000) == gateway.billed_nano()


def test_the_completing_poll_can_say_the_cost(post: Post, gateway: Gateway) -> None:
    post(model=FLEX, behaviour={"job_polls": 1, "job_cost_header": True})
    assert "6" == poll(gateway, "job_01").headers["x-cost-cents"]


def test_a_cancelled_job_is_not_charged(post: Post, gateway: Gateway) -> None:
    post(model=FLEX)
    assert "cancelled" == httpx.delete(f"{gateway.url}/jobs/job_01").json()["status"]
    assert ["cancelled"] * 3 == [poll(gateway, "job_01").json()["status"] for _ in range(3)]
    assert 0 == gateway.billed_nano()
    assert 404 == poll(gateway, "job_99").status_code


def test_usage_by_request_is_newest_first(post: Post, gateway: Gateway) -> None:
    post(model="meta/sam-3-1-image", headers={"x-request-id": "a", "x-aig-tag": "hero"})
    post(model="bria/fibo-edit/edit", headers={"x-request-id": "b"})
    rows = httpx.get(f"{gateway.url}/usage/recent?limit=100").json()["data"]
    assert [("b", 4.2, None), ("a", 1, "hero")] == [
        (row["request_id"], row["cost_cents"], row.get("tag")) for row in rows
    ]
    assert 1 == len(httpx.get(f"{gateway.url}/usage/recent?limit=1").json()["data"])
    gateway.tell(status=404, match={"path": "/v1/usage/recent"})
    assert 404 == httpx.get(f"{gateway.url}/usage/recent").status_code


def test_usage_by_tag_has_two_shapes(post: Post, gateway: Gateway) -> None:
    for tag in ("hero", "hero", "banner"):
        post(model="meta/sam-3-1-image", headers={"x-aig-tag": tag})
    month = time.strftime("%Y-%m", time.gmtime())
    address = f"{gateway.url}/usage/by-tag?month={month}"
    rows = [{"tag": "banner", "requests": 1, "cost_cents": 1}, {"tag": "hero", "requests": 2, "cost_cents": 2}]
    assert rows == httpx.get(address).json()
    assert [] == httpx.get(f"{gateway.url}/usage/by-tag?month=2001-01").json()
    gateway.tell(by_tag_shape="data", match={"path": "/v1/usage/by-tag"})
    labels = [{"label": row.pop("tag"), **row} for row in rows]
    assert {"data": labels} == httpx.get(address).json()


def test_models_are_listed_with_their_prices(gateway: Gateway) -> None:
    prices = {model["id"]: model["pricing"] for model in httpx.get(f"{gateway.url}/models").json()["data"]}
    assert {"unit": "image", "usd": "0.01"} == prices["meta/sam-3-1-image"]
    assert {"input_text": "5", "input_image": "8", "output_image": "30"} == prices["gpt-image-2"]["usd"]


def test_the_balance_falls_by_what_is_charged(post: Post, gateway: Gateway) -> None:
    post(model="bria/fibo-edit/edit")
    assert '"balance_cents":99995.8' in httpx.get(f"{gateway.url}/balance").text


def test_other_paths_are_not_found(gateway: Gateway) -> None:
    assert "not_found" == httpx.get(f"{gateway.url}/nothing").json()["error"]["type"]
    assert 404 == httpx.get(f"{gateway.url}/files/0x5/a.png").status_code
