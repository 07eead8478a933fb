"""What the gateway charges: its price list, its billing log, and the documents that tell of both."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pixelmeter.testing.bodies import document, number

__all__ = [
    "PER_IMAGE",
    "PER_TOKEN",
    "PER_UNIT",
    "Billing",
    "Entry",
    "TokenPrice",
    "Tokens",
    "balance_text",
    "cents",
    "charge",
    "charge_units",
    "count_tokens",
    "dollars",
    "models_text",
    "read_log",
    "token_price",
]

PER_IMAGE: dict[str, int] = {
    "black-forest-labs/flux-1-schnell": 800_000,
    "black-forest-labs/flux-2-flex": 60_000_000,
    "black-forest-labs/flux-2-klein-4b": 1_200_000,
    "black-forest-labs/flux-2-klein-9b": 40_000_000,
    "bfl/flux-2-klein-9b": 40_000_000,
    "bria/fibo-edit/edit": 42_000_000,
    "bria/fibo-edit/replace_object_by_text": 40_000_000,
    "bytedance/bytedance-dreamina-v3.1-text-to-image": 30_000_000,
    "bytedance/bytedance-seedream-v5-lite-edit": 35_000_000,
    "bytedance/seedream-4.0": 30_000_000,
    "bytedance/seedream-4.5": 40_000_000,
    "bytedance/stable-diffusion-xl-lightning": 800_000,
    "grok-imagine-image": 20_000_000,
    "ideogram/ideogram-character": 50_000_000,
    "ideogram/ideogram-upscale": 60_000_000,
    "ideogram/ideogram-v2-edit": 80_000_000,
    "meta/sam-3-1-image": 10_000_000,
    "meta/sam-3-image": 5_000_000,
    "recraft/recraft-v3-text-to-image": 40_000_000,
    "recraft/recraft-v4.1-text-to-vector": 80_000_000,
    "runwayml/stable-diffusion-v1-5-inpainting": 800_000,
    "stanford/iclight-v2": 100_000_000,
}
"""Nano-dollars a delivered image, as published on the AIgateway model and comparison pages and by xAI.

No published price exists for `flux-2-flex` (it answers as a job) and for `bria/fibo-edit/edit`: those are invented.
"""

_UNLISTED = 20_000_000
"""Nano-dollars an image of a model in neither list: a gateway may well know models that a price book does not."""


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Nano-dollars a token."""

    input_text: int
    input_image: int
    output_image: int


PER_TOKEN: dict[str, TokenPrice] = {
    "gpt-image-1": TokenPrice(5_000, 10_000, 40_000),
    "gpt-image-1-mini": TokenPrice(2_000, 2_500, 8_000),
    "gpt-image-1.5": TokenPrice(5_000, 8_000, 32_000),
    "gpt-image-2": TokenPrice(5_000, 8_000, 30_000),
    "gpt-image-2.5-flare": TokenPrice(5_000, 8_000, 30_000),
    "gpt-image-2.5-sunburst": TokenPrice(5_000, 8_000, 30_000),
}
"""OpenAI's list prices; "openai/" before the name makes no difference."""

PER_UNIT: dict[str, dict[str, int]] = {
    "fal": {
        "bria/fibo-edit/edit": 40_000_000,
        "fal-ai/flux-pro/v1.1": 40_000_000,
        "fal-ai/flux/dev": 25_000_000,
        "fal-ai/flux/schnell": 3_000_000,
        "fal-ai/nano-banana": 39_000_000,
        "fal-ai/recraft/v3/text-to-image": 40_000_000,
    },
    "replicate": {
        "black-forest-labs/flux-1.1-pro": 40_000_000,
        "black-forest-labs/flux-dev": 25_000_000,
        "black-forest-labs/flux-kontext-pro": 40_000_000,
        "black-forest-labs/flux-schnell": 3_000_000,
    },
    "black-forest-labs": {"flux-dev": 25_000_000, "flux-kontext-pro": 40_000_000, "flux-pro-1.1": 40_000_000},
}
"""Nano-dollars a unit of vendors whose APIs are jobs, as published; a unit is an image or a started megapixel."""

_BY_MEGAPIXEL = ("fal-ai/flux/dev", "fal-ai/flux/schnell")
_MEGAPIXEL = 1024 * 1024

