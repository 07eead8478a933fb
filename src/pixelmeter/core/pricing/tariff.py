"""What a price book holds: dated entries with their rates, and the tariff that a model has on one day."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Literal, assert_never, get_args

import msgspec

Reason = Literal[
    "no_price",
    "foreign_currency",
    "missing_usage",
    "unpriced_tokens",
    "unpriced_usage",
    "missing_images",
    "unknown_size",
    "unknown_quality",
    "unknown_steps",
    "unknown_input_size",
    "unknown_service_tier",
    "unread_request",
    "regional_price",
    "implausible",
]
REASONS: tuple[Reason, ...] = get_args(Reason)

USD = "USD"

LONGEST_WORD = 40
"""Characters of a size, a quality, a service tier or a number of steps."""

ATTO_PER_NANO = 1_000_000_000
_ATTO_DIGITS = 18
_MILLION = 1_000_000

ImageUnit = Literal[
    "usd_per_request",
    "usd_per_image",
    "usd_per_megapixel",
    "usd_per_started_megapixel",
    "usd_per_first_megapixel",
    "usd_per_extra_megapixel",
    "usd_per_step",
    "usd_per_tile_512",
    "usd_per_tile_512_step",
    "usd_per_input_image",
    "usd_per_further_input_image",
    "usd_per_input_megapixel",
    "usd_per_input_tile_512",
    "usd_per_input_tile_512_step",
]
"""Keys of prices for images, pixels, tiles, steps and requests: each is counted by `quantity_of`."""
TokenUnit = Literal[
    "usd_per_1m_output_image_tokens",
    "usd_per_1m_output_text_tokens",
    "usd_per_1m_input_text_tokens",
    "usd_per_1m_cached_input_text_tokens",
    "usd_per_1m_input_image_tokens",
    "usd_per_1m_cached_input_image_tokens",
]
"""Keys of prices for tokens."""
Unit = ImageUnit | TokenUnit
IMAGE_UNITS: tuple[ImageUnit, ...] = get_args(ImageUnit)
TOKEN_UNITS: tuple[TokenUnit, ...] = get_args(TokenUnit)


def _paid_for(unit: Unit) -> int:
    match unit:
        case (
            "usd_per_request"
            | "usd_per_image"
            | "usd_per_started_megapixel"
            | "usd_per_first_megapixel"
            | "usd_per_extra_megapixel"
            | "usd_per_step"
            | "usd_per_tile_512"
            | "usd_per_tile_512_step"
            | "usd_per_input_image"
            | "usd_per_further_input_image"
            | "usd_per_input_megapixel"
            | "usd_per_input_tile_512"
            | "usd_per_input_tile_512_step"
        ):
            return 1
        case (
            "usd_per_megapixel"
            | "usd_per_1m_output_image_tokens"
            | "usd_per_1m_output_text_tokens"
            | "usd_per_1m_input_text_tokens"
            | "usd_per_1m_cached_input_text_tokens"
            | "usd_per_1m_input_image_tokens"
            | "usd_per_1m_cached_input_image_tokens"
        ):
            return _MILLION
        case _:
            assert_never(unit)


UNITS: Mapping[str, int] = {unit: _paid_for(unit) for unit in (*IMAGE_UNITS, *TOKEN_UNITS)}
"""Every key of a price, and how many of what is counted one price pays for."""

TOKENS_PER_IMAGE = "output_image_tokens_per_image"
TOKENS_PER_PARTIAL_IMAGE = "output_image_tokens_per_partial_image"
COUNTS: tuple[str, ...] = (TOKENS_PER_IMAGE, TOKENS_PER_PARTIAL_IMAGE)
"""Keys of what is no price, but estimates how many tokens an answer will be billed for."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """One price, and what must be true of a call to have it; None means any."""

    amount: int
    """Atto-dollars (1e-18 USD) for each thing counted, exact; for a key of COUNTS, tokens."""
    text: str
    """The price as the book has it, in USD for the unit in the key."""
    size: str | None = None
    """A size or a tier, in lower case."""
    pixels: range | None = None
    """Of one image."""
    quality: str | None = None
    steps: range | None = None


class ExchangeRate(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[exchange_rate]]` of the user's own price file."""

    currency: str
    """ISO 4217, in upper case."""
    amount: int
    """USD for one unit of the currency, in 1e-8 USD, exact."""
    text: str
    """The same, as the file has it."""
    effective_from: datetime.date
    """The first day, UTC."""
    effective_to: datetime.date | None
    """The day after the last, UTC."""
    source: str
    note: str
    line: int
    """Where it begins in its file."""

    def holds_on(self, day: datetime.date) -> bool:
        """Return whether the rate is in force."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[price]]` of a book."""

    id: str
    gateway: str
    model: str
    aliases: tuple[str, ...]
    effective_from: datetime.date | None
    """The first day, UTC."""
    effective_to: datetime.date | None
    """The day after the last, UTC."""
    shutdown_on: datetime.date | None = None
    """When the vendor means to end the model; the price holds on, for calls that succeed all the same."""
    quality: str | None
    """Calls of this quality alone have these prices."""
    service_tier: str | None = None
    """Calls of this service tier, such as "batch", alone have these prices, in lower case; None is the plain price."""
    default_size: str | None
    default_quality: str | None
    default_steps: int | None
    max_input_tokens: int | None = None
    """Calls with more input tokens than these have other prices, which are not known."""
    estimate: bool
    """Good enough to say what a call may cost, but not what it did."""
    rates: Mapping[str, tuple[Rate, ...]]
    currency: str = USD
    """ISO 4217, of the prices as the file has them; `rates` are in it too, until `exchange` says otherwise."""
    exchange: ExchangeRate | None = None
    """By which `rates` became USD."""
    source: str
    checked_on: datetime.date | None
    note: str
    own: bool
    """From the user's file, not from the bundled book."""
    line: int
    """Where the entry begins in its file."""

    @property
    def has_price(self) -> bool:
        """Whether a call can be priced by it, not only estimated."""
        return not self.estimate and any(unit in UNITS for unit in self.rates)

    @property
    def has_tokens_to_expect(self) -> bool:
        """Whether all it has is how many tokens an image takes, which does not depend on the service tier."""
        return all(key in COUNTS for key in self.rates)

    def holds_on(self, day: datetime.date) -> bool:
        """Return whether the entry is in force."""
        begun = self.effective_from is None or self.effective_from <= day
        return begun and (self.effective_to is None or day < self.effective_to)


