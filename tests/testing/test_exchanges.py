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


def test_two_images_as_text(post: Post, gateway: Gateway) -> None:
    answer = post(model=KLEIN, n=2, response_format="b64_json")
    assert "8" == answer.headers["x-cost-cents"]
    assert ["iVBORw0KGgo", "iVBORw0KGgo"] == [image["b64_json"][:11] for image in answer.json()["data"]]
    assert (200, 2, 80_000_000, "success") == bill(gateway)


def test_an_answer_without_a_cost_header_is_charged_all_the_same(post: Post, gateway: Gateway) -> None:
    assert "x-cost-cents" not in post(model=KLEIN, behaviour={"cost_header": False}).headers
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


def test_a_failure_takes_another_type_and_waiting_time(post: Post) -> None:
    answer = post(behaviour={"status": 402, "type": "insufficient_credits"})
    assert "insufficient_credits" == answer.json()["error"]["type"]
    answer = post(behaviour={"status": 503, "retry_after": 2})
    assert "2" == answer.headers["retry-after"]
    assert "1" == post(behaviour={"status": 429}).headers["retry-after"]


def test_a_failure_can_be_charged(post: Post, gateway: Gateway) -> None:
    post(model=KLEIN, behaviour={"status": 500, "charged": True})
    assert (500, 0, 40_000_000, "error") == bill(gateway)


def test_more_than_25_megabytes_are_too_many(gateway: Gateway) -> None:
    answer = httpx.post(f"{gateway.url}/images/edits", files={"image": bytes(26_000_000)}, data={"model": KLEIN})
    assert 413 == answer.status_code
    assert (413, 0, 0, "rejected") == bill(gateway)


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


def test_a_cache_hit_costs_a_share_and_shows_in_nothing_else(post: Post, gateway: Gateway) -> None:
    assert "0.4" == post(model=KLEIN, headers={"x-cache": "force"}).headers["x-cost-cents"]
    assert "2" == post(model=KLEIN, behaviour={"cached_percent": 50}).headers["x-cost-cents"]
    assert 24_000_000 == gateway.billed_nano()


@pytest.mark.parametrize("text", ["", "abc", "NaN", "-1", "1e400", "0"])
def test_the_cost_header_is_what_it_was_told(post: Post, gateway: Gateway, text: str) -> None:
    assert text == post(model=KLEIN, behaviour={"cost_header": text}).headers["x-cost-cents"]
    assert 40_000_000 == gateway.billed_nano()


def test_the_cost_header_comes_as_often_as_told(post: Post) -> None:
    answer = post(behaviour={"cost_header": ["1", "2"]})
    assert ["1", "2"] == answer.headers.get_list("x-cost-cents")


@pytest.mark.parametrize(("behaviour", "data", "nano"), [({"images": 0}, [], 0), ({"images": 3}, None, 120_000_000)])
def test_other_images_come_than_were_asked_for(
    post: Post, gateway: Gateway, behaviour: dict[str, int], data: list[Any] | None, nano: int
) -> None:
    answer = post(model=KLEIN, n=4, behaviour=behaviour).json()["data"]
    assert behaviour["images"] == len(answer)
    assert data is None or data == answer
    assert nano == gateway.billed_nano()


def test_an_image_held_back_has_an_empty_url(post: Post) -> None:
    assert [{"url": ""}] == post(behaviour={"empty_url": True}).json()["data"]


def test_a_refused_prompt_is_not_charged(post: Post, gateway: Gateway) -> None:
    answer = post(model="gpt-image-2", behaviour={"refusal": True, "gateway": "openai"})
    assert (400, "moderation_blocked") == (answer.status_code, answer.json()["error"]["code"])
    assert (400, 0, 0, "refused") == bill(gateway)


@pytest.mark.parametrize(
    ("behaviour", "content_type", "start"),
    [
        ({"status": 502, "body": "html"}, "text/html", "<html>"),
        ({"status": 413, "body": "text"}, "text/plain", "upstream"),
        ({"body": "truncated"}, "application/json", '{"created":'),
        ({"body_text": '{"usage": [1]}'}, "application/json", '{"usage": [1]}'),
        ({"body": "empty"}, "application/json", ""),
    ],
)
def test_a_body_is_replaced(post: Post, behaviour: dict[str, Any], content_type: str, start: str) -> None:
    answer = post(behaviour=behaviour)
    assert content_type == answer.headers["content-type"]
    assert answer.text.startswith(start)
    if behaviour.get("body") == "truncated":
        assert not answer.text.endswith("}")


def test_the_callers_own_key_leaves_a_fee(post: Post, gateway: Gateway) -> None:
    assert "0.2" == post(model=KLEIN, headers={"x-byok-bfl": "key"}).headers["x-cost-cents"]
    assert 2_000_000 == gateway.billed_nano()


def test_the_bill_names_what_the_client_said_of_itself(post: Post, gateway: Gateway) -> None:
    post(headers={"x-aig-tag": "hero", "x-test-id": "t1", "x-stainless-retry-count": "2"})
    line = gateway.billing()[-1]
    assert ("hero", "t1", 2) == (line["tag"], line["test_id"], line["retry_count"])


@pytest.mark.parametrize("path", ["/images/generations", "/v1/images/generations", "/openai/v1/images/generations"])
def test_the_same_operation_is_found_below_every_prefix(post: Post, gateway: Gateway, path: str) -> None:
    assert 200 == post(path, model="gpt-image-2").status_code
    assert "generate" == gateway.billing()[-1]["operation"]
