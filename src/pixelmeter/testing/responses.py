"""Headers and bodies of the answers, in the dialect of each gateway: images, errors, and what a behaviour changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Entry, Tokens, cents, charge, count_tokens, dollars, token_price
from pixelmeter.testing.bodies import PICTURE, Answer, Body, compose, document, number, picture_text, plain
from pixelmeter.testing.requests import ImageRequest, Route

__all__ = ["adjust", "failure_text", "head_start", "model_that_runs", "price_of", "refusal_text", "succeed"]

_Headers = list[tuple[str, str]]
_Document = dict[str, Any]

_COST_HEADERS = {"aigateway": "x-cost-cents", "litellm": "x-litellm-response-cost"}
"""Where a gateway puts the cost in the headers; the others have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a successful answer tells, before it is written in a dialect."""

    asked: ImageRequest
    operation: str
    model: str
    """The model that ran."""
    images: int
    charged: int
    """Nano-dollars."""
    price: int
    """Nano-dollars that the images cost. With a key of the caller's own the provider bills them, so less is charged."""
    tokens: Tokens | None
    quality: str
    request_id: str
    created: int
    """Unix seconds."""
    urls: tuple[str, ...] | None
    """None: the pictures travel in the body."""
    routed: bool
    """The gateway chose the model."""

    def data(self) -> list[_Document]:
        if self.urls is not None:
            return [{"url": url} for url in self.urls]
        return [{"b64_json": PICTURE} for _ in range(self.images)]


def head_start(dialect: str, request_id: str) -> _Headers:
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
    own: dict[str, _Headers] = {
        "openai": [("x-request-id", request_id), ("openai-processing-ms", "7")],
        "azure": [("x-request-id", request_id), ("apim-request-id", f"apim-{request_id}"), ("x-ms-region", "West US")],
        "litellm": [("x-litellm-call-id", request_id), ("x-litellm-version", "1.109.1")],
        "openrouter": [("x-generation-id", f"gen-{request_id}")],
        "xai": [("x-request-id", request_id)],
        "generic": [],
        "fal": [("x-fal-request-id", request_id)],
        "replicate": [],
        "black-forest-labs": [],
    }
    return [("content-type", "application/json"), *own[dialect]]


def _usage_block(tokens: Tokens) -> _Document:
    """Return OpenAI's usage object."""
    total_input = tokens.input_text + tokens.input_image
    return {
        "input_tokens": total_input,
        "input_tokens_details": {"text_tokens": tokens.input_text, "image_tokens": tokens.input_image},
        "output_tokens": tokens.output_image,
        "total_tokens": total_input + tokens.output_image,
    }


def _aigateway(work: _Work) -> tuple[_Headers, _Document]:
    headers: _Headers = []
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


def _openai(work: _Work) -> tuple[_Headers, _Document]:
    body: _Document = {"created": work.created, "data": work.data()}
    if work.tokens is not None:
        effective = {"background": "opaque", "output_format": "png", "quality": work.quality, "size": work.asked.size}
        body |= effective | {"usage": _usage_block(work.tokens)}
    return [], body


def _litellm(work: _Work) -> tuple[_Headers, _Document]:
    headers = [("x-litellm-response-cost", dollars(work.charged)), ("x-litellm-model-id", "d1")]
    if work.operation == "edit":
        headers += [("x-litellm-model-name", work.model), ("x-litellm-model-group", work.asked.model)]
    _, body = _openai(work)
    return headers, body


def _openrouter(work: _Work) -> tuple[_Headers, _Document]:
    usage: _Document = {"prompt_tokens": 9, "completion_tokens": 1290, "total_tokens": 1299}
    usage |= {"cost": number(dollars(work.charged)), "is_byok": work.asked.byok}
    if work.asked.byok:
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


def _xai(work: _Work) -> tuple[_Headers, _Document]:
    return [], {"data": work.data(), "usage": {"cost_in_usd_ticks": work.charged * 10}}


def _generic(work: _Work) -> tuple[_Headers, _Document]:
    return [], {"data": work.data(), "model": work.model}


_DIALECTS: dict[str, Callable[[_Work], tuple[_Headers, _Document]]] = {
    "aigateway": _aigateway,
    "openai": _openai,
    "azure": _openai,
    "litellm": _litellm,
    "openrouter": _openrouter,
    "xai": _xai,
    "generic": _generic,
}
"""The headers beyond `head_start`, and the body, of a success."""