# What vendors call the tier that is no tier: the price of a call that says nothing.
PLAIN_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})


def service_tier_of(word: str | None) -> str | None:
    """Return the service tier whose prices a call has, in lower case; None for the plain price."""
    # No book has a longer word; cutting keeps what a hostile answer says cheap, and still unequal to all of them.
    tier = (word or "")[: LONGEST_WORD + 1].strip().lower()
    return None if tier in PLAIN_TIERS else tier


class Offer(msgspec.Struct, frozen=True):
    """A rate, and the entry it stands in."""

    rate: Rate
    entry: Entry


class PriceQuery(msgspec.Struct, frozen=True):
    """What rates are chosen by; None is what nobody knows."""

    size: str | None
    tier: str | None
    """Another word for the size."""
    sides: tuple[int, int] | None
    quality: str | None
    steps: int | None


class Offers:
    """The rates of one unit, to pick the one that a call has."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._all = tuple(offers)
        self._ranged = tuple(offer for offer in self._all if offer.rate.pixels or offer.rate.steps)
        self._plain = {(offer.rate.size, offer.rate.quality): offer for offer in self._all if offer not in self._ranged}

    @property
    def amounts(self) -> set[int]:
        """The different prices, in atto-dollars for each thing counted."""
        return {offer.rate.amount for offer in self._all}

    def pick(self, query: PriceQuery, most_expensive: bool = False) -> Offer | Reason:
        """Return the most special rate that fits a call, or what keeps it from being known.

        What nobody knows does not matter where every rate that may fit has the same price, nor with
        `most_expensive`.
        """
        for offer in self._ranged:
            if _open(offer.rate, query) == ():
                return offer
        plain = self._plain
        for size in (query.size, query.tier, None):
            for quality in (query.quality, None):
                if (size, quality) in plain:
                    return plain[size, quality]
        candidates = [(offer, doubts) for offer in self._all if (doubts := _open(offer.rate, query)) is not None]
        if candidates:
            best, doubts = max(candidates, key=lambda candidate: candidate[0].rate.amount)
            if most_expensive or len({offer.rate.amount for offer, _ in candidates}) == 1:
                return best
            return doubts[0]
        return self._misfit(query)

    def _misfit(self, query: PriceQuery) -> Reason:
        sized = [offer.rate for offer in self._all if _size_doubt(offer.rate, query) is not None]
        if not sized:
            return "unknown_size"
        return "unknown_steps" if any(rate.steps for rate in sized) else "unknown_quality"


def _size_doubt(rate: Rate, query: PriceQuery) -> bool | None:
    """Return None where the size does not fit, else whether that is open."""
    if rate.pixels is not None:
        if query.sides is not None:
            return False if query.sides[0] * query.sides[1] in rate.pixels else None
        return True if query.size is None else None
    if rate.size is None or rate.size in (query.size, query.tier):
        return False
    return True if query.size is None else None


def _open(rate: Rate, query: PriceQuery) -> tuple[Reason, ...] | None:
    """Return None where a rate does not fit, else what must become known before it surely does."""
    size = _size_doubt(rate, query)
    if size is None:
        return None
    doubts: list[Reason] = ["unknown_size"] if size else []
    if rate.quality is not None and rate.quality != query.quality:
        if query.quality is not None:
            return None
        doubts.append("unknown_quality")
    if rate.steps is not None and (query.steps is None or query.steps not in rate.steps):
        if query.steps is not None:
            return None
        doubts.append("unknown_steps")
    return tuple(doubts)


class Tariff:
    """All rates of one model on one day, from the entries in force."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        newest = sorted(entries, key=lambda entry: entry.effective_from or datetime.date.min, reverse=True)
        self.entries: tuple[Entry, ...] = tuple(newest)
        self.offers = _offers(entry for entry in newest if not entry.estimate)
        self.estimates = _offers(entry for entry in newest if entry.estimate)
        self.counts = {key: found for key in COUNTS if (found := self.offers.pop(key, self.estimates.get(key)))}
        self.has_tokens = any(unit in self.offers for unit in TOKEN_UNITS)
        self.image_units: tuple[ImageUnit, ...] = tuple(unit for unit in IMAGE_UNITS if unit in self.offers)
        limits = [entry.max_input_tokens for entry in newest if entry.max_input_tokens is not None]
        self.max_input_tokens = min(limits, default=None)
        # Atto-dollars for one of the only unit, the megapixel for instance; None where there are several, or prices.
        self.unit_price = _unit_price(self)
        self.default_size = next((entry.default_size for entry in newest if entry.default_size), None)
        self.default_quality = next((entry.default_quality for entry in newest if entry.default_quality), None)
        self.default_steps = next((entry.default_steps for entry in newest if entry.default_steps), None)


