"""The price book: which entry holds for a model behind a gateway on a day.

Lookup goes name by name, first the gateway, then each vendor whose prices hold behind it; under a name the user's own
entries come before the bundled ones. The first name with an entry in force decides. No entry in force, no price: an
entry of another day is never taken instead.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pixelmeter.core.currency import in_usd
from pixelmeter.core.quote import Consumption, Line, Quote, estimate, price
from pixelmeter.core.record import MICROSECONDS_PER_DAY
from pixelmeter.core.tariff import REASONS, Entry, ExchangeRate, Reason, Tariff

__all__ = ["REASONS", "Consumption", "Entry", "ExchangeRate", "Line", "PriceBook", "Quote", "Reason"]

_LONGEST_NAME = 200
_CACHED_TARIFFS = 1024
_CACHED_QUOTES = 4096
_EPOCH = datetime.date(1970, 1, 1)
_Kept = TypeVar("_Kept")


class PriceBook:
    """Prices calls; entries are loaded by the name of their gateway or vendor when a call first needs them."""

    def __init__(
        self,
        load: Callable[[str], Sequence[Entry]],
        own: Sequence[Entry] = (),
        exchange_rates: Sequence[ExchangeRate] = (),
    ) -> None:
        """`load` returns the bundled entries of a name, none for an unknown one; `own` wins over those.

        `exchange_rates` are the only ones: without one, a price in another currency than USD is no price.
        """
        self._load = load
        self._exchange_rates = tuple(exchange_rates)
        self._own = {name: _index([entry for entry in own if entry.gateway == name]) for name in _gateways(own)}
        self._bundled: dict[str, Mapping[str, Sequence[Entry]]] = {}
        self._tariffs: dict[tuple[str, str, tuple[str, ...], int], Tariff] = {}
        # Calls of one program ask for few kinds of images, again and again.
        self._quotes: dict[tuple[str, str, Sequence[str], int, Consumption], Quote] = {}
        self._estimates: dict[tuple[str, str, Sequence[str], int, Consumption], int | None] = {}

    @property
    def own_gateways(self) -> Sequence[str]:
        """The names that the user's own entries are about."""
        return tuple(self._own)

    def quote(
        self, consumption: Consumption, *, gateway: str, model: str, at: int, vendors: Sequence[str] = ()
    ) -> Quote:
        """Return what a call costs that began `at` Unix microseconds.

        `vendors` are those whose prices hold behind this gateway, in order; there `model` is also looked up without
        the vendor's name and slash in front.
        """
        key = (gateway, model, tuple(vendors), at // MICROSECONDS_PER_DAY, consumption)
        quote = self._quotes.get(key)
        if quote is None:
            tariff = self._tariff(gateway, model, vendors, at)
            quote = Quote(reason=tariff) if isinstance(tariff, str) else price(tariff, consumption)
            _keep(self._quotes, key, quote)
        return quote

    def estimate(
        self, consumption: Consumption, *, gateway: str, model: str, at: int, vendors: Sequence[str] = ()
    ) -> int | None:
        """Return what such a call may cost, in nano-dollars, before its usage is known; None when nobody can say."""
        key = (gateway, model, tuple(vendors), at // MICROSECONDS_PER_DAY, consumption)
        try:
            return self._estimates[key]
        except KeyError:
            tariff = self._tariff(gateway, model, vendors, at)
            cost = None if isinstance(tariff, str) else estimate(tariff, consumption)
            _keep(self._estimates, key, cost)
            return cost

    def entries(self, gateway: str) -> Sequence[Entry]:
        """Return all entries of a name in the order of their files, the user's own first."""
        found: dict[int, Entry] = {}
        for index in self._indexes(gateway):
            every = [entry for entries in index.values() for entry in entries]
            found |= {id(entry): entry for entry in sorted(every, key=lambda entry: entry.line)}
        return tuple(found.values())

    def _tariff(self, gateway: str, model: str, vendors: Sequence[str], at: int) -> Tariff | Reason:
        if len(model) > _LONGEST_NAME or len(gateway) > _LONGEST_NAME:
            return "no_price"
        day = at // MICROSECONDS_PER_DAY
        key = (gateway, model, tuple(vendors), day)
        if tariff := self._tariffs.get(key):
            return tariff
        date = _EPOCH + datetime.timedelta(days=day)
        entries = self._in_force(gateway, model, vendors, date)
        if not entries:
            return "no_price"
        if (prices := in_usd(entries, self._exchange_rates, date)) is None:
            return "foreign_currency"
        if len(self._tariffs) >= _CACHED_TARIFFS:
            self._tariffs.clear()
        tariff = self._tariffs[key] = Tariff(prices)
        return tariff

    def _in_force(self, gateway: str, model: str, vendors: Sequence[str], date: datetime.date) -> Sequence[Entry]:
        for name, candidate in _candidates(gateway, model, vendors):
            for index in self._indexes(name):
                entries = [entry for entry in index.get(candidate, ()) if entry.holds_on(date)]
                if any(entry.has_price for entry in entries):
                    return entries
        return ()

    def _indexes(self, name: str) -> Iterator[Mapping[str, Sequence[Entry]]]:
        if own := self._own.get(name):
            yield own
        if name in self._bundled:
            yield self._bundled[name]
        elif bundled := _index(self._load(name)):
            self._bundled[name] = bundled
            yield bundled


def _keep(
    cache: dict[tuple[str, str, Sequence[str], int, Consumption], _Kept],
    key: tuple[str, str, Sequence[str], int, Consumption],
    value: _Kept,
) -> None:
    gateway, model, *_ = key
    if len(model) <= _LONGEST_NAME and len(gateway) <= _LONGEST_NAME:
        if len(cache) >= _CACHED_QUOTES:
            cache.clear()
        cache[key] = value


def _gateways(entries: Sequence[Entry]) -> Sequence[str]:
    return tuple(dict.fromkeys(entry.gateway for entry in entries))


def _candidates(gateway: str, model: str, vendors: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield gateway, model
    for vendor in vendors:
        yield vendor, model
        if model.startswith(f"{vendor}/"):
            yield vendor, model.removeprefix(f"{vendor}/")


def _index(entries: Sequence[Entry]) -> Mapping[str, Sequence[Entry]]:
    """Return the entries by model, and by alias where no model has that name."""
    models: dict[str, list[Entry]] = {}
    for entry in entries:
        models.setdefault(entry.model, []).append(entry)
    return {alias: models[entry.model] for entry in entries for alias in entry.aliases} | models
