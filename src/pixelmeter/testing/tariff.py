"""What the stand-in gateway charges: a small price list of its own, in integer nano-dollars (1e-9 USD)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "PER_IMAGE",
    "PER_TOKEN",
    "TokenPrice",
    "Tokens",
    "cents",
    "charge",
    "count_tokens",
    "dollars",
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

UNLISTED = 20_000_000
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
        amount = images * PER_IMAGE.get(model, UNLISTED)
    else:
        amount = (
            tokens.input_text * price.input_text
            + tokens.input_image * price.input_image
            + tokens.output_image * price.output_image
        )
    return amount * percent // 1000 * 10


def cents(nano: int) -> str:
    """Return nano-dollars as decimal text in cents: 42_000_000 is "4.2"."""
    return _decimal(nano, 7)


def dollars(nano: int) -> str:
    """Return nano-dollars as decimal text in dollars: 42_000_000 is "0.042"."""
    return _decimal(nano, 9)


def _decimal(nano: int, places: int) -> str:
    whole, part = divmod(nano, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")
