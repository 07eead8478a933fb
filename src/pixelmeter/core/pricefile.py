"""A price file in TOML: its text becomes entries, or problems that name the line and say what to write instead."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from pixelmeter.core.tariff import COUNTS, UNITS, Entry, Rate, atto

__all__ = ["Problem", "read"]

_PRICE = re.compile(r"\d{1,6}(\.\d{1,12})?", re.ASCII)
_MANY_DIGITS = re.compile(r"\d{7,}(\.\d*)?", re.ASCII)
_PLAIN_SIZE = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}|\d+(\.\d+)?(k|p|mp)?|\d{1,3}:\d{1,3}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_TWO_NUMBERS = re.compile(r"\s*(\d{1,5})\D{1,5}(\d{1,5})\s*(px)?", re.ASCII)
_URL = re.compile(r"\w+://|[^/]+[.:][^/]*/")
_RANGE = re.compile(r"(<=|>)?(\d{1,9})(px)?", re.ASCII)
_BY = ("", "size", "quality", "steps", "size_and_quality", "size_and_steps")
_LONGEST_WORD = 40
_HIGHEST = 1_000_000_000
_DATES = (datetime.date, datetime.datetime, datetime.time)
_HEADER = re.compile(r"\s*\[\[\s*price\s*\]\]")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_WORD)]
_Prices = Annotated[dict[str, object], msgspec.Meta(min_length=1)]


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
    default_steps: Annotated[int, msgspec.Meta(ge=1)] | None = None
    estimate: bool = False
    source: str = ""
    checked_on: datetime.date | None = None
    note: str = ""


# Has the type worked out while one thread imports this module: two that use it first at once end the process
# (msgspec 0.22.0).
msgspec.json.Decoder(_Table)

_KEYS = ("model", *(name for name in _Table.__struct_fields__ if name != "model"), *UNITS, *COUNTS)


class _Wrong(NamedTuple):
    """What is wrong with an entry; `keys` lead to it from the entry inwards, none where it is the entry itself."""

    message: str
    keys: Sequence[str] = ()


def read(text: str, *, own: bool = False) -> tuple[list[Entry], list[Problem]]:
    """Return the entries of a file and everything that is wrong with it; entries with a problem are missing."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        return [], [Problem(line, f"this is not TOML: {error}")]
    lines = text.split("\n")
    try:
        gateway = msgspec.convert(document.pop("gateway", None), _Text | None)
        tables = msgspec.convert(document.pop("price", []), list[dict[str, object]], builtin_types=_DATES)
    except msgspec.ValidationError as error:
        return [], [Problem(1, f'write gateway = "NAME" first, then [[price]] above every entry: {error}')]
    problems = [Problem(_line(lines, (key,)), _unknown(key, ("gateway", "price"))) for key in document]
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


def _unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"{key[:80]!r} is not a key of a price file" + (f": did you mean {close[0]}?" if close else "")


def _entry(
    table: Mapping[str, object], gateway: str | None, *, own: bool, line: int
) -> tuple[Entry | None, list[_Wrong]]:
    rates: dict[str, list[Rate]] = {}
    plain: dict[str, object] = {}
    wrongs: list[_Wrong] = []
    for key, value in table.items():
        unit, _, by = key.partition("_by_")
        if unit in UNITS or unit in COUNTS:
            rates.setdefault(unit, []).extend(_rates(key, unit, by, value, wrongs))
        elif key in _Table.__struct_fields__:
            plain[key] = value
        else:
            wrongs.append(_Wrong(_unknown(key, _KEYS), [key]))
    if not rates and not wrongs:
        wrongs.append(_Wrong("there is no price: give one, such as usd_per_image"))
    if not gateway and "gateway" not in plain:
        message = 'nothing says whose price this is: write gateway = "NAME" at the top of the file or in the entry'
        wrongs.append(_Wrong(message))
    wrongs += [*_wrong_gateway(plain.get("gateway")), *_wrong_default_size(plain.get("default_size"), rates)]
    try:
        head = msgspec.convert(plain, _Table, builtin_types=_DATES)
    except msgspec.ValidationError:
        return None, [*wrongs, *_wrong_fields(plain)]
    if head.effective_from and head.effective_to and head.effective_to <= head.effective_from:
        wrongs.append(
            _Wrong("effective_to must be later than effective_from: it is the first day without", ["effective_to"])
        )
    name = head.gateway or gateway
    if wrongs or name is None:
        return None, wrongs
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


def _wrong_fields(plain: Mapping[str, object]) -> Iterator[_Wrong]:
    # One by one: msgspec tells of the first alone.
    if "model" not in plain:
        yield _Wrong('nothing says which model this is: write model = "NAME"')
    for key, value in plain.items():
        try:
            msgspec.convert({"model": "any", key: value}, _Table, builtin_types=_DATES)
        except msgspec.ValidationError as error:
            yield _Wrong(f"{key}: " + re.sub(r" \| null| - at `.*`$", "", str(error)), [key])


def _wrong_gateway(name: object) -> Iterator[_Wrong]:
    if isinstance(name, str) and _URL.match(name):
        try:
            host = urlsplit(name if "://" in name else f"//{name}").netloc.rpartition("@")[2]
        except ValueError:
            host = ""
        written = f', such as "{host[:80].lower()}"' if host else ""
        yield _Wrong(f"gateway: no gateway is named by a URL: write the host alone{written}", ["gateway"])


def _wrong_default_size(size: object, rates: Mapping[str, Sequence[Rate]]) -> Iterator[_Wrong]:
    if not isinstance(size, str) or not 0 < len(size) <= _LONGEST_WORD or _PLAIN_SIZE.fullmatch(size.lower()):
        return
    if not any(rate.size == size.lower() for found in rates.values() for rate in found):
        yield _Wrong(
            f"default_size: no price of the entry is for {size!r}: {_as_size(size)}, or a size of a table of the entry",
            ["default_size"],
        )


