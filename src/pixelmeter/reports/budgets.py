"""The budgets of a ledger: how far each is used up, what became of it, and what a file of budgets would count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Literal, NamedTuple

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Rule, Span
from pixelmeter.core.budgets.state import Reset, State
from pixelmeter.core.budgets.sums import SUMS, tags_of
from pixelmeter.core.text import bounded
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.budget_changes import ResetAuthor, TakenOff
from pixelmeter.ledger.budget_reading import (
    Kept,
    KeptLease,
    KeptNotice,
    KeptSums,
    budgets_of,
    leases_of,
    notices_of,
    resets_of,
    so_far,
    sums_in,
    values_in,
)
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.correction import login_name
from pixelmeter.system import SystemClock

__all__ = [
    "Detail",
    "Overview",
    "Planned",
    "detail",
    "overviews",
    "planned",
    "remove",
    "reset",
    "resets_of_attempts",
]

_LONGEST = 1000


class Overview(NamedTuple):
    """A budget in its present span."""

    rule: Rule
    is_active: bool
    """False once it was removed: nothing counts towards it any more."""
    since: int
    """Attempts that started before do not count; Unix time in microseconds."""
    span: Span
    at: int
    """When this was so."""
    values: int
    """For how many values something was counted or reserved; 1 for a budget that has not one `each`."""
    used_up: int
    """How many of them have spent the limit."""
    states: Sequence[State]
    """Of the values, what is used most first; not all where fewer were asked for."""

    def unused(self) -> State:
        """Return the state of a value towards which nothing has counted in the span."""
        return State(rule=self.rule, value="", span=self.span, at=self.at)


class Detail(NamedTuple):
    """All that is known of a budget."""

    overview: Overview
    earlier: Sequence[State]
    """Of the spans before, the latest first."""
    resets: Sequence[Reset]
    leases: Sequence[KeptLease]
    notices: Sequence[KeptNotice]


Becomes = Literal["new", "as it is", "changed", "begins anew"]
"""Whether a ledger has a budget: "changed" goes on counting, "begins anew" counts otherwise than before."""


class Planned(NamedTuple):
    """What a budget of a file would count, were it in use."""

    rule: Rule
    states: Sequence[State]
    """Of the present span, what is used most first."""
    ledger: Becomes | None
    """What becomes of it in the ledger; None where there is none."""


def overviews(
    reader: LedgerReader, at: int, *, values: int | None = None, name: str | None = None, with_removed: bool = False
) -> list[Overview]:
    """Return the budgets of a ledger as of a Unix time in microseconds, by name, or the one of a name.

    At most so many `values` of each are told one by one.
    """
    return [_overview(reader, kept, at, values=values) for kept in budgets_of(reader, name, with_removed=with_removed)]


def detail(reader: LedgerReader, name: str, at: int, *, value: str | None = None, most: int | None = None) -> Detail:
    """Return all that is known of a budget, or of one of its values; ConfigError where there is no such budget.

    At most so many values, earlier states, leases and notices, of which a budget with many values has thousands.
    """
    kept = next(iter(budgets_of(reader, name, with_removed=True)), None)
    if kept is None:
        raise ConfigError(
            f"the ledger has no budget {name[:100]!r}: `pixelmeter budgets list --all` has those that there are"
        )
    overview = _overview(reader, kept, at, values=most, value=value)
    earlier = [
        _state(kept.rule, sums, at)
        for sums in sums_in(reader, name, but_for=overview.span.start, value=value, limit=most)
    ]
    return Detail(
        overview,
        earlier,
        resets_of(reader, [name], value),
        leases_of(reader, name, value, most),
        notices_of(reader, name, value, most),
    )


def planned(reader: LedgerReader, rules: Iterable[Rule], at: int) -> list[Planned]:
    """Return what budgets would count in their present spans: from the rows, whether the ledger has them or not."""
    kept = {one.rule.name: one.rule for one in budgets_of(reader, with_removed=False)}
    found: list[Planned] = []
    for rule in rules:
        span = rule.span_of(at)
        sums = so_far(reader, rule, span)
        states = [
            State(rule=rule, value=one.value, span=span, at=at, **{name: getattr(one, name) for name in SUMS})
            for one in sums
        ]
        if not states and rule.each is None:
            states = [State(rule=rule, value="", span=span, at=at)]
        found.append(
            Planned(
                rule, sorted(states, key=lambda state: (-state.spent, state.value)), _becomes(kept.get(rule.name), rule)
            )
        )
    return found


def reset(url: str, name: str, *, value: str | None, why: str, by: str | None) -> Sequence[TakenOff]:
    """Take off a budget what is spent in its present span, for one value or for all; return what that was."""
    author = ResetAuthor(SystemClock().now(), bounded(by or login_name()), bounded(why, _LONGEST))
    with closing(open_writer(url)) as writer:
        return writer.reset(name, value, author)


def remove(url: str, name: str) -> bool:
    """Have nothing count towards a budget any more; return whether there was one."""
    with closing(open_writer(url)) as writer:
        return writer.remove(name, SystemClock().now())


def resets_of_attempts(reader: LedgerReader, attempts: Sequence[Attempt]) -> Mapping[str, Sequence[Reset]]:
    """Return the resets of budgets that attempts counted towards, oldest first, by the ids of the attempts.

    Those are the resets that were made after an attempt started, in the span that it is in.
    """
    kept = budgets_of(reader, with_removed=True)
    made: dict[tuple[str, str | None, int], list[Reset]] = {}
    for one in resets_of(reader, [each.rule.name for each in kept]):
        made.setdefault((one.budget, one.value, one.start), []).append(one)
    found: dict[str, Sequence[Reset]] = {}
    for attempt in attempts if made else ():
        counted = [reset for each in kept for reset in made.get(_key(each, attempt), ())]
        these = [reset for reset in counted if reset.made_at >= attempt.started_at]
        if these:
            found[attempt.id] = sorted(these, key=lambda reset: reset.number)
    return found


def _becomes(before: Rule | None, rule: Rule) -> Becomes:
    if before is None:
        return "new"
    if before == rule:
        return "as it is"
    return "changed" if before.counts == rule.counts else "begins anew"


def _key(kept: Kept, attempt: Attempt) -> tuple[str, str | None, int]:
    rule = kept.rule
    is_counted = not attempt.byok and attempt.started_at >= kept.since
    value = rule.value_of(attempt, tags_of(attempt.tags)) if is_counted else None
    return rule.name, value, rule.span_of(attempt.started_at).start


def _overview(
    reader: LedgerReader, kept: Kept, at: int, *, values: int | None = None, value: str | None = None
) -> Overview:
    rule = kept.rule
    span = rule.span_of(at)
    number, used_up = values_in(reader, rule.name, span.start, rule.limit)
    states = [
        _state(rule, sums, at) for sums in sums_in(reader, rule.name, start=span.start, value=value, limit=values)
    ]
    if not states and (rule.each is None or value is not None):
        # The row comes with the first attempt or lease of a span.
        states = [State(rule=rule, value=value or "", span=span, at=at)]
    if rule.each is None:
        number, used_up = 1, int(states[0].is_used_up)
    return Overview(rule, kept.is_active, kept.since, span, at, number, used_up, states)


def _state(rule: Rule, sums: KeptSums, at: int) -> State:
    amounts: dict[str, int] = sums._asdict()
    del amounts["value"], amounts["start"]
    reserved = amounts.pop("leased")
    return State(rule=rule, value=sums.value, span=rule.span_of(sums.start), at=at, reserved=reserved, **amounts)
