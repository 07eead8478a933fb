"""A price file in TOML: its text becomes entries, or problems that name the line and say what to write instead."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from pixelmeter.core.pricing.tables import (
    DATES,
    Wrong,
    as_size,
    exchange_rate,
    is_size,
    rates_of,
    unit_of,
    unknown,
    wrong_fields,
)
from pixelmeter.core.pricing.tariff import COUNTS, LONGEST_WORD, PLAIN_TIERS, UNITS, USD, Entry, ExchangeRate, Rate
from pixelmeter.core.toml import TomlError, parse
from pixelmeter.core.wire.headers import ascii_host

__all__ = ["PriceFile", "Problem", "read"]

_URL = re.compile(r"\w+://|[^/]+[.:][^/]*/")
_HEADER = re.compile(r"\s*\[\[\s*(price|exchange_rate)\s*\]\]")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_WORD)]


class Problem(NamedTuple):
    """What is wrong with a price file, and where."""

    line: int
    message: str


class PriceFile(NamedTuple):
    """What a price file says, and what is wrong with it: what has a problem is missing."""

    entries: list[Entry]
    problems: list[Problem]
    exchange_rates: list[ExchangeRate]


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: _Text
    gateway: _Text | None = None
    aliases: list[_Text] = []
    effective_from: datetime.date | None = None
    effective_to: datetime.date | None = None
    shutdown_on: datetime.date | None = None
    quality: _Word | None = None
    service_tier: _Word | None = None
    default_size: _Word | None = None
    default_quality: _Word | None = None
    default_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_input_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] | None = None
    estimate: bool = False
    source: str = ""
    checked_on: datetime.date | None = None
    note: str = ""


# Has the type worked out while one thread imports this module: two that use it first at once end the process
# (msgspec 0.22.0).
msgspec.json.Decoder(_Table)

_KEYS = ("model", *(name for name in _Table.__struct_fields__ if name != "model"), *UNITS, *COUNTS)


def read(text: str, *, own: bool = False) -> PriceFile:
    """Return what a file says and everything that is wrong with it; a user's `own` file may have rates of exchange."""
    try:
        document = parse(text)
    except TomlError as error:
        return PriceFile([], [Problem(error.line, str(error))], [])
    lines = text.split("\n")
    try:
        gateway = msgspec.convert(document.pop("gateway", None), _Text | None)
        tables = msgspec.convert(document.pop("price", []), list[dict[str, object]], builtin_types=DATES)
    except msgspec.ValidationError as error:
        message = 'write gateway = "NAME" first, then [[price]] above every entry'
        return PriceFile([], [Problem(1, f"{message}: {error}")], [])
    try:
        exchange = msgspec.convert(document.pop("exchange_rate", []), list[dict[str, object]], builtin_types=DATES)
    except msgspec.ValidationError as error:
        line = _line(lines, ("exchange_rate",))
        return PriceFile([], [Problem(line, f"write [[exchange_rate]] above every rate of exchange: {error}")], [])
    problems = [Problem(_line(lines, (key,)), unknown(key, ("gateway", "price", "exchange_rate"))) for key in document]
    problems += [Problem(_line(lines, wrong.keys), wrong.message) for wrong in _wrong_gateway(gateway)]
    file = PriceFile([], problems, [])
    seen = _Seen()
    for table, start, section in _sections(lines, "price", tables):
        entry, wrongs = _entry(table, gateway, own=own, line=start + 1)
        if entry:
            wrongs = seen.add(entry)
        problems += [Problem(start + _line(section, wrong.keys), wrong.message) for wrong in wrongs]
        if entry and not wrongs:
            file.entries.append(entry)
    days: set[tuple[str, datetime.date]] = set()
    for table, start, section in _sections(lines, "exchange_rate", exchange):
        wrongs = [] if own else [Wrong("a rate of exchange stands in a file of your own")]
        rate = exchange_rate(table, start + 1, wrongs)
        if rate and (rate.currency, rate.effective_from) in days:
            message = f"{rate.currency} has a rate from this day already: give the newer one a later effective_from"
            wrongs.append(Wrong(message, ["effective_from"]))
        problems += [Problem(start + _line(section, wrong.keys), wrong.message) for wrong in wrongs]
        if rate and not wrongs:
            days.add((rate.currency, rate.effective_from))
            file.exchange_rates.append(rate)
    return file


