"""Tables of a price file: what may be in one, prices in other currencies than USD, and rates of exchange."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, NamedTuple

import msgspec

from pixelmeter.core.pricing.tariff import COUNTS, LONGEST_WORD, UNITS, USD, Entry, ExchangeRate, Rate, atto, usd_text

__all__ = [
    "CURRENCIES",
    "DATES",
    "EXCHANGE_DIGITS",
    "PriceKey",
    "Wrong",
    "as_size",
    "decimals_of",
    "exchange_rate",
    "in_usd",
    "is_size",
    "key_of",
    "rates_of",
    "unit_of",
    "unknown",
    "wrong_fields",
]

DATES = (datetime.date, datetime.datetime, datetime.time)
"""What TOML has read already."""

_PRICE = re.compile(r"\d{1,6}(\.(\d{1,12}))?", re.ASCII)
_MANY_DIGITS = re.compile(r"\d{7,}(\.\d*)?", re.ASCII)
_PLAIN_SIZE = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}|\d+(\.\d+)?(k|p|mp)?|\d{1,3}:\d{1,3}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_TWO_NUMBERS = re.compile(r"\s*(\d{1,5})\D{1,5}(\d{1,5})\s*(px)?", re.ASCII)
_RANGE = re.compile(r"(<=|>)?(\d{1,9})(px)?", re.ASCII)
_BY = ("", "size", "quality", "steps", "size_and_quality", "size_and_steps")
_HIGHEST = 1_000_000_000

_Prices = Annotated[dict[str, object], msgspec.Meta(min_length=1)]


class Wrong(NamedTuple):
    """What is wrong with an entry; `keys` lead to it from the entry inwards, none where it is the entry itself."""

    message: str
    keys: Sequence[str] = ()


def unknown(key: str, known: Sequence[str]) -> str:
    """Return what to say of a key that price files do not have."""
    close = get_close_matches(key, known, n=1)
    return f"{key[:80]!r} is not a key of a price file" + (f": did you mean {close[0]}?" if close else "")


def wrong_fields(
    fields: Mapping[str, object], table: type[msgspec.Struct], filled: Mapping[str, object]
) -> Iterator[Wrong]:
    """Yield what is wrong with each field by itself; `filled` has right values of those that must be there."""
    # One by one: msgspec tells of the first alone.
    for key, value in fields.items():
        try:
            msgspec.convert({**filled, key: value}, table, builtin_types=DATES)
        except msgspec.ValidationError as error:
            yield Wrong(f"{key}: " + re.sub(r" \| null| - at `.*`$", "", str(error)), [key])


def is_size(word: str) -> bool:
    """Return whether a word (lower case) is a size by its form: WIDTHxHEIGHT, a tier or a ratio."""
    return _PLAIN_SIZE.fullmatch(word) is not None


def as_size(word: str) -> str:
    """Return how a size is written that cannot be used as it stands."""
    numbers = _TWO_NUMBERS.fullmatch(word)
    if numbers:
        return f'write "{numbers[1]}x{numbers[2]}"'
    return 'write WIDTHxHEIGHT, such as "1024x1024", or a tier, such as "2K"'


def rates_of(key: str, unit: PriceKey, by: str, value: object, wrongs: list[Wrong]) -> Iterator[Rate]:
    """Yield the rates of a key; what is wrong with them goes to `wrongs`."""
    if by not in _BY:
        plain = key.partition("_by_")[0]
        wrongs.append(Wrong(unknown(key, [f"{plain}_by_{name}" for name in _BY if name]), [key]))
        return
    kinds = by.split("_and_") if by else []
    for keys, price in _prices([key], value, len(kinds), wrongs):
        words: dict[str, str] = dict(zip(kinds, keys[1:], strict=True))
        found = [*_wrong_amount(keys, unit, price), *_wrong_words(keys, words)]
        wrongs += found
        if not found:
            yield _rate(unit.name, price, **words)


def _prices(
    keys: Sequence[str], value: object, depth: int, wrongs: list[Wrong]
) -> Iterator[tuple[Sequence[str], object]]:
    """Yield the prices of a table that is so deep, with the keys that lead to them."""
    if not depth:
        yield keys, value
        return
    try:
        table = msgspec.convert(value, _Prices)
    except msgspec.ValidationError:
        name = _name(keys)
        wrongs.append(Wrong(f"{name} is a table: write [price.{name}] with a price for every word under it", keys))
        return
    for word, inner in table.items():
        yield from _prices([*keys, word], inner, depth - 1, wrongs)


def _name(keys: Sequence[str]) -> str:
    return ".".join(key[:80] for key in keys)


def _wrong_amount(keys: Sequence[str], unit: PriceKey, value: object) -> Iterator[Wrong]:
    if unit.name in COUNTS:
        if type(value) is not int or not 0 <= value <= UNITS["usd_per_megapixel"]:
            yield Wrong(f"{_name(keys)} must be a whole number of tokens", keys)
        return
    limit = decimals_of(unit.name, unit.currency)
    price = _PRICE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and _MANY_DIGITS.fullmatch(value):
        yield Wrong(f"{_name(keys)} must be {unit.currency} with at most six digits before the point", keys)
    elif price is None or len(price[2] or "") > limit:
        decimals = f'at most {limit} decimals, such as "0.010"'
        yield Wrong(f"{_name(keys)} must be {unit.currency} in quotes with {decimals}", keys)


def _wrong_words(keys: Sequence[str], words: Mapping[str, str]) -> Iterator[Wrong]:
    for kind, word in words.items():
        if not word or len(word) > LONGEST_WORD:
            yield Wrong(f"{keys[0]}: sizes, qualities and steps have 1 to {LONGEST_WORD} characters", keys)
        elif kind == "steps" or (kind == "size" and _counts_pixels(word)):
            unit = "px" if kind == "size" else ""
            if _range(word, unit) is None:
                yield Wrong(f'{keys[0]}: write {word!r} as "30{unit}", "<=30{unit}" or ">30{unit}"', keys)
        elif kind == "size" and word.lower() == "auto":
            yield Wrong(f'{keys[0]}: "auto" leaves the size open, so no call has this price: leave it out', keys)
        elif kind == "size" and not is_size(word.lower()) and not _WORD.fullmatch(word.lower()):
            yield Wrong(f"{keys[0]}: {word!r} is no size: {as_size(word)}", keys)


def _rate(
    unit: str, value: object, size: str | None = None, quality: str | None = None, steps: str | None = None
) -> Rate:
    text = str(value)
    pixels = _range(size, "px") if size and _counts_pixels(size) else None
    return Rate(
        amount=int(text) if unit in COUNTS else atto(text, UNITS[unit]),
        text=text,
        size=size.lower() if size and not pixels else None,
        pixels=pixels,
        quality=quality.lower() if quality else None,
        steps=_range(steps, "") if steps else None,
    )


def _counts_pixels(size: str) -> bool:
    return size[0] in "<>" or size.endswith("px")


def _range(word: str, unit: str) -> range | None:
    found = _RANGE.fullmatch(word)
    if not found or (found[3] or "") != unit:
        return None
    number = int(found[2])
    return {"<=": range(number + 1), ">": range(number + 1, _HIGHEST)}.get(found[1], range(number, number + 1))


# ISO 4217, the money of countries; a price is in no other, so that a slip of the pen is no currency.
_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC
CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR
ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE
SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF
XPF YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CODES.split())

EXCHANGE_DIGITS = 8
"""Decimals of a rate of exchange."""
_EXCHANGE_SCALE = 10**EXCHANGE_DIGITS
_KEY = re.compile(r"([a-z]{3})_(per_\w+)", re.ASCII)


class PriceKey(NamedTuple):
    """What a key of a price file is the price of: a key of UNITS or COUNTS, and the currency of the price."""

    name: str
    currency: str


def unit_of(key: str) -> PriceKey | None:
    """Return what `key`, without its `_by_...`, is the price of; None for another key.

    `cny_per_image` is `usd_per_image` in CNY.
    """
    if key in UNITS or key in COUNTS:
        return PriceKey(key, USD)
    found = _KEY.fullmatch(key)
    if found and found[1].upper() in CURRENCIES and f"usd_{found[2]}" in UNITS:
        return PriceKey(f"usd_{found[2]}", found[1].upper())
    return None


def key_of(unit: str, currency: str) -> str:
    """Return the key of a price in a currency: `usd_per_image` and "CNY" are `cny_per_image`."""
    return unit if unit in COUNTS else currency.lower() + unit.removeprefix("usd")


def decimals_of(unit: str, currency: str) -> int:
    """Return how many decimals a price may have, so that it is exact in atto-dollars, times a rate of exchange too."""
    if currency == USD:
        return 12
    return 10 if UNITS[unit] == 1 else 4


def in_usd(entries: Iterable[Entry], exchange_rates: Sequence[ExchangeRate], day: datetime.date) -> list[Entry] | None:
    """Return the entries with prices in USD, by the newest rate in force on a day; None where one has no rate."""
    found: list[Entry] = []
    for entry in entries:
        if entry.currency == USD:
            found.append(entry)
            continue
        rates = [rate for rate in exchange_rates if rate.currency == entry.currency and rate.holds_on(day)]
        if not rates:
            return None
        found.append(_exchanged(entry, max(rates, key=lambda rate: rate.effective_from)))
    return found


def _exchanged(entry: Entry, exchange: ExchangeRate) -> Entry:
    rates = {
        unit: found if unit in COUNTS else tuple(_times(rate, UNITS[unit], exchange) for rate in found)
        for unit, found in entry.rates.items()
    }
    return msgspec.structs.replace(entry, rates=rates, exchange=exchange)


def _times(rate: Rate, per: int, exchange: ExchangeRate) -> Rate:
    # Exact: what `decimals_of` leaves a price ends in as many zeros as the rate of exchange has decimals.
    amount = rate.amount * exchange.amount // _EXCHANGE_SCALE
    return msgspec.structs.replace(rate, amount=amount, text=usd_text(amount * per))


_AMOUNT = re.compile(rf"\d{{1,6}}(\.\d{{1,{EXCHANGE_DIGITS}}})?", re.ASCII)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    currency: _Text
    usd_per_unit: str
    effective_from: datetime.date
    effective_to: datetime.date | None = None
    source: str = ""
    note: str = ""


# As in pricefile: the type is worked out while one thread imports this module.
msgspec.json.Decoder(_Table)

_KEYS = _Table.__struct_fields__
_FILLED = {"currency": "EUR", "usd_per_unit": "1", "effective_from": datetime.date(1970, 1, 1)}
_MISSING = {
    "currency": 'nothing says which currency this is: write currency = "CNY"',
    "usd_per_unit": 'nothing says what it is worth: write usd_per_unit = "0.1402", in USD for one unit of the currency',
    "effective_from": "nothing says since when: write effective_from = 2026-01-31, the first day of the rate",
}


def exchange_rate(table: Mapping[str, object], line: int, wrongs: list[Wrong]) -> ExchangeRate | None:
    """Return the rate of exchange that begins in a line of its file; what is wrong with it goes to `wrongs`."""
    found = [*_wrong(table)]
    wrongs += found
    if found:
        return None
    head = msgspec.convert(table, _Table, builtin_types=DATES)
    whole, _, decimals = head.usd_per_unit.partition(".")
    return ExchangeRate(
        currency=head.currency,
        amount=int(whole + decimals.ljust(EXCHANGE_DIGITS, "0")),
        text=head.usd_per_unit,
        effective_from=head.effective_from,
        effective_to=head.effective_to,
        source=head.source,
        note=head.note,
        line=line,
    )


def _wrong(table: Mapping[str, object]) -> Iterator[Wrong]:
    for key in table:
        if key not in _KEYS:
            yield Wrong(unknown(key, _KEYS), [key])
    for key, message in _MISSING.items():
        if key not in table:
            yield Wrong(message)
    yield from wrong_fields({key: value for key, value in table.items() if key in _KEYS}, _Table, _FILLED)
    currency, amount = table.get("currency"), table.get("usd_per_unit")
    if isinstance(currency, str) and currency and (currency not in CURRENCIES or currency == USD):
        close = get_close_matches(currency.upper(), CURRENCIES - {USD}, n=1)
        hint = f": did you mean {close[0]}?" if close else ', such as "CNY"'
        yield Wrong(f"currency: {currency[:80]!r} is no other currency of ISO 4217{hint}", ["currency"])
    if isinstance(amount, str) and not (_AMOUNT.fullmatch(amount) and amount.strip("0.")):
        message = f'usd_per_unit must be USD, more than 0, with at most {EXCHANGE_DIGITS} decimals, such as "0.1402"'
        yield Wrong(message, ["usd_per_unit"])
    since, until = table.get("effective_from"), table.get("effective_to")
    if type(since) is datetime.date and type(until) is datetime.date and until <= since:
        message = "effective_to must be later than effective_from: it is the first day without"
        yield Wrong(message, ["effective_to"])