_AIGATEWAY = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "budget_exceeded",
    403: "scope_exceeded",
    404: "model_not_found",
    413: "payload_too_large",
    429: "rate_limit_error",
    502: "provider_error",
    503: "provider_error",
    504: "timeout_error",
}
_OPENAI = {429: "requests", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_MESSAGES = {
    401: "the API key is not valid",
    402: "cap reached",
    404: "no such model",
    413: "the request is larger than 25 MB",
    429: "too many requests",
    502: "the provider did not answer",
    503: "the provider is down",
    504: "the provider took too long",
}


def failure_text(dialect: str, status: int, kind: str | None, message: str | None = None) -> str:
    """Return the JSON of an error; `kind` replaces the type that the gateway uses for that status."""
    words = message or _MESSAGES.get(status, f"the stand-in gateway was told to answer {status}")
    if dialect == "aigateway":
        usual = _AIGATEWAY.get(status, "invalid_request_error" if status < 500 else "provider_error")
        return document({"error": {"message": words, "type": kind or usual, "code": status}})
    if dialect == "openrouter":
        return document(
            {"error": {"code": status, "message": words, "metadata": {"error_type": kind or "unspecified"}}}
        )
    if dialect == "fal":
        return document({"detail": words, "error_type": kind or "internal_error"})
    if dialect == "replicate":
        return document({"title": kind or "error", "detail": words, "status": status})
    if dialect == "black-forest-labs":
        return document({"detail": words})
    if dialect == "azure":
        return document({"error": {"code": kind or str(status), "message": words}})
    usual = _OPENAI.get(status, "invalid_request_error")
    if dialect == "litellm":
        usual = "budget_exceeded" if status == 422 else usual
        return document({"error": {"message": words, "type": kind or usual, "param": None, "code": str(status)}})
    code = _OPENAI_CODES.get(status)
    return document({"error": {"message": words, "type": kind or usual, "param": None, "code": code}})


def refusal_text(dialect: str) -> str:
    """Return the JSON of a prompt that moderation refused, with status 400."""
    words = "Your request was rejected by the safety system."
    if dialect in ("aigateway", "litellm", "openrouter"):
        return failure_text(dialect, 400, None, f"upstream: moderation_blocked: {words}")
    error: dict[str, Any] = {"message": words, "type": "image_generation_user_error", "param": None}
    return document(
        {"error": error | {"code": "content_policy_violation" if dialect == "azure" else "moderation_blocked"}}
    )


_ROUTED_MODEL = "black-forest-labs/flux-1-schnell"
_EDIT_MODEL = "bria/fibo-edit/edit"
_VENDOR_MODELS = {
    "azure": "gpt-image-2",
    "openai": "gpt-image-2",
    "xai": "grok-imagine-image",
    "generic": "imagen-4.0-generate-001",
}
_BYOK_PERCENT = 5


def model_that_runs(route: Route, dialect: str, asked: ImageRequest) -> str:
    """Return the model behind what the request names: an automatic choice, a deployment, or the model itself."""
    if dialect == "azure" and token_price(asked.model) is None:
        return _VENDOR_MODELS["azure"]
    if asked.model in ("", "auto", "auto/image") or asked.model.startswith("eval:"):
        routed = _EDIT_MODEL if route.operation == "edit" and not asked.model else _ROUTED_MODEL
        return _VENDOR_MODELS.get(dialect, routed)
    return asked.model


def price_of(model: str, images: int, tokens: Tokens | None, behaviour: Behaviour, percent: int) -> int:
    """Return nano-dollars for the images: from the price list, unless the behaviour names an amount."""
    return charge(model, images, tokens, percent) if behaviour.charge_nano is None else behaviour.charge_nano


def succeed(asked: ImageRequest, entry: Entry, behaviour: Behaviour, *, seed: int, host: str) -> tuple[Answer, Entry]:
    """Return the answer that delivers the images, and the line of the billing log with what they are charged."""
    dialect, model = entry.gateway, entry.model
    # OpenRouter takes n as an upper bound and its models make one image.
    usual = 1 if dialect == "openrouter" else asked.images
    images = usual if behaviour.images is None else behaviour.images
    stream = asked.stream and entry.operation in ("generate", "edit")
    quality = asked.quality if asked.quality in ("low", "medium", "high") else "medium"
    tokens = None
    if token_price(model) is not None:
        partial_images = asked.partial_images if stream else 0
        tokens = count_tokens(
            asked.prompt, asked.input_images, images, asked.width, asked.height, quality, partial_images
        )
    percent = behaviour.cached_percent or 100
    price = price_of(model, images, tokens, behaviour, percent)
    charged = price * _BYOK_PERCENT // 1000 * 10 if asked.byok else price
    as_text = stream or _as_text(dialect, asked.response_format, priced_by_token=tokens is not None)
    link = f"{host}/v1/files/{asked.size}/{entry.request_id}"
    links = tuple(f"{link}-{index}.png" for index in range(images))
    work = _Work(
        asked=asked,
        operation=entry.operation,
        model=model,
        images=images,
        charged=charged,
        price=price,
        tokens=tokens if behaviour.usage else None,
        quality=quality,
        request_id=entry.request_id,
        created=int(time.time()) if behaviour.created is None else behaviour.created,
        urls=None if as_text else links,
        routed=model != asked.model and dialect == "aigateway",
    )
    failed = stream and behaviour.stream_error
    if behaviour.charged is False or (failed and behaviour.charged is None):
        charged = 0
    picture = picture_text(asked.width, asked.height, seed, behaviour.image_bytes) if as_text else ()
    done = replace(
        entry, charged_nano=charged, images=0 if failed else images, outcome="error" if failed else "success"
    )
    start = head_start(dialect, entry.request_id)
    headers, body = _DIALECTS[dialect](work)
    if not behaviour.usage:
        body.pop("usage", None)
    if stream:
        start[0] = ("content-type", "text/event-stream; charset=utf-8")
        text = _events(work, body.get("usage"), failed=failed)
    else:
        text = document(body)
    return Answer(200, (*start, *headers), compose(text, picture)), done


def _as_text(dialect: str, response_format: str, *, priced_by_token: bool) -> bool:
    if priced_by_token or dialect == "openrouter":
        return True
    return response_format.startswith("b") or (dialect == "generic" and response_format != "url")


def _events(work: _Work, usage: object, *, failed: bool) -> str:
    name = "image_edit" if work.operation == "edit" else "image_generation"
    common: dict[str, object] = {"created_at": work.created, "b64_json": PICTURE}
    common |= {"background": "opaque", "output_format": "png", "quality": work.quality, "size": work.asked.size}
    events: list[dict[str, object]] = [
        {"type": f"{name}.partial_image", "partial_image_index": index} | common
        for index in range(work.asked.partial_images)
    ]
    if failed:
        error = {"type": "server_error", "code": "server_error", "message": "the image could not be finished"}
        events.append({"type": "error", "error": error})
    else:
        if work.tokens is not None:
            usage = _usage_block(work.tokens)
        last = {"type": f"{name}.completed"} | common | ({} if usage is None else {"usage": usage})
        events += [last] * work.images
    return "".join(f"event: {event['type']}\ndata: {document(event)}\n\n" for event in events)


_BODIES = {
    "html": b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n",
    "empty": b"",
}


def adjust(reply: Answer, behaviour: Behaviour, dialect: str) -> Answer:
    """Return the answer with the headers and the body that the behaviour asks for."""
    changes: dict[str, str | list[str] | None] = {}
    if behaviour.cost_header is not None:
        text = behaviour.cost_header
        changes[_COST_HEADERS.get(dialect, "x-cost-cents")] = None if text is False else text
    if behaviour.body == "html":
        changes["content-type"] = "text/html"
    changes |= {name.lower(): value for name, value in behaviour.headers.items()}
    headers = [(name, value) for name, value in reply.headers if name not in changes]
    for name, value in changes.items():
        headers += [(name, text) for text in ([value] if isinstance(value, str) else value or ())]
    return Answer(reply.status, tuple(headers), _body(reply.body, behaviour))


def _body(body: Body, behaviour: Behaviour) -> Body:
    if behaviour.body_text is not None:
        return plain(behaviour.body_text.encode())
    if behaviour.body is None:
        return body
    if behaviour.body == "truncated":
        whole = b"".join(body.pieces())
        return plain(whole[: len(whole) * 2 // 3])
    return plain(_BODIES[behaviour.body])
