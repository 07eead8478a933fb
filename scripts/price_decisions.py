"""What image-prices.csv leaves open about the price book, decided, each with its reason: data for make_price_book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | Sequence[str] | Mapping[str, Value]"
"""What TOML can hold, as far as a price book needs it."""

KEYS: Mapping[tuple[str, str], str] = {
    ("image", ""): "usd_per_image",
    ("request", ""): "usd_per_request",
    ("megapixel", ""): "usd_per_started_megapixel",
    ("megapixel", "first_mp"): "usd_per_first_megapixel",
    ("megapixel", "extra_mp"): "usd_per_extra_megapixel",
    ("input_megapixel", ""): "usd_per_input_megapixel",
    ("input_image", ""): "usd_per_input_image",
    ("step", ""): "usd_per_step",
    ("tile_512", ""): "usd_per_tile_512",
    ("tile_512", "per_step"): "usd_per_tile_512_step",
    ("input_tile_512", ""): "usd_per_input_tile_512",
    ("input_tile_512", "per_step"): "usd_per_input_tile_512_step",
    ("1M_tokens_input_text", ""): "usd_per_1m_input_text_tokens",
    ("1M_tokens_input_image", ""): "usd_per_1m_input_image_tokens",
    ("1M_tokens_cached_input_text", ""): "usd_per_1m_cached_input_text_tokens",
    ("1M_tokens_cached_input_image", ""): "usd_per_1m_cached_input_image_tokens",
    ("1M_tokens_output_text", ""): "usd_per_1m_output_text_tokens",
    ("1M_tokens_output_image", ""): "usd_per_1m_output_image_tokens",
}
"""(unit, size) of the CSV to the key of the TOML; the sizes here are part of the unit."""

EXACT_MEGAPIXELS: Mapping[str, str] = {
    "azure-ai": "a rate per pixel",
    "nscale": "a rate per pixel",
    "together": "assumed, not confirmed: width x height / 1,000,000, whatever the steps",
}
"""Vendors that do not round up to whole megapixels of 1024x1024, as fal, Replicate and resellers of FLUX do."""

LEFT_OUT: Mapping[tuple[str, str, str, str], str] = {
    ("aigateway", "black-forest-labs/flux-1-schnell", "image", "0.0004"): (
        "two of the gateway's pages disagree, 0.0008 and 0.0004, both undated; the upstream price of 4 steps at "
        "1024x1024 is 0.000634, so the lower one would be sold at a loss"
    ),
    ("aigateway", "openai/gpt-image-1.5", "*", "*"): (
        "the page gives the text rate as its only output price; images are billed by output image tokens, which cost "
        "three times as much upstream"
    ),
    ("bedrock", "amazon.nova-canvas-v1:0", "image steps<=50", "*"): "the premium price a second time, for any quality",
    (
        "black-forest-labs",
        "flux-2-flex",
        "megapixel",
        "0.06",
    ): "an older copy of the price page; the current one has 0.05",
    ("fal", "fal-ai/flux/schnell", "image", "*"): "the price per megapixel a second time",
    ("fal", "*", "image", "0.0398"): "no price of fal's: where its page is known, the source's 0.0398 is 0.04 there",
    (
        "openrouter",
        "google/*",
        "*",
        "*",
    ): "the source has no rate for output image tokens, so images would be underpriced",
    ("siliconflow-cn", "Kwai-Kolors/Kolors", "image", "0"): (
        "free, by a third party: nobody's word makes a cost of nothing, and the answer does not say it"
    ),
    ("xai", "[*]", "request", "*"): "a fee for violating the usage guidelines, not a price of a request",
}
"""Rows that would price a call wrongly: vendor, model, unit with quality, price (patterns) to the reason."""

REPLACED: Mapping[tuple[str, str, str], tuple[str, str]] = {
    ("black-forest-labs", "flux-2-pro", "image"): ("input_megapixel", "0.015"),
}
"""A sum of two prices to the one of them that has no row: an edit is 0.03 for the output and 0.015 for the input."""

DEFAULTS: Mapping[tuple[str, str], Mapping[str, str | int]] = {
    ("azure-openai", "dall-e-3"): {"default_size": "1024x1024", "default_quality": "standard"},
    ("cloudflare-workers-ai", "@cf/black-forest-labs/flux-1-schnell"): {"default_steps": 4},
    ("cloudflare-workers-ai", "@cf/black-forest-labs/flux-2-dev"): {"default_steps": 25},
    ("cloudflare-workers-ai", "@cf/leonardo/*"): {"default_steps": 25},
    ("fal", "openai/gpt-image-2*"): {"default_size": "1024x768", "default_quality": "high"},
    ("*openai", "gpt-5.[45]"): {"max_input_tokens": 272_000},
    ("*openai", "gpt-5.[45]-pro"): {"max_input_tokens": 272_000},
    ("ideogram", "ideogram-v*"): {"default_quality": "default"},
    ("openai", "dall-e-[23]"): {"default_size": "1024x1024", "default_quality": "standard"},
    ("replicate", "black-forest-labs/flux-2-dev"): {"default_quality": "go_fast"},
    ("together", "openai/gpt-image-1.5"): {"default_size": "1024x1024", "default_quality": "medium"},
}
"""What the vendor takes where the request is silent, as far as a note of the CSV says so; of DALL-E, OpenAI's API
description of 2025 and Azure's reference: size 1024x1024, quality standard. And up to how many input tokens a price
holds, where litellm and genai-prices have another one beyond."""

SIZES: Mapping[tuple[str, str], Sequence[str]] = {
    ("dezgo", "<=1MP"): ["<=1048576px"],
    ("byteplus", "1k"): ["1k", "<=2610000px"],
    ("byteplus", "2k"): ["2k", ">2610000px"],
}
"""Sizes that stand for a number of pixels."""

_PARTIAL: Mapping[str, Value] = {"output_image_tokens_per_partial_image": 100}
_GPT_IMAGE_1: Mapping[str, Value] = {
    "output_image_tokens_per_image_by_size_and_quality": {"1024x1024": {"low": 272, "medium": 1056, "high": 4160}},
    **_PARTIAL,
}
_GUIDE = "OpenAI image generation guide: output tokens by size and quality, 100 for each partial image"
_GEMINI = "Gemini API pricing: output tokens of one image"
TOKENS: Mapping[tuple[str, str], tuple[str, Mapping[str, Value]]] = {
    ("azure-openai", "gpt-image-1"): (_GUIDE, _GPT_IMAGE_1),
    ("databricks", "databricks-gpt-image-1"): (_GUIDE, _GPT_IMAGE_1),
    ("openai", "gpt-image-1"): (_GUIDE, _GPT_IMAGE_1),
    ("openai", "gpt-image-1-mini"): (_GUIDE, _PARTIAL),
    ("openai", "gpt-image-1.5"): (_GUIDE, _PARTIAL),
    ("openai", "gpt-image-2"): (_GUIDE, _PARTIAL),
    ("vertex-ai", "gemini-2.5-flash-image"): (_GEMINI, {"output_image_tokens_per_image": 1290}),
    ("vertex-ai", "gemini-3-pro-image"): (
        _GEMINI,
        {"output_image_tokens_per_image_by_size": {"1K": 1120, "2K": 1120, "4K": 2000}},
    ),
    ("vertex-ai", "gemini-3.1-flash-image"): (
        _GEMINI,
        {"output_image_tokens_per_image_by_size": {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}},
    ),
    ("vertex-ai", "gemini-3.1-flash-lite-image"): (_GEMINI, {"output_image_tokens_per_image_by_size": {"1K": 1120}}),
    ("vertex-ai", "gemini-nano-banana-2.1"): (_GEMINI, {"output_image_tokens_per_image_by_size": {"1K": 1120}}),
}
"""Tokens of an image, to estimate what a call costs before its usage is known."""
TOKENS_CHECKED_ON = "2026-11-22"
