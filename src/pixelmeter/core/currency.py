"""Prices in other currencies than USD: which there are, and what they are in USD by a dated rate of the user."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from pixelmeter.core.tariff import COUNTS, UNITS, USD, Entry, ExchangeRate, Rate, usd_text

__all__ = ["CURRENCIES", "EXCHANGE_DIGITS", "PriceKey", "decimals_of", "in_usd", "key_of", "unit_of"]

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
