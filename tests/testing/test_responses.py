"""Each gateway in its own words, with the charge that its answer must lead to."""

from __future__ import annotations

import re
from decimal import Decimal

from pixelmeter.testing import Gateway
from tests.testing.conftest import Post


def test_openai_bills_tokens(post: Post, gateway: Gateway) -> None:
    answer = post(model="gpt-image-2", quality="low", behaviour={"gateway": "openai"})
    body = answer.json()
    assert {
        "input_tokens": 1,
        "input_tokens_details": {"text_tokens": 1, "image_tokens": 0},
        "output_tokens": 272,
        "total_tokens": 273,
    } == body["usage"]
    assert ("low", "1024x1024") == (body["quality"], body["size"])
    assert "x-cost-cents" not in answer.headers
    assert 1 * 5_000 + 272 * 30_000 == gateway.billed_nano()


def test_azure_hides_the_model_behind_a_deployment(post: Post, gateway: Gateway) -> None:
    answer = post("/openai/deployments/img-prod/images/generations?api-version=2026-01-01", quality="high")
    assert answer.headers["apim-request-id"].startswith("apim-")
    line = gateway.billing()[-1]
    assert ("azure", "gpt-image-2", 5_000 + 4160 * 30_000) == (line["gateway"], line["model"], line["charged_nano"])


def test_litellm_says_dollars_in_a_header(post: Post) -> None:
    gateway = {"gateway": "litellm"}
    headers = post("/v1/images/edits", model="bria/fibo-edit/edit", behaviour=gateway).headers
    assert ("0.042", "d1", "bria/fibo-edit/edit") == tuple(
        headers[f"x-litellm-{name}"] for name in ("response-cost", "model-id", "model-name")
    )
    assert "x-litellm-model-name" not in post(model="bria/fibo-edit/edit", behaviour=gateway).headers
    assert "x-litellm-response-cost" not in post(behaviour=gateway | {"cost_header": False}).headers


def test_litellm_says_zero_for_an_edit_beyond_the_budget(post: Post, gateway: Gateway) -> None:
    answer = post("/v1/images/edits", behaviour={"gateway": "litellm", "status": 422})
    assert ("0", "budget_exceeded", "422") == (
        answer.headers["x-litellm-response-cost"],
        answer.json()["error"]["type"],
        answer.json()["error"]["code"],
    )
    assert 0 == gateway.billed_nano()


def test_openrouter_makes_one_image_of_four_and_says_dollars_in_the_body(post: Post, gateway: Gateway) -> None:
    answer = post("/api/v1/images", model="recraft/recraft-v4", n=4, behaviour={"charge_nano": 38_700_000})
    assert ["image/png"] == [image["media_type"] for image in answer.json()["data"]]
    assert ["0.0387"] == re.findall(r'"cost":([^,]+),"is_byok":false', answer.text)
    assert answer.headers["x-generation-id"].startswith("gen-")
    assert (1, 38_700_000) == (gateway.billing()[-1]["images"], gateway.billed_nano())


def test_openrouter_apart_from_its_fee_says_what_the_provider_takes(post: Post, gateway: Gateway) -> None:
    usage = post("/api/v1/images", provider_key_id="mine", model="m").text
    assert '"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.02}' in usage
    assert 1_000_000 == gateway.billed_nano()


def test_openrouter_delivers_images_in_a_chat(post: Post, gateway: Gateway) -> None:
    answer = post("/api/v1/chat/completions", model="google/gemini-3-pro-image", modalities=["image", "text"]).json()
    (image,) = answer["choices"][0]["message"]["images"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert ("chat_image", "openrouter") == (gateway.billing()[-1]["operation"], gateway.billing()[-1]["gateway"])
    assert Decimal(gateway.billed_nano()) == Decimal(str(answer["usage"]["cost"])) * 10**9


def test_xai_says_ticks(post: Post, gateway: Gateway) -> None:
    answer = post(model="grok-imagine-image", behaviour={"gateway": "xai"}).json()
    assert 200_000_000 == answer["usage"]["cost_in_usd_ticks"]
    assert 20_000_000 == gateway.billed_nano()


def test_an_unknown_gateway_says_nothing(post: Post, gateway: Gateway) -> None:
    answer = post(model="imagen-4.0-generate-001", behaviour={"gateway": "generic"})
    assert {"data", "model"} == answer.json().keys()
    assert "x-request-id" not in answer.headers
    assert 20_000_000 == gateway.billed_nano()


def test_usage_can_be_left_out(post: Post) -> None:
    for dialect in ("openai", "openrouter", "xai"):
        assert "usage" not in post(model="gpt-image-2", behaviour={"gateway": dialect, "usage": False}).json()
