"""The price book: which entry holds for a model behind a gateway on a day.

Lookup goes name by name, first the gateway, then each vendor whose prices hold behind it; under a name the user's own
entries come before the bundled ones. The first name with an entry in force decides. No entry in force, no price: an
entry of another day is never taken instead, nor that of another model. A model is looked up as it is written, then
without the spaces around it and the name of the collection in front (`models/`); small and capital letters matter only
where the book has names that differ in nothing else.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence

from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY
from pixelmeter.core.gateways.profile import Region
from pixelmeter.core.memo import Memo
from pixelmeter.core.pricing.quote import Consumption, Line, Quote, besides, estimate, price
from pixelmeter.core.pricing.tables import in_usd
from pixelmeter.core.pricing.tariff import ATTO_PER_NANO, REASONS, Entry, ExchangeRate, Reason, Tariff, service_tier_of
from pixelmeter.core.text import scaled

__all__ = ["REASONS", "Consumption", "Entry", "ExchangeRate", "Line", "PriceBook", "Quote", "Reason"]

_LONGEST_NAME = 200
_REMEMBERED = 1024
_MILLION = 1_000_000
_EPOCH = datetime.date(1970, 1, 1)
# Google's names for where a model stands, such as models/imagen-4.0-generate-001.
_COLLECTIONS = ("models/", "publishers/google/models/")


class PriceBook:
    """The prices of calls: those that come with pixelmeter, and above them those of a file of one's own.

    `load_price_book` makes one. Entries are loaded when a call of their gateway or vendor first needs them.
    """

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
        self._own = {name: _Index([entry for entry in own if entry.gateway == name]) for name in _gateways(own)}
        self._bundled: dict[str, _Index] = {}
        self._tariffs: Memo[tuple[str, str, tuple[str, ...], int, str | None], Tariff] = Memo(_REMEMBERED)

    @property
    def own_gateways(self) -> Sequence[str]:
        """The names that the user's own entries are about."""
        return tuple(self._own)

    def quote(
        self,
        consumption: Consumption,
        *,
        gateway: str,
        model: str,
        at: int,
        vendors: Sequence[str] = (),
        region: Region | None = None,
    ) -> Quote:
        """Return what a call costs that began `at` Unix microseconds.

        `vendors` are those whose prices hold behind this gateway, in order; there `model` is also looked up without
        the vendor's name and slash in front. `region` is that of the host, where it has not the plain price.
        """
        day = at // MICROSECONDS_PER_DAY
        tier = service_tier_of(consumption.service_tier)
        tariff = self._tariff(gateway, model, vendors, day, tier)
        if isinstance(tariff, str):
            return Quote(reason=tariff)
        surcharge = _surcharge(tariff, region, day)
        if surcharge is None:
            return Quote(reason="regional_price")
        others: list[Line] = []
        for other, used in consumption.others:
            its = self._tariff(gateway, other, vendors, day, tier)
            if its == "unknown_service_tier":
                return Quote(reason="unknown_service_tier")
            added = None if isinstance(its, str) else _surcharge(its, region, day)
            lines = None if isinstance(its, str) or added is None else besides(its, used, added)
            if lines is None:
                return Quote(reason="unpriced_usage")
            others += lines
        return price(tariff, consumption, surcharge, others)

    def estimate(
        self,
        consumption: Consumption,
        *,
        gateway: str,
        model: str,
        at: int,
        vendors: Sequence[str] = (),
        region: Region | None = None,
    ) -> int | None:
        """Return what such a call may cost, in nano-dollars, before its usage is known; None when nobody can say."""
        day = at // MICROSECONDS_PER_DAY
        tariff = self._tariff(gateway, model, vendors, day, service_tier_of(consumption.service_tier))
        surcharge = None if isinstance(tariff, str) else _surcharge(tariff, region, day)
        return None if isinstance(tariff, str) or surcharge is None else estimate(tariff, consumption, surcharge)

    def cost_of_units(
        self,
        units: str,
        *,
        gateway: str,
        model: str,
        at: int,
        vendors: Sequence[str] = (),
        region: Region | None = None,
        service_tier: str | None = None,
    ) -> Quote | None:
        """Return what so many units cost, a decimal number as text, for a gateway that counts them itself.

        The unit is the only one that the model is priced by, at one price: an image, a megapixel, a step. None where
        the model has several units or prices or is billed by tokens, where it has no price, and for no sane number.
        """
        day = at // MICROSECONDS_PER_DAY
        tariff = self._tariff(gateway, model, vendors, day, service_tier_of(service_tier))
        if isinstance(tariff, str) or tariff.unit_price is None:
            return None
        surcharge = _surcharge(tariff, region, day)
        if surcharge is None:
            return None
        cost = scaled(units, tariff.unit_price * (_MILLION + surcharge), ATTO_PER_NANO * _MILLION)
        return None if cost is None else Quote(image_cost=cost, price_id=f"{tariff.entries[0].id}#units")

    def entries(self, gateway: str) -> Sequence[Entry]:
        """Return all entries of a name in the order of their files, the user's own first."""
        found: dict[int, Entry] = {}
        for index in self._indexes(gateway):
            every = [entry for entries in index.models.values() for entry in entries]
            found |= {id(entry): entry for entry in sorted(every, key=lambda entry: entry.line)}
        return tuple(found.values())

    def _tariff(
        self, gateway: str, model: str, vendors: Sequence[str], day: int, service_tier: str | None
    ) -> Tariff | Reason:
        if len(model) > _LONGEST_NAME or len(gateway) > _LONGEST_NAME:
            return "no_price"
        key = (gateway, model, tuple(vendors), day, service_tier)
        if tariff := self._tariffs.get(key):
            return tariff
        date = _EPOCH + datetime.timedelta(days=day)
        entries = self._in_force(gateway, model, vendors, date)
        if not entries:
            return "no_price"
        entries = [entry for entry in entries if entry.service_tier == service_tier or entry.has_tokens_to_expect]
        if not any(entry.has_price for entry in entries):
            return "unknown_service_tier"
        if (prices := in_usd(entries, self._exchange_rates, date)) is None:
            return "foreign_currency"
        return self._tariffs.keep(key, Tariff(prices))

    def _in_force(self, gateway: str, model: str, vendors: Sequence[str], date: datetime.date) -> Sequence[Entry]:
        for name, candidate in _candidates(gateway, model, vendors):
            for index in self._indexes(name):
                entries = [entry for entry in index.find(candidate) if entry.holds_on(date)]
                if any(entry.has_price for entry in entries):
                    return entries
        return ()

    def _indexes(self, name: str) -> Iterator[_Index]:
        if own := self._own.get(name):
            yield own
        if name in self._bundled:
            yield self._bundled[name]
        elif entries := self._load(name):
            bundled = self._bundled[name] = _Index(entries)
            yield bundled