def _sections(
    lines: Sequence[str], name: str, tables: Sequence[Mapping[str, object]]
) -> Iterator[tuple[Mapping[str, object], int, Sequence[str]]]:
    """Yield the tables of a name, each with the number of its first line (from 0) and its lines."""
    headers = [(number, found[1]) for number, line in enumerate(lines) if (found := _HEADER.match(line))]
    ends = [number for number, _ in headers[1:]] + [len(lines)]
    spans = [(start, end) for (start, header), end in zip(headers, ends, strict=False) if header == name]
    if len(spans) != len(tables):
        # Tables that are written as one array can be anywhere.
        spans = [(0, len(lines))] * len(tables)
    for table, (start, end) in zip(tables, spans, strict=True):
        yield table, start, lines[start:end]


def _line(lines: Sequence[str], keys: Sequence[str]) -> int:
    """Return the number of the line that the keys lead to, as far as it can be told; the first is 1."""
    found = 0
    for key in keys:
        pattern = re.compile(rf"\s*(\[\s*price\s*\.\s*)?[\"']?{re.escape(key)}[\"']?\s*[=\].]")
        found = next((number for number in range(found, len(lines)) if pattern.match(lines[number])), found)
    return found + 1


def _entry(
    table: Mapping[str, object], gateway: str | None, *, own: bool, line: int
) -> tuple[Entry | None, list[Wrong]]:
    rates: dict[str, list[Rate]] = {}
    plain: dict[str, object] = {}
    currency = None
    wrongs: list[Wrong] = []
    for key, value in table.items():
        price, _, by = key.partition("_by_")
        if unit := unit_of(price):
            rates.setdefault(unit.name, []).extend(rates_of(key, unit, by, value, wrongs))
            if unit.name in UNITS and unit.currency != (currency := currency or unit.currency):
                wrongs.append(Wrong(f"{key}: the entry has prices in {currency}: write one entry a currency", [key]))
        elif key in _Table.__struct_fields__:
            plain[key] = value
        else:
            wrongs.append(Wrong(unknown(key, _KEYS), [key]))
    if not rates and not wrongs:
        wrongs.append(Wrong("there is no price: give one, such as usd_per_image"))
    if not gateway and "gateway" not in plain:
        message = 'nothing says whose price this is: write gateway = "NAME" at the top of the file or in the entry'
        wrongs.append(Wrong(message))
    wrongs += [*_wrong_gateway(plain.get("gateway")), *_wrong_default_size(plain.get("default_size"), rates)]
    wrongs += _wrong_tier(plain.get("service_tier"))
    try:
        head = msgspec.convert(plain, _Table, builtin_types=DATES)
    except msgspec.ValidationError:
        return None, [*wrongs, *_wrong_fields(plain)]
    if head.effective_from and head.effective_to and head.effective_to <= head.effective_from:
        wrongs.append(
            Wrong("effective_to must be later than effective_from: it is the first day without", ["effective_to"])
        )
    if head.effective_from and head.shutdown_on and head.shutdown_on <= head.effective_from:
        wrongs.append(Wrong("shutdown_on must be later than effective_from: nothing ends first", ["shutdown_on"]))
    name = head.gateway or gateway
    if wrongs or name is None:
        return None, wrongs
    name = _as_in_urls(name)
    entry = Entry(
        id=_id(name, head, own=own),
        gateway=name,
        model=head.model,
        aliases=tuple(head.aliases),
        effective_from=head.effective_from,
        effective_to=head.effective_to,
        shutdown_on=head.shutdown_on,
        quality=_lower(head.quality),
        service_tier=_lower(head.service_tier),
        default_size=_lower(head.default_size),
        default_quality=_lower(head.default_quality),
        default_steps=head.default_steps,
        max_input_tokens=head.max_input_tokens,
        estimate=head.estimate,
        rates={unit: tuple(_restricted(rate, head.quality) for rate in found) for unit, found in rates.items()},
        currency=currency or USD,
        source=head.source,
        checked_on=head.checked_on,
        note=head.note,
        own=own,
        line=line,
    )
    return entry, []


