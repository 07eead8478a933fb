"""Compare the price book with what litellm and genai-prices say, and list the differences, by hand.

    python -m scripts.compare_price_book                      # installs their newest versions into a temporary folder
    python -m scripts.compare_price_book --packages FOLDER    # where they are installed already

Neither is right because it differs: litellm's rows for edits at Stability are ten times too low, and its prices per
image of models that bill tokens are rounded. A difference is a reason to look for the vendor's own page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, cast

from pixelmeter.core.pricing.tariff import Entry, Rate
from pixelmeter.prices import bundled, bundled_names

_VENDORS = {
    "aiml": "aimlapi",
    "azure": "azure-openai",
    "azure_ai": "azure-ai",
    "black_forest_labs": "black-forest-labs",
    "fal_ai": "fal",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "together_ai": "together",
    "vertex_ai": "vertex-ai",
    "vertex_ai-image-models": "vertex-ai",
    "vertex_ai-language-models": "vertex-ai",
}
"""Their names of vendors where ours is another."""

_MILLION = 1_000_000
_LITELLM: Mapping[str, tuple[str, int]] = {
    "output_cost_per_image": ("usd_per_image", 1),
    "input_cost_per_pixel": ("usd_per_megapixel", _MILLION),
    "output_cost_per_pixel": ("usd_per_megapixel", _MILLION),
    "input_cost_per_token": ("usd_per_1m_input_text_tokens", _MILLION),
    "input_cost_per_image_token": ("usd_per_1m_input_image_tokens", _MILLION),
    "cache_read_input_token_cost": ("usd_per_1m_cached_input_text_tokens", _MILLION),
    "cache_read_input_image_token_cost": ("usd_per_1m_cached_input_image_tokens", _MILLION),
    "output_cost_per_token": ("usd_per_1m_output_text_tokens", _MILLION),
    "output_cost_per_image_token": ("usd_per_1m_output_image_tokens", _MILLION),
}
"""A field of litellm's price map to a key of ours, and for how many it is."""
_MODES = ("image_generation", "image_edit", "image_variation")
_WRONG = {("fireworks_ai", "input_cost_per_token"), ("fireworks_ai", "output_cost_per_token")}
"""Fields of litellm that hold something else: at Fireworks, a price per step."""
_PER_IMAGE = ("openai", "xai")
"""Who has the price of an image they make under `input_cost_per_image`; elsewhere it is that of an image they get."""

_GENAI: Mapping[str, str] = {
    "input_mtok": "usd_per_1m_input_text_tokens",
    "input_image_mtok": "usd_per_1m_input_image_tokens",
    "cache_read_mtok": "usd_per_1m_cached_input_text_tokens",
    "cache_image_read_mtok": "usd_per_1m_cached_input_image_tokens",
    "output_mtok": "usd_per_1m_output_text_tokens",
    "output_image_mtok": "usd_per_1m_output_image_tokens",
}
_TEXT_MODELS = r"(azure/)?(gpt-(4o|4\.1|5(\.[1245])?)(-mini|-nano|-pro)?|o3|o4-mini)(-20\d\d-\d\d-\d\d)?"
"""Models beside which an image tool works; of others that make no images there is nothing in the book."""
_GENAI_MODELS = re.compile(rf".*(image|banana|imagen|dall-e).*|{_TEXT_MODELS}")
_AREAS = ("usd_per_megapixel", "usd_per_started_megapixel", "usd_per_first_megapixel", "usd_per_step")
"""Units in which we have what they have flat for an image."""

_DUMP = """
import json, sys
from genai_prices.data import providers
fields = sys.argv[1:]
for provider in providers:
    for model in provider.models:
        prices = model.prices if not isinstance(model.prices, list) else model.prices[-1].prices
        every = {field: getattr(prices, field, None) for field in fields}
        # A price that depends on the number of tokens begins with that of a few.
        found = {field: str(getattr(usd, "base", usd)) for field, usd in every.items() if usd is not None}
        print(json.dumps([provider.id, model.id, found]))
"""