class _Index:
    """Entries by the names of their models."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.models: dict[str, list[Entry]] = {}
        for entry in entries:
            self.models.setdefault(entry.model, []).append(entry)
        aliases = {alias: self.models[entry.model] for entry in entries for alias in entry.aliases}
        self._names = aliases | self.models
        self._folded: dict[str, Sequence[Entry]] = {}
        for name, found in self._names.items():
            folded = name.casefold()
            self._folded[folded] = found if self._folded.get(folded, found) is found else ()

    def find(self, name: str) -> Sequence[Entry]:
        """Return the entries of a model, by alias where no model has that name."""
        return self._names.get(name) or self._folded.get(name.casefold(), ())


def _surcharge(tariff: Tariff, region: Region | None, day: int) -> int | None:
    """Return the parts per million that a region adds; None where nothing says it."""
    if region is None:
        return 0
    entry = tariff.entries[0]
    added = region.surcharge_of(entry.model, day)
    # Where nothing says what a region adds, the user's own price is what the user pays.
    return 0 if added is None and entry.own else added


def _gateways(entries: Sequence[Entry]) -> Sequence[str]:
    return tuple(dict.fromkeys(entry.gateway for entry in entries))


def _candidates(gateway: str, model: str, vendors: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in _spellings(model):
        yield gateway, name
        for vendor in vendors:
            yield vendor, name
            bare = name.removeprefix("@")
            if bare[: len(vendor) + 1].casefold() == f"{vendor}/":
                yield vendor, bare[len(vendor) + 1 :]


def _spellings(model: str) -> Iterator[str]:
    yield model
    name = model.strip()
    if name != model:
        yield name
    for collection in _COLLECTIONS:
        if name.startswith(collection):
            yield name.removeprefix(collection)