_OUTPUT_TOKENS = {"low": 272, "medium": 1056, "high": 4160}
_INPUT_IMAGE_TOKENS = 323
_PARTIAL_IMAGE_TOKENS = 100


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token-priced answer used."""

    input_text: int
    input_image: int
    output_image: int


def token_price(model: str) -> TokenPrice | None:
    """Return the price of a token-priced model; None for every other."""
    return PER_TOKEN.get(model.removeprefix("openai/"))


def count_tokens(
    prompt: str, input_images: int, images: int, width: int, height: int, quality: str, partial_images: int
) -> Tokens:
    """Return plausible token counts: OpenAI's figures for a 1024x1024 image, in proportion to the pixels elsewhere."""
    per_image = _OUTPUT_TOKENS.get(quality, _OUTPUT_TOKENS["high"]) * width * height // 1024**2
    return Tokens(
        input_text=max(1, len(prompt) // 4),
        input_image=input_images * _INPUT_IMAGE_TOKENS,
        output_image=images * per_image + partial_images * _PARTIAL_IMAGE_TOKENS,
    )


def charge(model: str, images: int, tokens: Tokens | None, percent: int = 100) -> int:
    """Return nano-dollars for the images delivered, cut to tens: the smallest amount six decimals of a cent can say."""
    price = token_price(model)
    if price is None or tokens is None:
        amount = images * PER_IMAGE.get(model, _UNLISTED)
    else:
        amount = (
            tokens.input_text * price.input_text
            + tokens.input_image * price.input_image
            + tokens.output_image * price.output_image
        )
    return amount * percent // 1000 * 10


def charge_units(vendor: str, model: str, images: int, width: int, height: int, nano: int | None) -> tuple[int, str]:
    """Return nano-dollars for images of a vendor (PER_UNIT), and how many units that is; `nano` replaces it."""
    price = PER_UNIT[vendor].get(model, _UNLISTED)
    each = -(-width * height // _MEGAPIXEL) if model in _BY_MEGAPIXEL else 1
    amount = images * each * price if nano is None else nano
    return amount, _decimal(amount * 10**6 // price, 6)


def cents(nano: int) -> str:
    """Return nano-dollars as decimal text in cents: 42_000_000 is "4.2"."""
    return _decimal(nano, 7)


def dollars(nano: int) -> str:
    """Return nano-dollars as decimal text in dollars: 42_000_000 is "0.042"."""
    return _decimal(nano, 9)


def _decimal(nano: int, places: int) -> str:
    whole, part = divmod(nano, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")


_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attempt as the gateway sees it; a line of the log has these fields and `sequence`."""

    request_id: str
    received_at: int
    """Unix time in microseconds when the head of the request had come."""
    method: str
    """"" for a job that ended without being asked for."""
    path: str
    gateway: str
    operation: str
    """generate, edit, variation, chat_image; job for the end of one that is charged then."""
    model: str
    """The model that ran, or would have."""
    images: int
    """Images in the answer."""
    input_images: int
    status: int | None
    """None when no answer is intended."""
    charged_nano: int
    outcome: str
    """What the gateway intends: success, error, throttled, rejected, refused, pending, redirected, challenged, cut, or
    incomplete when the request never came whole."""
    tag: str | None
    retry_count: int
    test_id: str | None
    job: str | None = None
    """The id of the job that the attempt submitted, or that ended."""
    submit: str | None = None
    """The request id of the attempt that submitted that job. Of all lines with it, one at most is charged."""
    account: str | None = None
    """The sub-account of a key such as `sk-aig-sub-NAME`."""


class Billing:
    """Appends entries to a file, one JSON line and one system call each."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.entries: deque[Entry] = deque(maxlen=_KEPT)
        """The latest."""
        self.count = 0
        """How many were written since the start or the last clearing."""
        self.charged_nano = 0
        """What those add up to."""
        self._sequence = 0
        self._since = 0

    def write(self, entry: Entry) -> None:
        """Append an entry; raise OSError when the file does not take it whole.

        A request that came before the log was emptied is none of what follows.
        """
        if entry.received_at < self._since:
            return
        self._sequence += 1
        line = json.dumps({"sequence": self._sequence, **asdict(entry)}).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError("the billing log did not take a whole line: is the disk full?")
        self.entries.append(entry)
        self.count += 1
        self.charged_nano += entry.charged_nano

    def clear(self) -> None:
        """Empty the file; sequence numbers go on."""
        self._since = time.time_ns() // 1000
        os.ftruncate(self._descriptor, 0)
        self.entries.clear()
        self.count = self.charged_nano = 0


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a billing log, oldest first."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def models_text() -> str:
    """Return the JSON of /v1/models, with the prices."""
    entries = [_model(name, {"unit": "image", "usd": dollars(price)}) for name, price in PER_IMAGE.items()]
    for name, price in PER_TOKEN.items():
        units = {"input_text": price.input_text, "input_image": price.input_image, "output_image": price.output_image}
        per_million = {unit: dollars(nano * 1_000_000) for unit, nano in units.items()}
        entries.append(_model(name, {"unit": "1M tokens", "usd": per_million}))
    return document({"object": "list", "data": entries})


def _model(name: str, pricing: dict[str, object]) -> dict[str, object]:
    owner = name.partition("/")[0] if "/" in name else "stand-in"
    return {"id": name, "object": "model", "owned_by": owner, "modality": "image", "pricing": pricing}


def balance_text(billing: Billing) -> str:
    """Return the JSON of /v1/balance: a wallet of 1000 dollars, less what the log holds."""
    return document(
        {"object": "balance", "currency": "usd", "balance_cents": number(cents(10**12 - billing.charged_nano))}
    )
