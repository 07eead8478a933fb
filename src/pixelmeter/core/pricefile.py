"""A price file in TOML: its text becomes entries, or problems that name the line and say what to write instead."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from pixelmeter.core.hosts import ascii_host
from pixelmeter.core.pricetable import LONGEST_WORD, Wrong, as_size, is_size, rates_of, unknown
from pixelmeter.core.tariff import COUNTS, UNITS, Entry, Rate
from pixelmeter.core.toml import TomlError, parse

__all__ = ["Problem", "read"]

_URL = re.compile(r"\w+://|[^/]+[.:][^/]*/")
_DATES = (datetime.date, datetime.datetime, datetime.time)
_HEADER = re.compile(r"\s*\[\[\s*price\s*\]\]")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_WORD)]


class Problem(NamedTuple):
    """What is wrong with a price file, and where."""

    line: int
    message: str


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: _Text
    gateway: _Text | None = None
    aliases: list[_Text] = []
    effective_from: datetime.date | None = None
    effective_to: datetime.date | None = None
    quality: _Word | None = None
    default_size: _Word | None = None
    default_quality: _Word | None = None
    default_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    estimate: bool = False
    source: str = ""
    checked_on: datetime.date | None = None
    note: str = ""


# Has the type worked out while one thread imports this module: two that use it first at once end the process
# (msgspec 0.22.0).
msgspec.json.Decoder(_Table)

_KEYS = ("model", *(name for name in _Table.__struct_fields__ if name != "model"), *UNITS, *COUNTS)


def read(text: str, *, own: bool = False) -> tuple[list[Entry], list[Problem]]:
    """Return the entries of a file and everything that is wrong with it; entries with a problem are missing."""
    try:
        document = parse(text)
    except TomlError as error:
        return [], [Problem(error.line, str(error))]
    lines = text.split("\n")
    try:
        gateway = msgspec.convert(document.pop("gateway", None), _Text | None)
        tables = msgspec.convert(document.pop("price", []), list[dict[str, object]], builtin_types=_DATES)
    except msgspec.ValidationError as error:
        return [], [Problem(1, f'write gateway = "NAME" first, then [[price]] above every entry: {error}')]
    problems = [Problem(_line(lines, (key,)), unknown(key, ("gateway", "price"))) for key in document]
    problems += [Problem(_line(lines, wrong.keys), wrong.message) for wrong in _wrong_gateway(gateway)]
    starts = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    if len(starts) != len(tables):
        # Entries that are written as one array can be anywhere.
        starts = [0] * len(tables)
    entries: list[Entry] = []
    seen = _Seen()
    for number, table in enumerate(tables):
        start = starts[number]
        end = next((later for later in starts[number + 1 :] if later > start), len(lines))
        entry, wrongs = _entry(table, gateway, own=own, line=start + 1)
        if entry:
            wrongs = seen.add(entry)
        problems += [Problem(start + _line(lines[start:end], wrong.keys), wrong.message) for wrong in wrongs]
        if entry and not wrongs:
            entries.append(entry)
    return entries, problems


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
    wrongs: list[Wrong] = []
    for key, value in table.items():
        unit, _, by = key.partition("_by_")
        if unit in UNITS or unit in COUNTS:
            rates.setdefault(unit, []).extend(rates_of(key, unit, by, value, wrongs))
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
    try:
        head = msgspec.convert(plain, _Table, builtin_types=_DATES)
    except msgspec.ValidationError:
        return None, [*wrongs, *_wrong_fields(plain)]
    if head.effective_from and head.effective_to and head.effective_to <= head.effective_from:
        wrongs.append(
            Wrong("effective_to must be later than effective_from: it is the first day without", ["effective_to"])
        )
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
        quality=_lower(head.quality),
        default_size=_lower(head.default_size),
        default_quality=_lower(head.default_quality),
        default_steps=head.default_steps,
        estimate=head.estimate,
        rates={unit: tuple(_restricted(rate, head.quality) for rate in found) for unit, found in rates.items()},
        source=head.source,
        checked_on=head.checked_on,
        note=head.note,
        own=own,
        line=line,
    )
    return entry, []


def _wrong_fields(plain: Mapping[str, object]) -> Iterator[Wrong]:
    # One by one: msgspec tells of the first alone.
    if "model" not in plain:
        yield Wrong('nothing says which model this is: write model = "NAME"')
    for key, value in plain.items():
        try:
            msgspec.convert({"model": "any", key: value}, _Table, builtin_types=_DATES)
        except msgspec.ValidationError as error:
            yield Wrong(f"{key}: " + re.sub(r" \| null| - at `.*`$", "", str(error)), [key])


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


def _as_in_urls(gateway: str) -> str:
    """Return the name of a gateway; one of a host with letters beyond ASCII as attempts have it, from the URL."""
    if gateway.isascii() or "." not in gateway:
        return gateway
    try:
        return ascii_host(gateway)
    except ValueError:
        return gateway


def _id(gateway: str, head: _Table, *, own: bool) -> str:
    quality = f"[{head.quality}]" if head.quality else ""
    since = f"@{head.effective_from}" if head.effective_from else ""
    return f"{'own:' if own else ''}{gateway}:{head.model}{quality}{since}"


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
                (entry.id, entry.estimate, unit, rate.size, rate.pixels, rate.quality, rate.steps) for rate in rates
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
