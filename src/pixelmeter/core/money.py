"""Nano-dollars as text: exact for machines, aligned for people."""

from __future__ import annotations

from pixelmeter.core.record import NANO_PER_USD

__all__ = ["dollars", "exact_usd"]

_NANO_PER_SHOWN = 100_000


def exact_usd(nano: int) -> str:
    """Return dollars as a plain decimal number, every digit and no more: 10_000_000 is "0.01", 0 is "0"."""
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