_PARTS: tuple[ImageUnit, ...] = ("usd_per_first_megapixel", "usd_per_extra_megapixel")


def _unit_price(tariff: Tariff) -> int | None:
    if tariff.has_tokens or len(tariff.image_units) != 1 or tariff.image_units[0] in _PARTS:
        return None
    unit = tariff.image_units[0]
    amounts = tariff.offers[unit].amounts
    return amounts.pop() * UNITS[unit] if len(amounts) == 1 else None


def _offers(newest: Iterable[Entry]) -> dict[str, Offers]:
    """Return the rates by unit; an older entry counts only where no newer one has the unit for the same quality."""
    found: dict[str, dict[str | None, list[Offer]]] = {}
    for entry in newest:
        for key, rates in entry.rates.items():
            found.setdefault(key, {}).setdefault(entry.quality, [Offer(rate, entry) for rate in rates])
    return {key: Offers(offer for group in by_quality.values() for offer in group) for key, by_quality in found.items()}


def atto(text: str, per: int) -> int:
    """Return atto-dollars for one of what `per` of cost `text` USD; exact up to 12 decimals."""
    # No Decimal: the context of the caller's thread would round it.
    whole, _, decimals = text.partition(".")
    return int(whole + decimals.ljust(_ATTO_DIGITS, "0")) // per


def usd_text(amount: int) -> str:
    """Return atto-dollars in USD, every digit and no more."""
    whole, decimals = divmod(amount, 10**_ATTO_DIGITS)
    return f"{whole}.{decimals:0{_ATTO_DIGITS}}".rstrip("0").rstrip(".")
