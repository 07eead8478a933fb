"""One call: its attempts as they are now, what became of each, and how its cost was worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.state import Reset
from pixelmeter.core.pricing.parts import Part
from pixelmeter.core.text import half_even
from pixelmeter.ledger.attempts import adjusted_attempts_of, attempts
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.reports.budgets import resets_of_attempts
from pixelmeter.reports.history import changes_of

__all__ = ["MOST_ATTEMPTS", "Arithmetic", "Call", "Product", "Told", "arithmetic", "call_of", "one_call"]

MOST_ATTEMPTS = 200
"""How many attempts of a call are told of."""

_WHOLE = 1_000_000
_ATTO_PER_USD = 10**18
_NANO = 10**15
_decode = msgspec.json.Decoder(list[Part]).decode


class Product(NamedTuple):
    """A quantity times a price."""

    part: Part
    usd: str
    """What it comes to, exact, with the surcharge."""


class Arithmetic(NamedTuple):
    """How one of the two costs by the price book was worked out."""

    cost: str
    """Its name in the ledger: token_cost or image_cost."""
    products: Sequence[Product]
    amount: int
    """Their sum, rounded half to even to nano-dollars."""


class Told(NamedTuple):
    """All that is known of an attempt."""

    attempt: Attempt
    changes: Sequence[Change]
    resets: Sequence[Reset]


class Call(NamedTuple):
    """A call."""

    attempts: Sequence[Told]
    """The oldest first."""
    is_cut: bool
    """Whether it has more than `MOST_ATTEMPTS`, of which these are the newest."""


def one_call(reader: LedgerReader, call_id: str) -> Call:
    """Return a call, which has no attempts where the ledger does not know it."""
    newest = attempts(reader, filters=Filters(call_id=call_id), limit=MOST_ATTEMPTS + 1)
    found = newest[:MOST_ATTEMPTS][::-1]
    changes = changes_of(reader, [one.id for one in found])
    resets = resets_of_attempts(reader, found)
    told = [Told(one, changes.get(one.id, ()), resets.get(one.id, ())) for one in found]
    return Call(told, len(newest) > MOST_ATTEMPTS)


def call_of(reader: LedgerReader, attempt_id: str) -> str | None:
    """Return the id of the call that an attempt is of; None where the ledger has no such attempt."""
    return next((one.call_id for one in adjusted_attempts_of(reader, [attempt_id])), None)


def arithmetic(attempt: Attempt) -> list[Arithmetic]:
    """Return how each cost by the price book was worked out, where the ledger keeps that."""
    if attempt.priced_parts is None:
        return []
    parts = _decode(attempt.priced_parts)
    found: list[Arithmetic] = []
    for name in ("token_cost", "image_cost"):
        if getattr(attempt, name) is None:
            continue
        own = [part for part in parts if part.of in (name, "both")]
        amounts = [int(part.atto) * (_WHOLE + part.surcharge) for part in own]
        products = [Product(part, _usd(amount)) for part, amount in zip(own, amounts, strict=True)]
        found.append(Arithmetic(name, products, half_even(sum(amounts), _NANO)))
    return found


def _usd(amount: int) -> str:
    """Return millionths of an atto-dollar as exact dollars."""
    whole, fraction = divmod(amount, _ATTO_PER_USD * _WHOLE)
    return f"{whole}.{fraction:024}".rstrip("0").rstrip(".")
