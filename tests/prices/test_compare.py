"""What the comparison with other price lists shows, and what it keeps to itself."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path

import pytest

from scripts.compare_price_book import Price, differences, of_genai_prices, of_litellm, report

DAY = datetime.date(2026, 11, 26)


def price(
    vendor: str,
    model: str,
    key: str,
    usd: str,
    size: str | None = None,
    quality: str | None = None,
    service_tier: str | None = None,
) -> Price:
    return Price(vendor, model, key, size, quality, Decimal(usd), service_tier)


def litellm(folder: Path, models: dict[str, dict[str, object]]) -> list[Price]:
    package = folder / "litellm"
    package.mkdir()
    (package / "model_prices_and_context_window_backup.json").write_text(json.dumps(models), encoding="utf-8")
    return list(of_litellm(folder))


def test_a_price_map_of_litellm_is_read_in_our_units(tmp_path: Path) -> None:
    image = {"mode": "image_generation"}
    found = litellm(
        tmp_path,
        {
            "sample_spec": {"mode": "chat", "litellm_provider": "openai", "output_cost_per_image": 1},
            "gpt-image-2": {
                **image,
                "litellm_provider": "openai",
                "input_cost_per_token": 5e-06,
                "cache_read_input_image_token_cost": 2e-06,
                "output_cost_per_image_token_batches": 1.5e-05,
            },
            "azure/hd/1024-x-1792/dall-e-3": {
                **image,
                "litellm_provider": "azure",
                "input_cost_per_pixel": 7.19343e-08,
            },
            "vertex_ai/imagen-4.0-generate-001": {
                **image,
                "litellm_provider": "vertex_ai",
                "output_cost_per_image": 0.04,
            },
            "xai/grok-imagine-image-2.0": {**image, "litellm_provider": "xai", "output_cost_per_image_2K": 0.06},
            "xai/grok-imagine-image": {**image, "litellm_provider": "xai", "input_cost_per_image": 0.02},
            "fal_ai/fal-ai/flux/dev": {
                **image,
                "litellm_provider": "fal_ai",
                "output_cost_per_pixel": 2.384185791015625e-08,
            },
            "fireworks_ai/m": {**image, "litellm_provider": "fireworks_ai", "output_cost_per_token": 1e-10},
        },
    )

    assert [
        price("openai", "gpt-image-2", "usd_per_1m_input_text_tokens", "5"),
        price("openai", "gpt-image-2", "usd_per_1m_cached_input_image_tokens", "2"),
        price("openai", "gpt-image-2", "usd_per_1m_output_image_tokens", "15", service_tier="batch"),
        price("azure-openai", "dall-e-3", "usd_per_image", "0.132", "1024x1792", "hd"),
        price("vertex-ai", "imagen-4.0-generate-001", "usd_per_image", "0.04"),
        price("xai", "grok-imagine-image-2.0", "usd_per_image", "0.06", "2k"),
        price("xai", "grok-imagine-image", "usd_per_image", "0.02"),
        price("fal", "fal-ai/flux/dev", "usd_per_started_megapixel", "0.025"),
    ] == found
    assert [] == differences(found, DAY).other


def test_genai_prices_are_read_in_our_units(tmp_path: Path) -> None:
    package = tmp_path / "genai_prices"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data.py").write_text(
        "from types import SimpleNamespace as N\n"
        "chat = N(id='gpt-9', prices=N(input_mtok=1))\n"
        "two = N(id='gpt-image-2', prices=N(input_mtok='5', cache_image_read_mtok='2', output_mtok='30'))\n"
        "old = N(prices=N(input_mtok='9'))\n"
        "new = N(prices=N(input_mtok='0.3', output_mtok='2.5', output_image_mtok='30'))\n"
        "flash = N(id='gemini-2.5-flash-image', prices=[old, new])\n"
        "providers = [N(id='openai', models=[chat, two]), N(id='google', models=[flash])]\n",
        encoding="utf-8",
    )

    found = list(of_genai_prices(tmp_path))

    assert [
        price("openai", "gpt-image-2", "usd_per_1m_input_text_tokens", "5"),
        price("openai", "gpt-image-2", "usd_per_1m_cached_input_image_tokens", "2"),
        price("openai", "gpt-image-2", "usd_per_1m_output_image_tokens", "30"),
        price("google", "gemini-2.5-flash-image", "usd_per_1m_input_text_tokens", "0.3"),
        price("google", "gemini-2.5-flash-image", "usd_per_1m_output_text_tokens", "2.5"),
        price("google", "gemini-2.5-flash-image", "usd_per_1m_output_image_tokens", "30"),
    ] == found
    assert [] == differences(found, DAY).other


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (price("openai", "gpt-image-2", "usd_per_1m_input_text_tokens", "4.99"), ["5.00"]),
        (price("openai", "gpt-image-2-2026-04-21", "usd_per_1m_output_image_tokens", "31"), ["30.00"]),
        (price("openai", "gpt-image-2", "usd_per_1m_output_image_tokens", "16", service_tier="batch"), ["15.00"]),
        (price("openai", "gpt-image-2", "usd_per_1m_output_text_tokens", "10"), []),
        (price("xai", "grok-imagine-image-2.0", "usd_per_image", "0.05", "1k", "low"), ["0.04"]),
        (price("xai", "grok-imagine-image-quality-latest", "usd_per_image", "0.05"), ["0.04", "0.06"]),
        (price("fal", "fal-ai/flux/dev", "usd_per_image", "0.026"), ["0.025"]),
    ],
)
def test_another_price_is_shown_beside_ours(theirs: Price, ours: list[str]) -> None:
    assert [(theirs, ours)] == differences([theirs], DAY).other


@pytest.mark.parametrize(
    "theirs",
    [
        price("openai", "gpt-image-2", "usd_per_1m_input_text_tokens", "5"),
        price("openai", "gpt-image-2.5-flare", "usd_per_image", "0.05"),
        price("vertex-ai", "gemini-3-pro-image", "usd_per_1m_output_image_tokens", "60", service_tier="batch"),
        price("fal", "fal-ai/flux/dev", "usd_per_image", "0.025"),
    ],
)
def test_the_same_price_and_what_has_no_place_in_the_book_are_not_shown(theirs: Price) -> None:
    assert [] == differences([theirs], DAY).other


def test_models_of_one_side_alone_are_shown_once() -> None:
    theirs = [
        price("recraft", "recraftv3", "usd_per_image", "0.04"),
        price("recraft", "recraftv9", "usd_per_image", "0.04"),
        price("recraft", "recraftv9", "usd_per_request", "0.04"),
        price("nobody", "m", "usd_per_image", "0.04"),
    ]

    found = differences(theirs, DAY)

    assert [("recraft", "recraftv9"), ("nobody", "m")] == found.absent
    assert ("recraft", "recraftv4_pro") in found.only_ours
    assert {"recraft"} == {vendor for vendor, _ in found.only_ours}
    assert ("recraft", "recraftv3") not in found.only_ours


def test_the_report_says_how_many_of_each() -> None:
    theirs = [price("xai", "grok-imagine-image", "usd_per_image", "0.03"), price("xai", "new", "usd_per_image", "0.03")]

    lines = list(report("somebody 1.0", differences(theirs, DAY)))

    assert "\n== somebody 1.0" == lines[0]
    assert "\nother prices: 1" in lines
    assert "  xai grok-imagine-image usd_per_image: 0.03 there, 0.02 here" in lines
    assert ["\nmodels that the book lacks: 1", "  xai new"] == lines[3:5]