class Price(NamedTuple):
    """One price of somebody else, or of ours."""

    vendor: str
    model: str
    key: str
    size: str | None
    quality: str | None
    usd: Decimal
    service_tier: str | None = None

    def __str__(self) -> str:
        words = (self.vendor, self.model, self.key, self.size, self.quality, self.service_tier)
        return " ".join(word for word in words if word)


def of_litellm(folder: Path) -> Iterator[Price]:
    """Yield the prices of images in litellm's price map."""
    file = folder / "litellm" / "model_prices_and_context_window_backup.json"
    models = cast("dict[str, dict[str, object]]", json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal))
    for name, fields in models.items():
        if fields.get("mode") in _MODES or re.fullmatch(_TEXT_MODELS, name):
            yield from _litellm_model(name, fields)


def _litellm_model(name: str, fields: Mapping[str, object]) -> Iterator[Price]:
    provider = str(fields["litellm_provider"])
    vendor = _VENDORS.get(provider, provider)
    model, size, quality = _parts(name.removeprefix(f"{provider}/").removeprefix("vertex_ai/"), provider)
    for field, value in fields.items():
        plain, _, tier = field.partition("_batches")
        if plain == "input_cost_per_image" and provider in _PER_IMAGE:
            plain = "output_cost_per_image"
        found = re.fullmatch(r"output_cost_per_image_([\d.]+K?)", plain)
        key, per = ("usd_per_image", 1) if found else _LITELLM.get(plain, ("", 0))
        if not key or tier or (provider, plain) in _WRONG or not isinstance(value, Decimal | int) or not value:
            continue
        usd = Decimal(value) * per
        if key == "usd_per_megapixel" and provider == "fal_ai":
            # A price of a megapixel of 1024 x 1024, divided by its pixels.
            key, usd = "usd_per_started_megapixel", round(Decimal(value) * 1024 * 1024, 6)
        elif key == "usd_per_megapixel" and size:
            # A price of one image, divided by its pixels.
            width, height = size.split("x")
            key, usd = "usd_per_image", round(usd * int(width) * int(height) / _MILLION, 6)
        batch = "batch" if field.endswith("_batches") else None
        yield Price(vendor, model, key, found[1].lower() if found else size, quality, usd, batch)


def _parts(name: str, provider: str) -> tuple[str, str | None, str | None]:
    """Return the model of a name such as `hd/1024-x-1792/dall-e-3`, and the size and quality in front of it."""
    size = quality = None
    words = name.split("/")
    while len(words) > 1:
        if found := re.fullmatch(r"(\d+)-x-(\d+)", words[0]):
            size = f"{found[1]}x{found[2]}"
        elif words[0] in ("low", "medium", "high", "xhigh", "max", "standard", "hd", "premium") or "-steps" in words[0]:
            quality = words[0]
        elif words[0] not in (provider, "max-x-max"):
            break
        words = words[1:]
    return "/".join(words), size, quality


