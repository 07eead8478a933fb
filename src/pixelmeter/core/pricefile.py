"""A price file in TOML: its text becomes entries, or problems that name the line and say what to write instead."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, NamedTuple

import msgspec

from pixelmeter.core.tariff import COUNTS, UNITS, Entry, Rate, atto

__all__ = ["Problem", "read"]

_PRICE = re.compile(r"\d{1,6}(\.\d{1,12})?", re.ASCII)
_RANGE = re.compile(r"(<=|>)?(\d{1,9})(px)?", re.ASCII)
_BY = ("", "size", "quality", "steps", "size_and_quality", "size_and_steps")
_HIGHEST = 1_000_000_000
_DATES = (datetime.date, datetime.datetime, datetime.time)
_HEADER = re.compile(r"\s*\[\[\s*price\s*\]\]")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
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


class _Wrong(Exception):
    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


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
    problems = [Problem(_line(lines, 0, key), _unknown(key, ("gateway", "price"))) for key in document]
    starts = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    entries: list[Entry] = []
    seen = _Seen()
    for table, start in zip(tables, [*starts, *[0] * (len(tables) - len(starts))], strict=False):
        try:
            entry = _entry(table, gateway, own=own, line=start + 1)
            seen.add(entry)
        except _Wrong as wrong:
            problems.append(Problem(_line(lines, start, wrong.key) if wrong.key else start + 1, str(wrong)))
        else:
            entries.append(entry)
    return entries, problems


def _line(lines: Sequence[str], start: int, key: str) -> int:
    pattern = re.compile(rf"\s*(\[\s*price\s*\.\s*)?[\"']?{re.escape(key)}[\"']?\s*[=\].]")
    return next((number + 1 for number in range(start, len(lines)) if pattern.match(lines[number])), start + 1)


def _unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"{key[:80]!r} is not a key of a price file" + (f": did you mean {close[0]}?" if close else "")


def _entry(table: Mapping[str, object], gateway: str | None, *, own: bool, line: int) -> Entry:
    rates: dict[str, list[Rate]] = {}
    plain: dict[str, object] = {}
    for key, value in table.items():
        unit, _, by = key.partition("_by_")
        if unit in UNITS or unit in COUNTS:
            rates.setdefault(unit, []).extend(_rates(key, unit, by, value))
        elif key in _Table.__struct_fields__:
            plain[key] = value
        else:
            raise _Wrong(_unknown(key, _KEYS), key)
    try:
        head = msgspec.convert(plain, _Table, builtin_types=_DATES)
    except msgspec.ValidationError as error:
        at = re.search(r"`\$\.(\w+)", str(error))
        message = re.sub(r" \| null| - at `.*`$", "", str(error))
        raise _Wrong(f"{at[1]}: {message}" if at else message, at[1] if at else None) from None
    name = head.gateway or gateway
    if name is None:
        raise _Wrong('nothing says whose price this is: write gateway = "NAME" at the top of the file or in the entry')
    if not rates:
        raise _Wrong("there is no price: give one, such as usd_per_image")
    if head.effective_from and head.effective_to and head.effective_to <= head.effective_from:
        raise _Wrong("effective_to must be later than effective_from: it is the first day without", "effective_to")
    return Entry(
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


def _id(gateway: str, head: _Table, *, own: bool) -> str:
    quality = f"[{head.quality}]" if head.quality else ""
    since = f"@{head.effective_from}" if head.effective_from else ""
    return f"{'own:' if own else ''}{gateway}:{head.model}{quality}{since}"


def _lower(word: str | None) -> str | None:
    return word.lower() if word else None


def _restricted(rate: Rate, quality: str | None) -> Rate:
    return msgspec.structs.replace(rate, quality=quality.lower()) if quality and not rate.quality else rate


def _rates(key: str, unit: str, by: str, value: object) -> list[Rate]:
    if by not in _BY:
        raise _Wrong(_unknown(key, [f"{unit}_by_{name}" for name in _BY if name]), key)
    if not by:
        return [_rate(key, unit, value)]
    first, _, second = by.partition("_and_")
    found: list[Rate] = []
    for word, inner in _table(key, value).items():
        if not second:
            found.append(_rate(key, unit, inner, **{first: word}))
            continue
        found += [_rate(key, unit, item, **{first: word, second: other}) for other, item in _table(key, inner).items()]
    return found


def _table(key: str, value: object) -> Mapping[str, object]:
    try:
        return msgspec.convert(value, _Prices, builtin_types=_DATES)
    except msgspec.ValidationError:
        raise _Wrong(f"{key} is a table: write [price.{key}] with a price for every word under it", key) from None


def _rate(
    key: str, unit: str, value: object, size: str | None = None, quality: str | None = None, steps: str | None = None
) -> Rate:
    if unit in COUNTS:
        if type(value) is not int or not 0 <= value <= UNITS["usd_per_megapixel"]:
            raise _Wrong(f"{key} must be a whole number of tokens", key)
        amount, text = value, str(value)
    else:
        if not isinstance(value, str) or not _PRICE.fullmatch(value):
            raise _Wrong(f'{key} must be USD in quotes with at most 12 decimals, such as "0.010"', key)
        amount, text = atto(value, UNITS[unit]), value
    if any(not word or len(word) > 40 for word in (size, quality, steps) if word is not None):
        raise _Wrong(f"{key}: sizes, qualities and steps have 1 to 40 characters", key)
    pixels = _range(key, size, "px") if size and (size[0] in "<>" or size.endswith("px")) else None
    return Rate(
        amount=amount,
        text=text,
        size=None if pixels else _lower(size),
        pixels=pixels,
        quality=_lower(quality),
        steps=_range(key, steps, "") if steps else None,
    )


def _range(key: str, word: str, unit: str) -> range:
    found = _RANGE.fullmatch(word)
    if not found or (found[3] or "") != unit:
        raise _Wrong(f'{key}: write {word[:40]!r} as "30{unit}", "<=30{unit}" or ">30{unit}"', key)
    number = int(found[2])
    return {"<=": range(number + 1), ">": range(number + 1, _HIGHEST)}.get(found[1], range(number, number + 1))


class _Seen:
    """What may be said only once in a file."""

    def __init__(self) -> None:
        self._rates: set[tuple[object, ...]] = set()
        self._names: dict[tuple[str, str], str] = {}

    def add(self, entry: Entry) -> None:
        for name in (entry.model, *entry.aliases):
            owner = self._names.setdefault((entry.gateway, name), entry.model)
            if owner != entry.model:
                raise _Wrong(f"{name!r} is a name of {owner!r} already", "model" if name == entry.model else "aliases")
        for unit, rates in entry.rates.items():
            for rate in rates:
                key = (entry.id, entry.estimate, unit, rate.size, rate.pixels, rate.quality, rate.steps)
                if key in self._rates:
                    raise _Wrong(
                        f"{unit} of {entry.model!r} has a price for this day already: give the newer one a later "
                        "effective_from",
                        unit,
                    )
                self._rates.add(key)
