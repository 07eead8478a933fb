"""What statements settle: attempts of which the ledger does not know what they cost, and those that are missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from pixelmeter.core.attempts.billing import fee_of
from pixelmeter.core.attempts.correction import corrected_to
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.result import Match, Result
from pixelmeter.core.reconciling.statement import Statement

__all__ = ["Settlement", "settled", "settlements"]

NEIGHBOURHOOD = 3_600_000_000
"""How far apart, in microseconds, attempts may be that show a report to have no gap between them: an hour."""


class Settlement(NamedTuple):
    """What an attempt cost, by a statement or because a complete report does not have it."""

    attempt: Ours
    amount: int
    """Nano-dollars."""
    statement: Statement | None
    """None where the report does not have it."""
    why: Literal["unknown", "accepted", "not_on_statement"]
    """Its cost was unknown; it was another one, and theirs is accepted; or no statement is about it."""


def settlements(result: Result, *, oldest: int, is_complete: bool, accept: bool) -> list[Settlement]:
    """Return what is settled, oldest first.

    `oldest` is the Unix time in microseconds since when a report may still change, `is_complete` says that it has every
    request that was charged, `accept` takes their amount where ours is another one. Sums settle nothing: nobody knows
    which of their attempts is meant.
    """
    found = list(_stated(result.matches, oldest, accept=accept))
    if is_complete:
        found += _missing(result)
    return sorted(found, key=lambda one: (one.attempt.started_at, one.attempt.id))


def settled(now: Attempt, settlement: Settlement) -> Attempt:
    """Return an attempt as it is by a settlement."""
    if settlement.amount:
        return corrected_to(now, settlement.amount)
    return msgspec.structs.replace(
        now,
        billing="not_billed",
        cost=0,
        cost_source="reconciled",
        cost_reason="not_on_statement" if settlement.statement is None else "reconciled_zero",
        at_risk=None,
        fee=fee_of(0, now.fee_rate),
    )


def _stated(matches: Sequence[Match], oldest: int, *, accept: bool) -> Iterator[Settlement]:
    for one in matches:
        if one.how == "sums":
            continue
        [statement], [attempt] = one.statements, one.attempts
        amount = statement.amount
        if amount is None or amount < 0:
            continue
        # A price that is not worked out yet may be shown as 0.
        is_final = amount > 0 or (
            max(statement.starts_at, attempt.started_at) <= oldest
            and (attempt.billing != "pending" or statement.status == "failed")
        )
        if attempt.is_open and is_final:
            yield Settlement(attempt, amount, statement, "unknown")
        elif accept and one.kind == "differs" and is_final:
            yield Settlement(attempt, amount, statement, "accepted")


def _missing(result: Result) -> Iterator[Settlement]:
    """Yield the attempts that were not charged, as their neighbours are on the statement and they are not.

    A report may lack an hour. So the last attempt before it and the first one after it that should be there must be
    there, each within an hour; and no row of that time may be left over, which could be it.
    """
    witnesses = sorted(
        [
            *((one.started_at, True) for match in result.matches for one in match.attempts if match.how != "sums"),
            *((one.started_at, False) for one in result.only_ours if one.missing == "lost"),
        ]
    )
    times = [at for at, _ in witnesses]
    spare = sorted(left.statement.starts_at for left in result.only_theirs)
    for one in result.only_ours:
        if one.missing != "at_risk":
            continue
        at = one.started_at
        after, before = bisect_right(times, at), bisect_left(times, at) - 1
        if before < 0 or after >= len(times):
            continue
        is_seen = (
            witnesses[before][1]
            and witnesses[after][1]
            and at - times[before] <= NEIGHBOURHOOD
            and times[after] - at <= NEIGHBOURHOOD
        )
        is_taken = bisect_left(spare, at - NEIGHBOURHOOD) < bisect_right(spare, at + NEIGHBOURHOOD)
        if is_seen and not is_taken:
            yield Settlement(one, 0, None, "not_on_statement")