def _wrong_fields(plain: Mapping[str, object]) -> Iterator[Wrong]:
    if "model" not in plain:
        yield Wrong('nothing says which model this is: write model = "NAME"')
    yield from wrong_fields(plain, _Table, {"model": "any"})


def _wrong_gateway(name: object) -> Iterator[Wrong]:
    if isinstance(name, str) and _URL.match(name):
        try:
            host = urlsplit(name if "://" in name else f"//{name}").netloc.rpartition("@")[2]
        except ValueError:
            host = ""
        written = f', such as "{host[:80].lower()}"' if host else ""
        yield Wrong(f"gateway: no gateway is named by a URL: write the host alone{written}", ["gateway"])


def _wrong_default_size(size: object, rates: Mapping[str, Sequence[Rate]]) -> Iterator[Wrong]:
    if not isinstance(size, str) or not 0 < len(size) <= LONGEST_WORD or is_size(size.lower()):
        return
    if not any(rate.size == size.lower() for found in rates.values() for rate in found):
        yield Wrong(
            f"default_size: no price of the entry is for {size!r}: {as_size(size)}, or a size of a table of the entry",
            ["default_size"],
        )


def _wrong_tier(tier: object) -> Iterator[Wrong]:
    if isinstance(tier, str) and tier and tier.strip().lower() in PLAIN_TIERS:
        yield Wrong(f"service_tier: {tier!r} is the price of a call that names no tier: leave it out", ["service_tier"])
    elif isinstance(tier, str) and tier != tier.strip():
        yield Wrong(f"service_tier: no call has spaces around it: write {tier.strip()!r}", ["service_tier"])


def _as_in_urls(gateway: str) -> str:
    """Return the name of a gateway; one of a host with letters beyond ASCII as attempts have it, from the URL."""
    if gateway.isascii() or "." not in gateway:
        return gateway
    try:
        return ascii_host(gateway)
    except ValueError:
        return gateway


def _id(gateway: str, head: _Table, *, own: bool) -> str:
    restricted = "".join(f"[{word}]" for word in (head.quality, head.service_tier) if word)
    since = f"@{head.effective_from}" if head.effective_from else ""
    return f"{'own:' if own else ''}{gateway}:{head.model}{restricted}{since}"


def _lower(word: str | None) -> str | None:
    return word.lower() if word else None


def _restricted(rate: Rate, quality: str | None) -> Rate:
    return msgspec.structs.replace(rate, quality=quality.lower()) if quality and not rate.quality else rate


class _Seen:
    """What may be said only once in a file."""

    def __init__(self) -> None:
        self._rates: set[tuple[object, ...]] = set()
        self._names: dict[tuple[str, str], str] = {}

    def add(self, entry: Entry) -> list[Wrong]:
        """Return what earlier entries said already."""
        wrongs: list[Wrong] = []
        for name in (entry.model, *entry.aliases):
            owner = self._names.setdefault((entry.gateway, name), entry.model)
            if owner != entry.model:
                key = "model" if name == entry.model else "aliases"
                wrongs.append(Wrong(f"{name!r} is a name of {owner!r} already", [key]))
        for unit, rates in entry.rates.items():
            keys = [
                (
                    entry.id,
                    entry.service_tier,
                    entry.estimate,
                    unit,
                    rate.size,
                    rate.pixels,
                    rate.quality,
                    rate.steps,
                )
                for rate in rates
            ]
            if not self._rates.isdisjoint(keys) or len(set(keys)) < len(keys):
                wrongs.append(
                    Wrong(
                        f"{unit} of {entry.model!r} has a price for this day already: give the newer one a later "
                        "effective_from",
                        [unit],
                    )
                )
            self._rates.update(keys)
        return wrongs
