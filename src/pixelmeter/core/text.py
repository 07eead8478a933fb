"""Text and numbers from outside, bounded before they are used."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

from pixelmeter.core.record import NANO_PER_USD

NAME_LIMIT = 200
ERROR_LIMIT = 100
_NUMBER_LIMIT = 40
_COST_LIMIT = 1_000_000 * NANO_PER_USD
_COUNT_LIMIT = 2**53
_NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2}))?")
# Not the host's context: its precision is its own affair.
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)


def bounded(value: object, limit: int = NAME_LIMIT) -> str | None:
    """Return printable text of at most `limit` characters; None for anything but a non-empty string."""
    if not isinstance(value, str) or not value:
        return None
    if len(value) > limit:
        value = value[:limit]
    return value if value.isprintable() else "".join(c if c.isprintable() else "?" for c in value)


def count(value: object) -> int | None:
    """Return a whole number from 0 to 2**53; None for anything else, a bool included."""
    if type(value) is int and 0 <= value <= _COUNT_LIMIT:
        return value
    return None


def nano_dollars(text: str, unit_nano: int, unit_divisor: int = 1) -> int | None:
    """Return the nano-dollars of a decimal number of units, half-even; None if it is not a sane amount.

    A unit is `unit_nano / unit_divisor` nano-dollars: a cent is 10_000_000 / 1, a 1e-10 USD tick is 1 / 10.
    More than 40 characters, an exponent outside -18 to 12, a negative, NaN or more than a million dollars are not sane:
    they are refused before any conversion, because `int(Decimal("1e299999"))` freezes a process for seconds.
    """
    text = text.strip()
    number = _NUMBER.fullmatch(text) if len(text) <= _NUMBER_LIMIT else None
    if number is None or not -18 <= int(number[1] or 0) <= 12:
        return None
    scaled = _EXACT.divide(_EXACT.multiply(Decimal(text), Decimal(unit_nano)), Decimal(unit_divisor))
    return None if scaled > _COST_LIMIT else int(scaled.to_integral_value(ROUND_HALF_EVEN))
