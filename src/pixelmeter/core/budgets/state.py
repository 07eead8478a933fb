"""How far a budget is used up: what is spent, what is left, and where it goes from here."""

from __future__ import annotations

import msgspec

from pixelmeter.core.budgets.budget import Rule, Span
from pixelmeter.core.reporting.report import known
from pixelmeter.core.text import half_even

__all__ = ["Reset", "State"]

_EARLY = 20
_PARTS = 1_000_000


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in one span, for one of its values. Money is nano-dollars, times are Unix microseconds."""

    rule: Rule
    value: str
    """Of what the budget has one each; "" without that."""
    span: Span
    at: int
    """When this was so."""
    attempts: int = 0
    blocked: int = 0
    """Refused by a budget; they are not in `attempts`."""
    unknown_cost_attempts: int = 0
    cost: int = 0
    """As far as it is known."""
    at_risk: int = 0
    """As far as it can be estimated."""
    credited: int = 0
    """What resets took off."""
    reserved: int = 0
    """What processes may spend without asking, calls that are under way included."""
    overrun: int = 0
    """What attempts cost beyond what was reserved for them."""
    overruns: int = 0
    """How many attempts did."""
    leases: int = 0
    resets: int = 0
    notices: int = 0
    """How many thresholds were passed."""

    @property
    def limit(self) -> int:
        """How much may be spent."""
        return self.rule.limit

    @property
    def spent(self) -> int:
        """Cost and what is at risk, without what resets took off. What is unknown counts as nothing."""
        return max(self.cost + self.at_risk - self.credited, 0)

    @property
    def known_spent(self) -> int | None:
        """What is spent as far as it is known; None where nothing of it is."""
        return known(self.spent, self.unknown_cost_attempts)

    @property
    def known_cost(self) -> int | None:
        """The cost as far as it is known; None where nothing of it is."""
        return known(self.cost, self.unknown_cost_attempts)

    @property
    def known_at_risk(self) -> int | None:
        """What is at risk, likewise."""
        return known(self.at_risk, self.unknown_cost_attempts)

    @property
    def room(self) -> int:
        """What is left; below zero where more is spent than the limit."""
        return self.limit - self.spent - self.reserved

    @property
    def is_used_up(self) -> bool:
        """Whether the limit is spent."""
        return self.spent >= self.limit

    @property
    def used(self) -> float | None:
        """Which part of the limit is spent, to a millionth; None where the limit is nothing."""
        return half_even(self.spent * _PARTS, self.limit) / _PARTS if self.limit else None

    @property
    def forecast(self) -> int | None:
        """What will be spent at the end of the span, if it goes on as it did since the span began.

        None for a budget without an end, and until a twentieth of the span is over: so early it would say anything.
        """
        if self.span.end is None:
            return None
        length, elapsed = self.span.end - self.span.start, min(self.at, self.span.end) - self.span.start
        if elapsed * _EARLY < length:
            return None
        return self.spent + half_even((self.cost + self.at_risk) * (length - elapsed), elapsed)


class Reset(msgspec.Struct, frozen=True):
    """What was taken off a budget by hand, for one of its values and in one span."""

    number: int
    budget: str
    value: str
    start: int
    """When the span begins."""
    amount: int
    made_at: int
    made_by: str | None
    why: str | None
