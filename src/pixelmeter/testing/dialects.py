"""How each gateway says what it did: headers and bodies, shaped as in its documentation, SDK or server source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pixelmeter.testing.asks import Ask
from pixelmeter.testing.body import PICTURE, number
from pixelmeter.testing.tariff import Tokens, cents, dollars

__all__ = ["COST_HEADERS", "DIALECTS", "Work", "head_start", "usage_block"]

Headers = list[tuple[str, str]]
Document = dict[str, Any]

COST_HEADERS = {"aigateway": "x-cost-cents", "litellm": "x-litellm-response-cost"}
"""Where a gateway puts the cost in the headers; the others have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A success before it is put into words."""

    ask: Ask
    operation: str
    model: str
    """The model that ran."""
    images: int
    charged: int
    """Nano-dollars."""
    price: int
    """Nano-dollars, what the images cost whoever pays for them; with the caller's own key not what is charged."""
    tokens: Tokens | None
    quality: str
    request_id: str
    created: int
    """Unix seconds."""
    urls: tuple[str, ...] | None
    """None: the pictures travel in the body."""
    routed: bool
    """The gateway chose the model."""

    def data(self) -> list[Document]:
        if self.urls is not None:
            return [{"url": url} for url in self.urls]
        return [{"b64_json": PICTURE} for _ in range(self.images)]


def head_start(dialect: str, request_id: str) -> Headers:
    """Return the headers that every answer of a gateway has, errors included."""
    if dialect == "aigateway":
        return [
            ("content-type", "application/json"),
            ("x-request-id", request_id),
            ("x-ratelimit-limit-requests", "600"),
            ("x-ratelimit-remaining-requests", "599"),
            ("x-ratelimit-reset-requests", "60"),
            ("x-aig-provider", "fireworks"),
            ("x-aig-route-policy", "lowest_cost"),
            ("x-aig-attempts", "1"),
        ]
    own: dict[str, Headers] = {
        "openai": [("x-request-id", request_id), ("openai-processing-ms", "7")],
        "azure": [("x-request-id", request_id), ("apim-request-id", f"apim-{request_id}"), ("x-ms-region", "West US")],
        "litellm": [("x-litellm-call-id", request_id), ("x-litellm-version", "1.109.1")],
        "openrouter": [("x-generation-id", f"gen-{request_id}")],
        "xai": [("x-request-id", request_id)],
        "generic": [],
    }
    return [("content-type", "application/json"), *own[dialect]]


def usage_block(tokens: Tokens) -> Document:
    """Return OpenAI's usage object."""
    total_input = tokens.input_text + tokens.input_image
    return {
        "input_tokens": total_input,
        "input_tokens_details": {"text_tokens": tokens.input_text, "image_tokens": tokens.input_image},
        "output_tokens": tokens.output_image,
        "total_tokens": total_input + tokens.output_image,
    }


def _aigateway(work: Work) -> tuple[Headers, Document]:
    headers: Headers = []
    if work.routed:
        headers = [
            ("x-auto-routed", "true"),
            ("x-routing-selected", work.model),
            ("x-routing-reason", "cheapest model for a simple prompt"),
            ("x-routing-complexity", "simple"),
            ("x-routing-quality", "0.710"),
            ("x-auto-baseline-model", "black-forest-labs/flux-2-klein-9b"),
            ("x-auto-baseline-cost-cents", cents(40_000_000 * work.images)),
            ("x-auto-route-fee-cents", "0.01"),
            ("x-auto-savings-cents", cents(max(0, 40_000_000 * work.images - work.charged - 100_000))),
        ]
    headers.append(("x-cost-cents", cents(work.charged)))
    return headers, {"created": work.created, "data": work.data()}


def _openai(work: Work) -> tuple[Headers, Document]:
    body: Document = {"created": work.created, "data": work.data()}
    if work.tokens is not None:
        effective = {"background": "opaque", "output_format": "png", "quality": work.quality, "size": work.ask.size}
        body |= effective | {"usage": usage_block(work.tokens)}
    return [], body


def _litellm(work: Work) -> tuple[Headers, Document]:
    headers = [("x-litellm-response-cost", dollars(work.charged)), ("x-litellm-model-id", "d1")]
    if work.operation == "edit":
        headers += [("x-litellm-model-name", work.model), ("x-litellm-model-group", work.ask.model)]
    _, body = _openai(work)
    return headers, body


def _openrouter(work: Work) -> tuple[Headers, Document]:
    usage: Document = {"prompt_tokens": 9, "completion_tokens": 1290, "total_tokens": 1299}
    usage |= {"cost": number(dollars(work.charged)), "is_byok": work.ask.byok}
    if work.ask.byok:
        usage["cost_details"] = {"upstream_inference_cost": number(dollars(work.price))}
    if work.operation == "chat_image":
        pictures = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}} for _ in range(work.images)
        ]
        message = {"role": "assistant", "content": "", "images": pictures}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        base = {"id": f"gen-{work.request_id}", "object": "chat.completion", "model": work.model}
        return [], base | {"created": work.created, "choices": choices, "usage": usage}
    data = [item | {"media_type": "image/png"} for item in work.data()]
    return [], {"created": work.created, "data": data, "usage": usage}


def _xai(work: Work) -> tuple[Headers, Document]:
    return [], {"data": work.data(), "usage": {"cost_in_usd_ticks": work.charged * 10}}


def _generic(work: Work) -> tuple[Headers, Document]:
    return [], {"data": work.data(), "model": work.model}


DIALECTS: dict[str, Callable[[Work], tuple[Headers, Document]]] = {
    "aigateway": _aigateway,
    "openai": _openai,
    "azure": _openai,
    "litellm": _litellm,
    "openrouter": _openrouter,
    "xai": _xai,
    "generic": _generic,
}
"""The headers beyond `head_start`, and the body, of a success."""