def _as_size(word: str) -> str:
    numbers = _TWO_NUMBERS.fullmatch(word)
    if numbers:
        return f'write "{numbers[1]}x{numbers[2]}"'
    return 'write WIDTHxHEIGHT, such as "1024x1024", or a tier, such as "2K"'


def _id(gateway: str, head: _Table, *, own: bool) -> str:
    quality = f"[{head.quality}]" if head.quality else ""
    since = f"@{head.effective_from}" if head.effective_from else ""
    return f"{'own:' if own else ''}{gateway}:{head.model}{quality}{since}"


def _lower(word: str | None) -> str | None:
    return word.lower() if word else None


def _restricted(rate: Rate, quality: str | None) -> Rate:
    return msgspec.structs.replace(rate, quality=quality.lower()) if quality and not rate.quality else rate


def _rates(key: str, unit: str, by: str, value: object, wrongs: list[_Wrong]) -> Iterator[Rate]:
    """Yield the rates of a key; what is wrong with them goes to `wrongs`."""
    if by not in _BY:
        wrongs.append(_Wrong(_unknown(key, [f"{unit}_by_{name}" for name in _BY if name]), [key]))
        return
    kinds = by.split("_and_") if by else []
    for keys, price in _prices([key], value, len(kinds), wrongs):
        words: dict[str, str] = dict(zip(kinds, keys[1:], strict=True))
        found = [*_wrong_amount(keys, unit, price), *_wrong_words(keys, words)]
        wrongs += found
        if not found:
            yield _rate(unit, price, **words)


def _prices(
    keys: Sequence[str], value: object, depth: int, wrongs: list[_Wrong]
) -> Iterator[tuple[Sequence[str], object]]:
    """Yield the prices of a table that is so deep, with the keys that lead to them."""
    if not depth:
        yield keys, value
        return
    try:
        table = msgspec.convert(value, _Prices, builtin_types=_DATES)
    except msgspec.ValidationError:
        name = _name(keys)
        wrongs.append(_Wrong(f"{name} is a table: write [price.{name}] with a price for every word under it", keys))
        return
    for word, inner in table.items():
        yield from _prices([*keys, word], inner, depth - 1, wrongs)


def _name(keys: Sequence[str]) -> str:
    return ".".join(key[:80] for key in keys)


def _wrong_amount(keys: Sequence[str], unit: str, value: object) -> Iterator[_Wrong]:
    if unit in COUNTS:
        if type(value) is not int or not 0 <= value <= UNITS["usd_per_megapixel"]:
            yield _Wrong(f"{_name(keys)} must be a whole number of tokens", keys)
    elif isinstance(value, str) and _MANY_DIGITS.fullmatch(value):
        yield _Wrong(f"{_name(keys)} must be USD with at most six digits before the point", keys)
    elif not isinstance(value, str) or not _PRICE.fullmatch(value):
        yield _Wrong(f'{_name(keys)} must be USD in quotes with at most 12 decimals, such as "0.010"', keys)


def _wrong_words(keys: Sequence[str], words: Mapping[str, str]) -> Iterator[_Wrong]:
    for kind, word in words.items():
        if not word or len(word) > _LONGEST_WORD:
            yield _Wrong(f"{keys[0]}: sizes, qualities and steps have 1 to {_LONGEST_WORD} characters", keys)
        elif kind == "steps" or (kind == "size" and _counts_pixels(word)):
            unit = "px" if kind == "size" else ""
            if _range(word, unit) is None:
                yield _Wrong(f'{keys[0]}: write {word!r} as "30{unit}", "<=30{unit}" or ">30{unit}"', keys)
        elif kind == "size" and word.lower() == "auto":
            yield _Wrong(f'{keys[0]}: "auto" leaves the size open, so no call has this price: leave it out', keys)
        elif kind == "size" and not _PLAIN_SIZE.fullmatch(word.lower()) and not _WORD.fullmatch(word.lower()):
            yield _Wrong(f"{keys[0]}: {word!r} is no size: {_as_size(word)}", keys)


def _rate(
    unit: str, value: object, size: str | None = None, quality: str | None = None, steps: str | None = None
) -> Rate:
    text = str(value)
    pixels = _range(size, "px") if size and _counts_pixels(size) else None
    return Rate(
        amount=int(text) if unit in COUNTS else atto(text, UNITS[unit]),
        text=text,
        size=None if pixels else _lower(size),
        pixels=pixels,
        quality=_lower(quality),
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


class _Seen:
    """What may be said only once in a file."""

    def __init__(self) -> None:
        self._rates: set[tuple[object, ...]] = set()
        self._names: dict[tuple[str, str], str] = {}

    def add(self, entry: Entry) -> list[_Wrong]:
        """Return what earlier entries said already."""
        wrongs: list[_Wrong] = []
        for name in (entry.model, *entry.aliases):
            owner = self._names.setdefault((entry.gateway, name), entry.model)
            if owner != entry.model:
                key = "model" if name == entry.model else "aliases"
                wrongs.append(_Wrong(f"{name!r} is a name of {owner!r} already", [key]))
        for unit, rates in entry.rates.items():
            keys = [
                (entry.id, entry.estimate, unit, rate.size, rate.pixels, rate.quality, rate.steps) for rate in rates
            ]
            if not self._rates.isdisjoint(keys) or len(set(keys)) < len(keys):
                wrongs.append(
                    _Wrong(
                        f"{unit} of {entry.model!r} has a price for this day already: give the newer one a later "
                        "effective_from",
                        [unit],
                    )
                )
            self._rates.update(keys)
        return wrongs
