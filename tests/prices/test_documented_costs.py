"""What a call used, times the book, is what its vendor or somebody who was billed says it cost."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from pixelmeter.core.pricing.book import Consumption, Quote, Reason
from pixelmeter.prices import bundled

_NANO = 1_000_000_000


def _at(day: str) -> int:
    return int(datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000


def _quote(vendor: str, model: str, day: str, used: dict[str, Any]) -> Quote:
    return bundled().quote(Consumption(**used), gateway=vendor, model=model, at=_at(day))


def tokens(
    text: int = 0, image: int = 0, output: int = 0, output_text: int | None = None, **more: int | str
) -> dict[str, Any]:
    return {
        "images": 1,
        "input_text_tokens": text,
        "input_image_tokens": image,
        "output_image_tokens": output,
        "output_text_tokens": output_text,
        **more,
    }


_SPEC = "example of the OpenAI API specification, at the prices of its price page"
_LITELLM = "BerriAI/litellm, tests of the cost of gpt-image models"
_PAGE = "usage of a public example, at the prices of the OpenAI price page"
_DATED = "a snapshot's name, as OpenAI's model pages list it"
_AZURE = "Microsoft's example of an answer, at the prices of Azure OpenAI"
_XAI = "docs.x.ai, prices of the Imagine API"
_GEMINI = "ai.google.dev, pricing of the Gemini API"
_RECRAFT = "recraft.ai, API reference, pricing"
_DEEPINFRA = "deepinfra.com, model page"


@pytest.mark.parametrize(
    ("vendor", "model", "day", "used", "usd", "source"),
    [
        ("openai", "gpt-image-1.5", "2026-08-21", tokens(10, 40, 50), "0.00197", _SPEC),
        ("openai", "gpt-image-1", "2026-03-01", tokens(100, 500, 5000), "0.2055", _LITELLM),
        ("openai", "gpt-image-1.5", "2026-03-01", tokens(169, 0, 4160, 439), "0.138355", _LITELLM),
        (
            "openai",
            "gpt-image-2.5-flare",
            "2026-10-01",
            tokens(100, 1000, 100, cached_text_tokens=50, cached_image_tokens=500),
            "0.0083125",
            _LITELLM,
        ),
        ("openai", "gpt-image-2.5-sunburst", "2026-10-01", tokens(100, 1000, 100), "0.0115", _LITELLM),
        ("openai", "gpt-image-2.6-flare", "2026-11-26", tokens(100, 1000, 100), "0.0115", _LITELLM),
        (
            "openai",
            "gpt-image-2.6-sunburst",
            "2026-11-26",
            tokens(100, 1000, 100, cached_text_tokens=50, cached_image_tokens=500),
            "0.0083125",
            _LITELLM,
        ),
        ("openai", "gpt-image-2", "2026-07-31", tokens(13, 0, 196), "0.005945", _PAGE),
        ("openai", "gpt-image-2", "2026-09-30", tokens(10, 0, 4160), "0.12485", _PAGE),
        ("openai", "gpt-image-2", "2026-07-01", tokens(450, 0, 1056), "0.03393", _PAGE),
        ("openai", "gpt-image-2", "2026-04-30", tokens(22, 0, 1372), "0.04127", _PAGE),
        ("openai", "gpt-image-1", "2026-03-01", tokens(20, 6, 1056), "0.0424", _PAGE),
        ("openai", "gpt-image-1", "2026-06-29", tokens(9, 0, 272), "0.010925", "the sum that a public issue states"),
        ("openai", "gpt-image-1-2025-04-15", "2026-06-29", tokens(9, 0, 272), "0.010925", _DATED),
        ("openai", "gpt-image-1-mini-2025-10-06", "2026-06-29", tokens(9, 0, 272), "0.002194", _DATED),
        ("openai", "gpt-image-1", "2026-11-26", tokens(9, 0, 272), "0.010925", "the last price, after its shutdown"),
        (
            "openai",
            "dall-e-3",
            "2026-03-01",
            {"images": 1, "size": "1024x1792", "quality": "hd"},
            "0.12",
            "OpenAI image guide",
        ),
        ("openai", "dall-e-2", "2026-03-01", {"images": 2, "size": "1024x1024"}, "0.04", "OpenAI image guide"),
        ("openai", "dall-e-3", "2026-03-01", {"images": 1}, "0.04", "OpenAI image guide"),
        ("openai", "dall-e-2", "2026-03-01", {"images": 1}, "0.02", "OpenAI image guide"),
        ("azure-openai", "gpt-image-1", "2026-06-01", tokens(123, 0, 1056), "0.042855", _AZURE),
        ("azure-openai", "gpt-image-1-2025-04-15", "2026-06-01", tokens(123, 0, 1056), "0.042855", _AZURE),
        ("azure-openai", "gpt-image-2", "2026-11-20", tokens(123, 0, 1056), "0.032295", _AZURE),
        ("azure-ai", "FLUX-1.1-pro", "2026-06-01", {"images": 1, "size": "1024x1024"}, "0.04", "litellm 1.110.2"),
        ("aigateway", "meta/sam-3-1-image", "2026-11-20", {"images": 1}, "0.01", "the model's page at AIgateway"),
        ("xai", "grok-imagine-image", "2026-08-06", {"images": 1}, "0.02", _XAI),
        ("xai", "grok-imagine-image", "2026-08-06", {"images": 1, "input_images": 1}, "0.022", _XAI),
        ("xai", "grok-imagine-image-2.0", "2026-11-20", {"images": 2, "size": "1k", "quality": "low"}, "0.08", _XAI),
        ("xai", "grok-imagine-image-2.0", "2026-11-20", {"images": 1, "size": "2k", "quality": "low"}, "0.06", _XAI),
        ("xai", "grok-imagine-image-2.0", "2026-11-20", {"images": 1, "size": "1k", "quality": "medium"}, "0.06", _XAI),
        ("xai", "grok-imagine-image-2.0", "2026-11-20", {"images": 1, "size": "2k", "quality": "medium"}, "0.08", _XAI),
        (
            "xai",
            "grok-imagine-image-2.0",
            "2026-11-20",
            {"images": 1, "size": "1024x1024", "quality": "low", "input_images": 2},
            "0.06",
            _XAI,
        ),
        ("xai", "grok-imagine-image-quality", "2026-11-01", {"images": 1, "size": "2k"}, "0.07", _XAI),
        ("xai", "grok-imagine-image-quality", "2026-11-02", {"images": 1, "size": "2k"}, "0.06", _XAI),
        ("xai", "grok-imagine-image-quality-latest", "2026-11-02", {"images": 1, "size": "1k"}, "0.04", _XAI),
        (
            "together",
            "black-forest-labs/FLUX.1-schnell",
            "2026-08-21",
            {"images": 1, "size": "1024x768", "steps": 4},
            "0.002123366",
            "HeyPuter/puter, 0.0027 for a megapixel",
        ),
        ("together", "black-forest-labs/FLUX.2-pro", "2026-08-21", {"images": 1}, "0.03", "HeyPuter/puter"),
        ("together", "openai/gpt-image-1.5", "2026-08-21", {"images": 1}, "0.034", "HeyPuter/puter"),
        ("google", "gemini-2.5-flash-image", "2026-11-01", tokens(6, 0, 1290), "0.0387018", _GEMINI),
        ("google", "gemini-2.5-flash-image", "2026-05-01", tokens(6, 1290, 1290), "0.0390888", _GEMINI),
        ("google", "gemini-3-pro-image", "2025-12-03", tokens(10, 0, 1120, 225), "0.13712", _GEMINI),
        ("google", "gemini-3-pro-image", "2026-11-01", tokens(10, 560, 1120), "0.13554", _GEMINI),
        ("google", "gemini-3.1-flash-image", "2026-06-01", tokens(10, 1120, 1120), "0.067765", _GEMINI),
        ("google", "gemini-3.1-flash-lite-image", "2026-11-01", tokens(10, 1120, 1120), "0.0338825", _GEMINI),
        ("google", "gemini-nano-banana-2.1", "2026-11-01", tokens(10, 1120, 1120, 50), "0.03567", _GEMINI),
        ("google", "imagen-4.0-generate-001", "2026-06-01", {"images": 4}, "0.16", _GEMINI),
        (
            "vertex-ai",
            "gemini-nano-banana-2.1",
            "2026-11-26",
            tokens(10, 1120, 1120, 50, cached_text_tokens=10, cached_image_tokens=1120),
            "0.0341445",
            "litellm 1.110.2, prices of Vertex AI",
        ),
        (
            "vertex-ai",
            "gemini-3-pro-image",
            "2026-11-26",
            tokens(100, 560, 1120, cached_image_tokens=560),
            "0.134712",
            "litellm 1.110.2, prices of Vertex AI",
        ),
        (
            "black-forest-labs",
            "flux-2-pro",
            "2026-08-01",
            {"images": 1, "size": "1024x1024"},
            "0.03",
            "bfl.ai: 3 credits",
        ),
        ("fal", "fal-ai/flux/schnell", "2026-09-23", {"images": 1, "size": "768x1024"}, "0.003", "fal.ai model page"),
        ("replicate", "black-forest-labs/flux-schnell", "2026-08-21", {"images": 1}, "0.003", "replicate.com/pricing"),
        ("recraft", "recraftv3", "2026-11-01", {"images": 1}, "0.04", f"{_RECRAFT}: 40 units"),
        ("recraft", "recraftv4_pro", "2026-11-01", {"images": 1}, "0.25", f"{_RECRAFT}: 250 units"),
        ("recraft", "recraftv4_pro_vector", "2026-11-01", {"images": 1}, "0.30", f"{_RECRAFT}: 300 units"),
        (
            "ideogram",
            "ideogram-v3",
            "2026-08-01",
            {"images": 1, "quality": "DEFAULT"},
            "0.06",
            "ideogram.ai/api-pricing",
        ),
        ("deepinfra", "black-forest-labs/FLUX-1.1-pro", "2026-02-01", {"images": 1}, "0.04", _DEEPINFRA),
        ("deepinfra", "black-forest-labs/FLUX-2-max", "2026-02-01", {"images": 1}, "0.07", _DEEPINFRA),
        (
            "deepinfra",
            "black-forest-labs/FLUX-1-schnell",
            "2026-02-01",
            {"images": 1, "size": "1024x1024", "steps": 4},
            "0.002",
            _DEEPINFRA,
        ),
        (
            "fireworks",
            "accounts/fireworks/models/flux-1-schnell-fp8",
            "2026-08-01",
            {"images": 1, "steps": 4},
            "0.0014",
            "fireworks.ai/pricing",
        ),
        ("fireworks", "flux-1-schnell-fp8", "2026-08-01", {"images": 1, "steps": 4}, "0.0014", "fireworks.ai/pricing"),
        ("ideogram", "V_2", "2026-08-01", {"images": 2}, "0.16", "ideogram.ai/api-pricing, its older API"),
        ("ideogram", "V_2A_TURBO", "2026-08-01", {"images": 1}, "0.025", "ideogram.ai/api-pricing, its older API"),
        ("stability", "core", "2026-08-01", {"images": 1}, "0.03", "platform.stability.ai/pricing: 3 credits"),
        (
            "vertex-ai",
            "gemini-3.1-flash-image",
            "2026-11-27",
            tokens(10, 0, 1120, 100, service_tier="PRIORITY"),
            "0.121509",
            "litellm 1.110.2: 0.90, 108 and 5.40",
        ),
        (
            "byteplus",
            "dola-seedream-5-0-pro-260628",
            "2026-10-08",
            {"images": 1, "size": "2048x2048"},
            "0.09",
            "BytePlus ModelArk price list: above 2.61 megapixels",
        ),
        (
            "byteplus",
            "seedream-5-0-260128",
            "2026-10-08",
            {"images": 3, "size": "2496x1664"},
            "0.105",
            "BytePlus ModelArk price list: billed as its lite name",
        ),
    ],
)
def test_a_call_costs_what_is_documented(
    vendor: str, model: str, day: str, used: dict[str, Any], usd: str, source: str
) -> None:
    found = _quote(vendor, model, day, used)

    cost = found.image_cost if found.token_cost is None else found.token_cost
    assert (int(Decimal(usd) * _NANO), None) == (cost, found.reason), source


@pytest.mark.parametrize(
    ("vendor", "model", "used", "reason"),
    [
        (
            "black-forest-labs",
            "flux-2-klein-4b",
            {"images": 1, "size": "1024x1024", "input_images": 1},
            "unknown_input_size",
        ),
        (
            "black-forest-labs",
            "flux-2-max",
            {"images": 1, "size": "1024x1024", "input_images": 1},
            "unknown_input_size",
        ),
        (
            "black-forest-labs",
            "flux-2-flex",
            {"images": 1, "size": "1024x1024", "input_images": 1},
            "unknown_input_size",
        ),
        ("together", "openai/gpt-image-1.5", {"images": 1, "quality": "high"}, "unknown_quality"),
        ("together", "openai/gpt-image-1.5", {"images": 1, "size": "1536x1024"}, "unknown_size"),
        ("xai", "grok-imagine-image-2.0", {"images": 1, "size": "1k"}, "unknown_quality"),
        ("deepinfra", "black-forest-labs/FLUX-1-dev", {"images": 1, "size": "512x512", "steps": 25}, "unknown_size"),
        ("siliconflow-cn", "Qwen/Qwen-Image", {"images": 1}, "foreign_currency"),
        ("siliconflow-cn", "Kwai-Kolors/Kolors", {"images": 1}, "no_price"),
        ("volcengine", "doubao-seedream-5-0-lite-260128", {"images": 1}, "foreign_currency"),
    ],
)
def test_what_no_source_tells_is_unknown(vendor: str, model: str, used: dict[str, Any], reason: Reason) -> None:
    found = _quote(vendor, model, "2026-11-26", used)

    assert (None, None, reason) == (found.image_cost, found.token_cost, found.reason)