def of_genai_prices(folder: Path) -> Iterator[Price]:
    """Yield the prices of models with images in genai-prices."""
    printed = subprocess.run(
        [sys.executable, "-c", _DUMP, *_GENAI],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in printed.splitlines():
        provider, model, fields = json.loads(line)
        vendor = _VENDORS.get(provider, provider)
        if not _GENAI_MODELS.fullmatch(model) or "embedding" in model:
            continue
        for field, usd in fields.items():
            key = _GENAI[field]
            # Where there is one rate for what a model of images puts out, it is that of images.
            if field == "output_mtok" and "output_image_mtok" not in fields and model.startswith("gpt-image"):
                key = "usd_per_1m_output_image_tokens"
            yield Price(vendor, model, key, None, None, Decimal(usd))


class Differences(NamedTuple):
    """What two price books say differently."""

    other: list[tuple[Price, Sequence[str]]]
    """Their price, and what we have in its place; nothing where we have no such price."""
    absent: list[tuple[str, str]]
    """Vendor and model that they have and we lack."""
    only_ours: list[tuple[str, str]]
    """Vendor and model that we have, of vendors that they have too."""


def differences(theirs: Iterable[Price], day: datetime.date) -> Differences:
    """Compare their prices with those of the bundled book on a day."""
    result = Differences([], [], [])
    known = bundled_names()
    ours = {name: bundled().entries(name) for name in known}
    seen: dict[str, set[str]] = {}
    for price in theirs:
        if price.vendor not in known:
            result.absent.append((price.vendor, price.model))
            continue
        seen.setdefault(price.vendor, set()).add(price.model)
        names = {entry.model for entry in ours[price.vendor] if price.model in (entry.model, *entry.aliases)}
        entries = [entry for entry in ours[price.vendor] if entry.model in names and entry.holds_on(day)]
        if not entries:
            result.absent.append((price.vendor, price.model))
        elif (found := _ours(entries, price)) is not None:
            result.other.append((price, found))
    for vendor, models in seen.items():
        for entry in ours[vendor]:
            if models.isdisjoint((entry.model, *entry.aliases)):
                result.only_ours.append((vendor, entry.model))
    return Differences(result.other, list(dict.fromkeys(result.absent)), sorted(dict.fromkeys(result.only_ours)))


def _ours(entries: Sequence[Entry], price: Price) -> Sequence[str] | None:
    """Return what we have in place of a price, or None where it is the same or has no place in the book."""
    keys = (price.key, *_AREAS) if price.key == "usd_per_image" else (price.key,)
    rates = [(entry, rate) for key in keys for entry in entries for rate in entry.rates.get(key, ())]
    tokens = any(key.startswith("usd_per_1m_") for entry in entries for key in entry.rates)
    if not rates and (price.service_tier or (price.key == "usd_per_image" and tokens)):
        # The book has few service tiers, and of tokens a price per image is a rounded sum.
        return None
    exact = [rate for entry, rate in rates if _fits(entry, rate, price)]
    candidates = exact or [rate for entry, rate in rates if price.service_tier == entry.service_tier]
    if price.service_tier and not candidates:
        return None
    if any(_same(rate, price) for rate in candidates):
        return None
    return sorted({rate.text for rate in candidates}, key=Decimal)


def _same(rate: Rate, price: Price) -> bool:
    return abs(Decimal(rate.text) - price.usd) < Decimal("0.0000005")


def _fits(entry: Entry, rate: Rate, price: Price) -> bool:
    ours = (rate.size, rate.quality or entry.quality, entry.service_tier)
    return ours == (price.size, price.quality, price.service_tier)


def _lines(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield f"\n{title}: {len(lines)}"
    yield from (f"  {line}" for line in lines)


def report(name: str, found: Differences) -> Iterator[str]:
    """Yield the lines to read."""
    yield f"\n== {name}"
    other = [
        f"{price}: {price.usd.normalize():f} there, {' | '.join(ours) or 'none'} here" for price, ours in found.other
    ]
    yield from _lines("other prices", other)
    yield from _lines("models that the book lacks", [f"{vendor} {model}" for vendor, model in found.absent])
    yield from _lines("models that only the book has", [f"{vendor} {model}" for vendor, model in found.only_ours])


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    # Of litellm, one file of data is read.
    subprocess.run([*pip, "--no-deps", "litellm"], check=True)
    subprocess.run([*pip, "genai-prices"], check=True)


def _version(folder: Path, package: str) -> str:
    found = sorted(folder.glob(f"{package}-*.dist-info"))
    return found[-1].name.removesuffix(".dist-info").replace("-", " ") if found else package


def main() -> None:
    """Print the differences."""
    parser = argparse.ArgumentParser(description="List where litellm and genai-prices differ from the price book.")
    parser.add_argument("--packages", type=Path, help="a folder in which both are installed; else they are now")
    given: Path | None = parser.parse_args().packages
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        if given is None:
            _install(folder)
        today = datetime.datetime.now(datetime.UTC).date()
        for package, prices in (("litellm", of_litellm(folder)), ("genai_prices", of_genai_prices(folder))):
            sys.stdout.writelines(f"{line}\n" for line in report(_version(folder, package), differences(prices, today)))


if __name__ == "__main__":
    main()
