"""The result of a reconciliation in numbers: a row of the ledger."""

from __future__ import annotations

import msgspec

__all__ = ["COUNTS", "FIELDS", "SUMS", "Reconciliation"]


class Reconciliation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a gateway's report of a month and the ledger came to. Money is in integer nano-dollars.

    Ledger columns have these names in this order.
    """

    gateway: str
    source: str
    month: str
    """A UTC month, such as "2026-11"."""
    number: int
    """1 for the first one of a gateway, source and month, then 2, 3 …: the latest one holds."""
    run_at: int
    """Unix time in microseconds, UTC."""
    made_by: str | None
    version: str
    statements: int
    """How many statements the month has."""
    attempts: int
    """How many attempts it has."""
    equal: int
    """How many matches agree: a match is a statement with its attempt, or the sums of a day and model."""
    differs: int
    """How many matches do not."""
    unsettled: int
    """How many matches have an amount on one side only."""
    only_ours: int
    """How many attempts no statement is about."""
    only_theirs: int
    """How many statements no attempt belongs to."""
    too_young: int
    """How many statements and attempts are too young to be missed."""
    not_charged: int
    """How many attempts cost nothing and are rightly on no statement."""
    byok: int
    """How many attempts were made with the caller's own key, and are left out of all sums."""
    adjusted: int
    """How many attempts this reconciliation has adjusted."""
    theirs: int
    """The sum of the statements, as far as their amounts are known."""
    ours: int
    """The known cost of the attempts."""
    matched: int
    """What part of `theirs` belongs to attempts."""
    differing: int
    """The sum of all differences of matches, each without its sign."""
    drift: int
    """Ours - theirs of all matches, where both are known."""
    coverage: int | None
    """`matched` / `theirs` in parts per million, rounded down; None where `theirs` is nothing."""


FIELDS: tuple[str, ...] = Reconciliation.__struct_fields__
_FIRST = FIELDS.index("statements")
_MONEY = FIELDS.index("theirs")
COUNTS: tuple[str, ...] = FIELDS[_FIRST:_MONEY]
"""The fields that count something."""
SUMS: tuple[str, ...] = FIELDS[_MONEY : FIELDS.index("coverage")]
"""The fields that are sums of money."""
