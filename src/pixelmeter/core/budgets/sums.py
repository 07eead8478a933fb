"""What attempts and adjustments add to the sums of budgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Rule, counted

__all__ = ["SUMS", "Counted", "Moved", "Sums", "Usage", "moved_by", "sums_of", "tags_of"]


class Counted(NamedTuple):
    """A budget of the ledger, and since when attempts are counted towards it."""

    rule: Rule
    since: int
    """Unix time in microseconds: attempts that started before do not count."""


@dataclass(slots=True)
class Sums:
    """What is added to the sums of one budget, value and span; money in nano-dollars."""

    budget: str
    value: str
    start: int
    """When the span begins: Unix time in microseconds."""
    attempts: int = 0
    blocked: int = 0
    """Those that a budget refused; they are no attempts of `attempts`."""
    unknown_cost_attempts: int = 0
    cost: int = 0
    at_risk: int = 0

    def amounts(self) -> tuple[int, ...]:
        """Return the values of SUMS."""
        found: tuple[int, ...] = _amounts(self)
        return found


SUMS = tuple(one.name for one in fields(Sums))[3:]
"""The names of the sums, in order."""

_amounts = attrgetter(*SUMS)
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


class Usage(NamedTuple):
    """How far a budget is used up in one span; money in nano-dollars."""

    limit: int
    spent: int
    """Cost with adjustments, and what is at risk, since the latest reset."""
    reserved: int
    """What processes may spend without asking, calls that are under way included."""

    @property
    def room(self) -> int:
        """What is left."""
        return self.limit - self.spent - self.reserved


class Moved(NamedTuple):
    """What a change of an attempt adds to what is spent, in nano-dollars; negative where it cost less."""

    budget: str
    value: str
    start: int
    at: int
    """When the attempt started: Unix time in microseconds."""
    amount: int


@lru_cache(maxsize=1024)
def tags_of(text: str) -> Mapping[str, str]:
    """Return the tags of an attempt."""
    return _decode_tags(text)


def sums_of(budgets: Sequence[Counted], attempts: Iterable[Attempt], changes: Iterable[Change] = ()) -> list[Sums]:
    """Return what attempts, and changes of attempts, add to the sums of budgets: one entry for each row that changes.

    A change counts in the span of its attempt.
    """
    if not budgets:
        return []
    found: dict[tuple[str, str, int], Sums] = {}
    # Attempts that agree in these count alike.
    values: dict[tuple[Any, ...], Sequence[str | None]] = {}
    for attempt in attempts:
        _add(found, values, budgets, attempt, 1)
    for change in changes:
        _add(found, values, budgets, change.before, -1)
        _add(found, values, budgets, change.after, 1)
    return sorted(found.values(), key=lambda sums: (sums.budget, sums.value, sums.start))


def moved_by(budgets: Sequence[Counted], changes: Iterable[Change]) -> list[Moved]:
    """Return what changes of attempts add to what is spent of budgets."""
    found: list[Moved] = []
    for change in changes if budgets else ():
        amounts: dict[tuple[str, str, int], int] = {}
        for one, sign in ((change.before, -1), (change.after, 1)):
            for rule, since in budgets:
                value = rule.value_of(one, tags_of(one.tags))
                if value is not None and one.started_at >= since and counted(one):
                    key = (rule.name, value, rule.span_of(one.started_at).start)
                    amounts[key] = amounts.get(key, 0) + sign * counted(one)
        at = change.after.started_at
        found += [Moved(*key, at, amount) for key, amount in sorted(amounts.items()) if amount]
    return found


def _add(
    found: dict[tuple[str, str, int], Sums],
    values: dict[tuple[Any, ...], Sequence[str | None]],
    budgets: Sequence[Counted],
    one: Attempt,
    sign: int,
) -> None:
    if one.byok:
        return
    alike = (one.gateway, one.operation, one.requested_model, one.model, one.tags)
    known = values.get(alike)
    if known is None:
        tags = tags_of(one.tags)
        known = values[alike] = [each.rule.value_of(one, tags) for each in budgets]
    for (rule, since), value in zip(budgets, known, strict=True):
        if value is None or one.started_at < since:
            continue
        key = (rule.name, value, rule.span_of(one.started_at).start)
        sums = found.get(key)
        if sums is None:
            sums = found[key] = Sums(*key)
        if one.outcome == "blocked":
            sums.blocked += sign
            continue
        sums.attempts += sign
        if one.cost is None:
            sums.unknown_cost_attempts += sign
        else:
            sums.cost += sign * one.cost
        if one.at_risk:
            sums.at_risk += sign * one.at_risk
