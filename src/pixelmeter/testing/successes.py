"""Images delivered: which model ran, what that costs, and the answer in the words of the gateway."""

from __future__ import annotations

import time
from dataclasses import replace

from pixelmeter.testing.asks import Ask, Route
from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Entry
from pixelmeter.testing.body import PICTURE, Answer, compose, document
from pixelmeter.testing.dialects import DIALECTS, Work, head_start, usage_block
from pixelmeter.testing.images import picture_text
from pixelmeter.testing.tariff import Tokens, charge, count_tokens, token_price

__all__ = ["model_that_runs", "price_of", "succeed"]

_ROUTED_MODEL = "black-forest-labs/flux-1-schnell"
_EDIT_MODEL = "bria/fibo-edit/edit"
_VENDOR_MODELS = {
    "azure": "gpt-image-2",
    "openai": "gpt-image-2",
    "xai": "grok-imagine-image",
    "generic": "imagen-4.0-generate-001",
}
_BYOK_PERCENT = 5


def model_that_runs(route: Route, dialect: str, ask: Ask) -> str:
    """Return the model behind what the request names: an automatic choice, a deployment, or the model itself."""
    if dialect == "azure" and token_price(ask.model) is None:
        return _VENDOR_MODELS["azure"]
    if ask.model in ("", "auto", "auto/image") or ask.model.startswith("eval:"):
        routed = _EDIT_MODEL if route.operation == "edit" and not ask.model else _ROUTED_MODEL
        return _VENDOR_MODELS.get(dialect, routed)
    return ask.model


def price_of(model: str, images: int, tokens: Tokens | None, behaviour: Behaviour, percent: int) -> int:
    """Return nano-dollars for the images: from the price list, unless the behaviour names an amount."""
    return charge(model, images, tokens, percent) if behaviour.charge_nano is None else behaviour.charge_nano


def succeed(ask: Ask, entry: Entry, behaviour: Behaviour, *, seed: int, host: str) -> tuple[Answer, Entry]:
    """Return the answer that delivers the images, and the line of the billing log with what they are charged."""
    dialect, model = entry.gateway, entry.model
    # OpenRouter takes n as an upper bound and its models make one image.
    usual = 1 if dialect == "openrouter" else ask.images
    images = usual if behaviour.images is None else behaviour.images
    stream = ask.stream and entry.operation in ("generate", "edit")
    quality = ask.quality if ask.quality in ("low", "medium", "high") else "medium"
    tokens = None
    if token_price(model) is not None:
        partial_images = ask.partial_images if stream else 0
        tokens = count_tokens(ask.prompt, ask.input_images, images, ask.width, ask.height, quality, partial_images)
    percent = behaviour.cached_percent or 100
    price = price_of(model, images, tokens, behaviour, percent)
    charged = price * _BYOK_PERCENT // 1000 * 10 if ask.byok else price
    as_text = stream or _as_text(dialect, ask.response_format, priced_by_token=tokens is not None)
    link = f"{host}/v1/files/{ask.size}/{entry.request_id}"
    links = tuple(f"{link}-{index}.png" for index in range(images))
    work = Work(
        ask=ask,
        operation=entry.operation,
        model=model,
        images=images,
        charged=charged,
        price=price,
        tokens=tokens if behaviour.usage else None,
        quality=quality,
        request_id=entry.request_id,
        created=int(time.time()),
        urls=None if as_text else links,
        routed=model != ask.model and dialect == "aigateway",
    )
    failed = stream and behaviour.stream_error
    if behaviour.charged is False or (failed and behaviour.charged is None):
        charged = 0
    picture = picture_text(ask.width, ask.height, seed, behaviour.image_bytes) if as_text else ()
    done = replace(
        entry, charged_nano=charged, images=0 if failed else images, outcome="error" if failed else "success"
    )
    start = head_start(dialect, entry.request_id)
    headers, body = DIALECTS[dialect](work)
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


def _events(work: Work, usage: object, *, failed: bool) -> str:
    name = "image_edit" if work.operation == "edit" else "image_generation"
    common: dict[str, object] = {"created_at": work.created, "b64_json": PICTURE}
    common |= {"background": "opaque", "output_format": "png", "quality": work.quality, "size": work.ask.size}
    events: list[dict[str, object]] = [
        {"type": f"{name}.partial_image", "partial_image_index": index} | common
        for index in range(work.ask.partial_images)
    ]
    if failed:
        error = {"type": "server_error", "code": "server_error", "message": "the image could not be finished"}
        events.append({"type": "error", "error": error})
    else:
        if work.tokens is not None:
            usage = usage_block(work.tokens)
        last = {"type": f"{name}.completed"} | common | ({} if usage is None else {"usage": usage})
        events += [last] * work.images
    return "".join(f"event: {event['type']}\ndata: {document(event)}\n\n" for event in events)
