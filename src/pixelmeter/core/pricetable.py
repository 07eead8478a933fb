"""The prices of an entry in a price file: one for all calls, or a table by size, quality or steps."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, NamedTuple

import msgspec

from pixelmeter.core.currency import PriceKey, decimals_of
from pixelmeter.core.tariff import COUNTS, UNITS, Rate, atto

__all__ = ["DATES", "LONGEST_WORD", "Wrong", "as_size", "is_size", "rates_of", "unknown", "wrong_fields"]

DATES = (datetime.date, datetime.datetime, datetime.time)
"""What TOML has read already."""

LONGEST_WORD = 40
"""Characters of a size, a quality or a number of steps."""

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
