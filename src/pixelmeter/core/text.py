"""Text and numbers from outside, within bounds; and amounts as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pixelmeter.core.attempts.record import NANO_PER_USD

__all__ = ["dollars", "exact_usd", "not_a_formula", "plural"]

NAME_LIMIT = 200
ERROR_LIMIT = 100
_NUMBER_LIMIT = 40
_COST_LIMIT = 1_000_000 * NANO_PER_USD
_BILL_LIMIT = 1_000_000_000 * NANO_PER_USD
_COUNT_LIMIT = 1_000_000_000
_NUMBER = re.compile(r"\+?([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,2}))?")
_SIZE = re.compile("([0-9.]+) *([a-zA-Z]*)")
_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{rest}": base**power
    for power, prefix in enumerate("kmgt", 1)
    for rest, base in (("", 1024), ("i", 1024), ("ib", 1024), ("b", 1000))
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_POWERS = tuple(10**power for power in range(64))


def bounded(value: object, limit: int = NAME_LIMIT) -> str | None:
    """Return printable text of at most `limit` characters; None for anything but a non-empty string.

    The text of a number (`NumberText`) is none: it is not what was meant, and cannot be spooled.
    """
    if type(value) is not str or not value:
        return None
    if len(value) > limit:
        value = value[:limit]
    return value if value.isprintable() else "".join(c if c.isprintable() else "?" for c in value)


def not_a_formula(text: str) -> str:
    """Return text for a cell of a CSV file: where a spreadsheet would take it for a formula, with a `'` before it."""
    return "'" + text if text.startswith(_FORMULA) else text


def count(value: object) -> int | None:
    """Return a whole number from 0 to a billion; None for anything else, a bool included.

    No call has so many tokens, and a ledger can add up nine billion of the largest.
    """
    if type(value) is int and 0 <= value <= _COUNT_LIMIT:
        return value
    return None


def whole(text: str) -> int | None:
    """Return the whole number from 0 to a billion that the text of a JSON number stands for, such as 50.0 or 5e1.

    None for any other: 50.5, a negative, more than 40 characters, an exponent outside -18 to 12.
    """
    number = _parts(text)
    if number is None:
        return None
    digits, power = number
    scale = _POWERS[abs(power)]
    if power >= 0:
        return count(digits * scale)
    return None if digits % scale else count(digits // scale)


def bytes_in(text: str) -> int | None:
    """Return how many bytes a size such as 200M, 1.5GiB or 2000000000 is; None for what is no size.

    KB, MB, GB and TB are powers of 1,000, the others of 1,024.
    """
    found = _SIZE.fullmatch(text)
    unit = None if found is None else _UNITS.get(found[2].lower())
    return None if found is None or unit is None else scaled(found[1], unit)


def scaled(text: str, factor: int, divisor: int = 1) -> int | None:
    """Return a decimal number x factor / divisor, half-even; None if it is not a sane amount.

    The text of a number of cents x 10_000_000 is nano-dollars, of 1e-10 USD ticks it is those x 1 / 10. More than 40
    characters, an exponent outside -18 to 12, a negative, NaN or a result over 10^15 (a million dollars) are not sane:
    they are refused before any conversion, because `int(Decimal("1e299999"))` freezes a process for seconds.
    """
    return summed((text,), factor, divisor)


def summed(texts: Iterable[str], factor: int, divisor: int = 1) -> int | None:
    """Return the sum of decimal numbers x factor / divisor, half-even, rounded once; None if one is no sane amount."""
    total, lowest = 0, 0
    for text in texts:
        number = _parts(text.strip())
        if number is None:
            return None
        digits, power = number
        if power < lowest:
            total *= 10 ** (lowest - power)
            lowest = power
        total += digits * 10 ** (power - lowest)
    amount = half_even(total * factor, divisor * 10**-lowest)
    return None if amount > _COST_LIMIT else amount


def signed(text: str, factor: int, divisor: int = 1) -> int | None:
    """Return a decimal number of either sign x factor / divisor, half-even; None if it is not a sane amount.

    For what statements have, where an amount may be a credit, or the sum of a month: up to 10^18, a billion dollars.
    """
    text = text.strip()
    is_negative = text.startswith("-") and not text.startswith("-+")
    number = _parts(text[1:] if is_negative else text)
    if number is None:
        return None
    digits, power = number
    amount = half_even(digits * factor * 10 ** max(power, 0), divisor * 10 ** max(-power, 0))
    if amount > _BILL_LIMIT:
        return None
    return -amount if is_negative else amount


def _parts(text: str) -> tuple[int, int] | None:
    """Return the digits of a decimal number and the power of ten that they stand before; None if it is not sane."""
    number = _NUMBER.fullmatch(text) if len(text) <= _NUMBER_LIMIT else None
    if number is None:
        return None
    integer, fraction, exponent = number.groups("")
    power = int(exponent or 0)
    if not (integer or fraction) or not -18 <= power <= 12:
        return None
    return int(integer + fraction), power - len(fraction)


def half_even(dividend: int, divisor: int) -> int:
    """Return the quotient of two whole numbers, rounded half to even."""
    quotient, rest = divmod(dividend, divisor)
    rest *= 2
    return quotient + (rest > divisor or (rest == divisor and quotient % 2))


_NANO_PER_SHOWN = 100_000


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: "1 attempt", "1,200 attempts"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def exact_usd(nano: int) -> str:
    """Return dollars as a plain decimal number, every digit and no more: 10_000_000 is "0.01", 0 is "0"."""
    if not nano:
        return "0"
    whole, fraction = divmod(abs(nano), NANO_PER_USD)
    digits = f"{whole}.{fraction:09}".rstrip("0").rstrip(".")
    return f"-{digits}" if nano < 0 else digits


def dollars(nano: int) -> str:
    """Return dollars to read, to four places: "$1,234.5678"; an amount too small for them is "<$0.0001"."""
    shown, rest = divmod(abs(nano), _NANO_PER_SHOWN)
    shown += rest * 2 > _NANO_PER_SHOWN or (rest * 2 == _NANO_PER_SHOWN and shown % 2 == 1)
    sign = "-" if nano < 0 else ""
    if nano and not shown:
        return f"<{sign}$0.0001"
    whole, fraction = divmod(shown, NANO_PER_USD // _NANO_PER_SHOWN)
    return f"{sign}${whole:,}.{fraction:04}"
