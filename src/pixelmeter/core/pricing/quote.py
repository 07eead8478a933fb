"""The arithmetic: what a call consumed x a tariff.

Amounts are exact in atto-dollars (1e-18 USD) until one rounding at the end gives nano-dollars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.pricing.quantity import quantity_of
from pixelmeter.core.pricing.tariff import (
    ATTO_PER_NANO,
    LONGEST_WORD,
    TOKENS_PER_IMAGE,
    TOKENS_PER_PARTIAL_IMAGE,
    Entry,
    Offer,
    Offers,
    PriceQuery,
    Reason,
    Tariff,
    TokenUnit,
)
from pixelmeter.core.text import half_even

_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")

# A million dollars for a call is somebody's mistake; besides, sums of costs must fit 64 bits.
_HIGHEST = 1_000_000 * NANO_PER_USD
# The square of a tier is that tier by definition; of other shapes only the vendor's table says it.
_TIERS = {"512x512": "0.5k", "1024x1024": "1k", "2048x2048": "2k", "4096x4096": "4k"}

_MILLION = 1_000_000

_OUTPUT_IMAGE: TokenUnit = "usd_per_1m_output_image_tokens"
_OUTPUT_TEXT: TokenUnit = "usd_per_1m_output_text_tokens"
_INPUT_TEXT: TokenUnit = "usd_per_1m_input_text_tokens"
_INPUT_IMAGE: TokenUnit = "usd_per_1m_input_image_tokens"
_CACHED_TEXT: TokenUnit = "usd_per_1m_cached_input_text_tokens"
_CACHED_IMAGE: TokenUnit = "usd_per_1m_cached_input_image_tokens"


class Consumption(msgspec.Struct, frozen=True, kw_only=True):
    """What a call took, or is expected to take; None is what nobody knows."""

    images: int | None = None
    """Delivered, or requested."""
    size: str | None = None
    """WIDTHxHEIGHT, a tier such as "2K", or "auto"; None when the call was silent, and the vendor chose."""
    quality: str | None = None
    """The vendor's word, or "auto"; None when the call was silent."""
    service_tier: str | None = None
    """The vendor's word, such as "batch"; None, "auto", "default", "standard" and "on_demand" have the plain price."""
    input_images: int = 0
    steps: int | None = None
    input_text_tokens: int | None = None
    input_image_tokens: int | None = None
    cached_text_tokens: int | None = None
    """Those of `input_text_tokens` that came from a cache."""
    cached_image_tokens: int | None = None
    """Those of `input_image_tokens` that came from a cache."""
    output_text_tokens: int | None = None
    output_image_tokens: int | None = None
    partial_images: int = 0
    """Streamed previews; their tokens are in the usage, so they count only where that is estimated."""
    has_defaults: bool = True
    """Whether a silent call left the choice to the vendor; False where nobody has read what it says."""
    doubt: Reason | None = None
    """Why the tokens above may be only a part of those that are billed."""
    others: tuple[tuple[str, Consumption], ...] = ()
    """What other models took, by their names: it is billed besides."""


class Line(msgspec.Struct, frozen=True):
    """One product of the sum."""

    quantity: int
    unit: str
    """The key of the price, such as "usd_per_image"."""
    price: str
    """USD for that unit, as the book has it."""
    atto: int
    """Atto-dollars (1e-18 USD), exact."""
    entry: Entry
    surcharge: int = 0
    """Parts per million that a regional host adds."""
    is_beside: bool = False
    """It is for another model that worked on the answer, and in both costs."""

    @property
    def amount(self) -> int:
        """Nano-dollars; rounded, so that lines may not add up to the last digit."""
        return _sum([self])


class Quote(msgspec.Struct, frozen=True):
    """What a call costs by the book; a cost that is not known is None, and `reason` says why when none is."""

    token_cost: int | None = None
    """Nano-dollars."""
    image_cost: int | None = None
    """Nano-dollars, by images, pixels, tiles, steps and requests."""
    price_id: str | None = None
    """The entry behind the cost, such as "openai:gpt-image-2@2026-04-21#tokens"."""
    reason: Reason | None = None
    lines: tuple[Line, ...] = ()


