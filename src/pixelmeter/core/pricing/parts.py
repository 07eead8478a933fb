"""What a cost by the book is made of, as text to keep: enough to explain it, and to price it anew."""

from __future__ import annotations

from typing import Literal

import msgspec

from pixelmeter.core.pricing.quote import Line, Quote
from pixelmeter.core.pricing.tariff import TOKEN_UNITS

__all__ = ["Part", "priced_parts"]

# An attempt must fit into a frame of the spool, and names in a price file may have any length.
_LONGEST = 16_384
_OF_TOKENS = frozenset[str](TOKEN_UNITS)


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product of a cost.

    A cost in nano-dollars is the sum of `atto` x (1,000,000 + `surcharge`) over its parts / 10^15, rounded half to
    even.
    """

    of: Literal["token_cost", "image_cost", "both"]
    """Which cost it is in; another model's work on the answer is in both."""
    model: str
    """As the price book names it."""
    unit: str
    """The key of the price, such as "usd_per_image"."""
    quantity: int
    price: str
    """USD for that unit."""
    atto: str
    """Atto-dollars (1e-18 USD), a whole number, before the surcharge."""
    surcharge: int = 0
    """Parts per million that a regional host adds; left out where it is nothing."""
    price_id: str
    """The entry of the price book."""


_encode = msgspec.json.Encoder().encode


def priced_parts(quote: Quote) -> str | None:
    """Return the parts of both costs of a quote as a JSON array of `Part`.

    None where it has neither cost, and where the text would not fit beside the rest of an attempt.
    """
    if quote.token_cost is None and quote.image_cost is None:
        return None
    text = _encode([*map(_part, quote.lines)]).decode()
    return text if len(text) <= _LONGEST else None


def _part(line: Line) -> Part:
    return Part(
        of="both" if line.is_beside else "token_cost" if line.unit in _OF_TOKENS else "image_cost",
        model=line.entry.model,
        unit=line.unit,
        quantity=line.quantity,
        price=line.price,
        atto=str(line.atto),
        surcharge=line.surcharge,
        price_id=line.entry.id,
    )
