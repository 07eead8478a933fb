"""What a reconciliation found: every statement and every attempt in exactly one class, and the sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Literal, NamedTuple

from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.statement import Statement

__all__ = ["CLASSES", "Class", "How", "Match", "OnlyTheirs", "Result"]

How = Literal["request_id", "job_id", "attempt_id", "time", "sums"]
"""What a match goes by: the gateway's name of a request or a job, our own id, model and time, or the sums of a day."""
Class = Literal["equal", "differs", "unsettled", "only_ours", "only_theirs", "too_young"]
CLASSES: tuple[Class, ...] = ("equal", "differs", "unsettled", "only_ours", "only_theirs", "too_young")


class Match(NamedTuple):
    """Statements and the attempts that they are about: one and one, unless it goes by sums."""

    how: How
    statements: tuple[Statement, ...]
    attempts: tuple[Ours, ...]
    theirs: int | None
    """Nano-dollars; None where no statement has an amount."""
    ours: int | None
    """Nano-dollars, as far as they are known; None where none of the attempts has a known cost."""
    day: date
    """In UTC; the first one where it goes by the sums of a month."""
    model: str | None

    @property
    def kind(self) -> Literal["equal", "differs", "unsettled"]:
        """Whether both amounts are the same; `unsettled` where one of them is unknown.

        What failed on their side without an amount, and cost nothing on ours, is the same.
        """
        if self.theirs is None and self.ours == 0 and all(one.status == "failed" for one in self.statements):
            return "equal"
        if self.theirs is None or self.ours is None:
            return "unsettled"
        return "equal" if self.theirs == self.ours else "differs"

    @property
    def unknown(self) -> int:
        """How many of the attempts have no known cost."""
        return sum(one.cost is None for one in self.attempts)

    @property
    def drift(self) -> int:
        """Ours - theirs; 0 where one of them is unknown."""
        return 0 if self.theirs is None or self.ours is None else self.ours - self.theirs

    @property
    def matched(self) -> int:
        """What part of their amount belongs to attempts."""
        if self.theirs is None:
            return 0
        return min(self.theirs, max(self.ours or 0, 0)) if self.how == "sums" else self.theirs


class OnlyTheirs(NamedTuple):
    """A statement that no attempt belongs to."""

    statement: Statement
    gone: str | None = None
    """The attempt that it was about, where the ledger does not have it any more."""


@dataclass(slots=True)
class Result:
    """What the statements of a source and the attempts of its gateway have in common."""

    matches: list[Match] = field(default_factory=list[Match])
    only_ours: list[Ours] = field(default_factory=list[Ours])
    only_theirs: list[OnlyTheirs] = field(default_factory=list[OnlyTheirs])
    young_statements: list[Statement] = field(default_factory=list[Statement])
    """Without an attempt, and too young for that to mean anything."""
    young_attempts: list[Ours] = field(default_factory=list[Ours])
    not_charged: list[Ours] = field(default_factory=list[Ours])
    """On no statement, and rightly: they cost nothing."""
    byok: list[Ours] = field(default_factory=list[Ours])
    """Made with the caller's own key, and on no statement."""
    own_key: list[Match] = field(default_factory=list[Match])
    """Made with the caller's own key: what the gateway bills is its fee."""
    repeated: list[Statement] = field(default_factory=list[Statement])
    """Earlier readings of statements, or the same ones again."""
    not_covered: list[Ours] = field(default_factory=list[Ours])
    """Older than what the report goes back to."""
    outside_statements: list[Statement] = field(default_factory=list[Statement])
    """Of another period."""
    outside_attempts: list[Ours] = field(default_factory=list[Ours])

    def of_kind(self, kind: str) -> Iterator[Match]:
        """Yield the matches that are `equal`, that are not (`differs`), or that are `unsettled`."""
        return (one for one in self.matches if one.kind == kind)

    @property
    def theirs(self) -> int:
        """Nano-dollars of the statements that are old enough, as far as they are known."""
        return sum(one.theirs or 0 for one in self.matches) + sum(one.statement.amount or 0 for one in self.only_theirs)

    @property
    def ours(self) -> int:
        """Nano-dollars of the attempts that are old enough, as far as they are known."""
        return sum(one.ours or 0 for one in self.matches) + sum(one.cost or 0 for one in self.only_ours)

    @property
    def matched(self) -> int:
        """Nano-dollars of `theirs` that belong to attempts."""
        return sum(one.matched for one in self.matches)

    @property
    def drift(self) -> int:
        """Nano-dollars, ours - theirs, of all matches of which both amounts are known."""
        return sum(one.drift for one in self.matches)

    @property
    def differing(self) -> int:
        """Nano-dollars by which matches differ, up or down."""
        return sum(abs(one.drift) for one in self.matches)

    @property
    def coverage(self) -> Fraction | None:
        """What part of what was charged belongs to attempts; None where nothing was. Credits are left out."""
        charged = sum(max(one.theirs or 0, 0) for one in self.matches)
        charged += sum(max(one.statement.amount or 0, 0) for one in self.only_theirs)
        return Fraction(sum(max(one.matched, 0) for one in self.matches), charged) if charged else None