def price(tariff: Tariff, consumption: Consumption, surcharge: int = 0, others: Sequence[Line] = ()) -> Quote:
    """Return both costs, as far as the tariff and the consumption give them, in nano-dollars.

    `surcharge` is the parts per million that are added to the tariff; `others` is what other models cost besides.
    """
    query = _query(tariff, consumption)
    tokens = _token_lines(tariff, consumption, query, surcharge) if tariff.has_tokens else None
    images = _image_lines(tariff, consumption, query, surcharge) if tariff.image_units else None
    if tariff.has_tokens and consumption.doubt is not None:
        # Images are no other way to price a bill that is known to have more on it.
        tokens, images = consumption.doubt, None
    token_lines = tokens if isinstance(tokens, list) else []
    image_lines = images if isinstance(images, list) else []
    token_cost = _sum([*token_lines, *others]) if isinstance(tokens, list) else None
    image_cost = _sum([*image_lines, *others]) if isinstance(images, list) else None
    if max(token_cost or 0, image_cost or 0) > _HIGHEST:
        return Quote(reason="implausible")
    if token_cost is None and image_cost is None:
        return Quote(reason=tokens if isinstance(tokens, str) else images if isinstance(images, str) else None)
    added = f"+{_percent(surcharge)}%" if surcharge else ""
    if token_lines:
        price_id = f"{token_lines[0].entry.id}#tokens{added}"
    else:
        price_id = f"{image_lines[0].entry.id}#images{added}" if image_lines else tariff.entries[0].id
    return Quote(token_cost, image_cost, price_id, None, (*token_lines, *image_lines, *others))


def besides(tariff: Tariff, consumption: Consumption, surcharge: int = 0) -> list[Line] | None:
    """Return what a model cost that worked on an answer beside the one that was asked; None where that is unknown."""
    lines = _token_lines(tariff, consumption, _query(tariff, consumption), surcharge)
    if not isinstance(lines, list) or consumption.doubt is not None:
        return None
    return [msgspec.structs.replace(line, is_beside=True) for line in lines]


def estimate(tariff: Tariff, consumption: Consumption, surcharge: int = 0) -> int | None:
    """Return what a call may cost, in nano-dollars; None when even that cannot be said.

    Where size or quality are open, the most expensive that fits is taken; where usage is, the tokens of an image,
    or the vendor's own rounded price of its output.
    """
    quote = price(tariff, consumption, surcharge)
    if quote.token_cost is not None or quote.image_cost is not None:
        return quote.image_cost if quote.token_cost is None else quote.token_cost
    if consumption.images is None:
        return None
    query = _query(tariff, consumption)
    if tariff.image_units:
        lines = _image_lines(tariff, consumption, query, most_expensive=True)
        amount = sum(line.atto for line in lines) if isinstance(lines, list) else None
    else:
        amount = _estimated_tokens(tariff, consumption, query)
    cost = None if amount is None else _nano(amount * (_MILLION + surcharge))
    return None if cost is None or cost > _HIGHEST else cost


def _percent(parts_per_million: int) -> str:
    whole, rest = divmod(parts_per_million, 10_000)
    return f"{whole}.{rest:04}".rstrip("0").rstrip(".")


def _sum(lines: Iterable[Line]) -> int:
    """Return the nano-dollars of lines, rounded once."""
    return _nano(sum(line.atto * (_MILLION + line.surcharge) for line in lines))


def _nano(amount: int) -> int:
    """Return millionths of an atto-dollar as nano-dollars."""
    return half_even(amount, ATTO_PER_NANO * _MILLION)


def _estimated_tokens(tariff: Tariff, consumption: Consumption, query: PriceQuery) -> int | None:
    output = _estimated_output(tariff, consumption, query)
    text = _pick(tariff.offers, _INPUT_TEXT, query)
    return None if output is None else output + (consumption.input_text_tokens or 0) * (text.rate.amount if text else 0)


