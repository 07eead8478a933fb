"""The exchanges that gateways are known for: what the client sees, and what the gateway bills."""

from __future__ import annotations

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