def _estimated_output(tariff: Tariff, consumption: Consumption, query: PriceQuery) -> int | None:
    images = consumption.images or 0
    each = _pick(tariff.counts, TOKENS_PER_IMAGE, query)
    partial = _pick(tariff.counts, TOKENS_PER_PARTIAL_IMAGE, query)
    flat = _pick(tariff.estimates, "usd_per_image", query)
    rate = _pick(tariff.offers, _OUTPUT_IMAGE, query)
    per_token = rate.rate.amount if rate else 0
    previews = consumption.partial_images * (partial.rate.amount if partial else 0) * per_token
    if each and rate:
        return images * each.rate.amount * per_token + previews
    return images * flat.rate.amount + previews if flat else None


def _pick(offers: dict[str, Offers], key: str, query: PriceQuery) -> Offer | None:
    found = offers[key].pick(query, most_expensive=True) if key in offers else None
    return found if isinstance(found, Offer) else None


def _query(tariff: Tariff, consumption: Consumption) -> PriceQuery:
    has_defaults = consumption.has_defaults
    size = _word(consumption.size, tariff.default_size if has_defaults else None)
    quality = _word(consumption.quality, tariff.default_quality if has_defaults else None)
    sides = _SIZE.fullmatch(size) if size else None
    steps = tariff.default_steps if consumption.steps is None and has_defaults else consumption.steps
    return PriceQuery(size, _TIERS.get(size or ""), (int(sides[1]), int(sides[2])) if sides else None, quality, steps)


def _word(value: str | None, default: str | None) -> str | None:
    if value is None:
        return default
    # No book has a longer word; cutting keeps what a hostile answer says cheap, and still unequal to all of them.
    word = value[: LONGEST_WORD + 1].lower()
    return None if word == "auto" else word


def _token_lines(tariff: Tariff, consumption: Consumption, query: PriceQuery, surcharge: int) -> list[Line] | Reason:
    offers = tariff.offers
    output_image, output_text = consumption.output_image_tokens, consumption.output_text_tokens
    if consumption.input_text_tokens is None and consumption.input_image_tokens is None:
        return "missing_usage"
    # An answer with images has output tokens of them, and the text rate is not theirs.
    if not output_image and consumption.images != 0:
        return "missing_usage"
    text, image = consumption.input_text_tokens or 0, consumption.input_image_tokens or 0
    if tariff.max_input_tokens is not None and text + image > tariff.max_input_tokens:
        return "unpriced_tokens"
    cached_text = min(consumption.cached_text_tokens or 0, text) if _CACHED_TEXT in offers else 0
    cached_image = min(consumption.cached_image_tokens or 0, image) if _CACHED_IMAGE in offers else 0
    lines: list[Line] = []
    for unit, quantity in (
        (_OUTPUT_IMAGE, output_image or 0),
        (_OUTPUT_TEXT, output_text or 0),
        (_INPUT_TEXT, text - cached_text),
        (_CACHED_TEXT, cached_text),
        (_INPUT_IMAGE, image - cached_image),
        (_CACHED_IMAGE, cached_image),
    ):
        if quantity:
            offer = offers[unit].pick(query) if unit in offers else None
            if not isinstance(offer, Offer):
                return offer or "unpriced_tokens"
            lines.append(Line(quantity, unit, offer.rate.text, quantity * offer.rate.amount, offer.entry, surcharge))
    return lines


def _image_lines(
    tariff: Tariff, consumption: Consumption, query: PriceQuery, surcharge: int = 0, most_expensive: bool = False
) -> list[Line] | Reason:
    images = consumption.images
    if images is None:
        return "missing_images"
    lines: list[Line] = []
    input_images = consumption.input_images if consumption.has_defaults else None
    for unit in tariff.image_units:
        quantity = quantity_of(unit, images, input_images, query)
        if isinstance(quantity, str):
            return quantity
        if quantity:
            offer = tariff.offers[unit].pick(query, most_expensive)
            if isinstance(offer, str):
                return offer
            lines.append(Line(quantity, unit, offer.rate.text, quantity * offer.rate.amount, offer.entry, surcharge))
    if "usd_per_first_megapixel" in tariff.offers and "usd_per_extra_megapixel" not in tariff.offers:
        extra = quantity_of("usd_per_extra_megapixel", images, input_images, query)
        return "unknown_size" if extra else lines
    return lines
