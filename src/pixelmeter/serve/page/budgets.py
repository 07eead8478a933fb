"""What the page of budgets shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from urllib.parse import urlencode

from pixelmeter.core.budgets.state import State
from pixelmeter.core.reporting.budgets import counts
from pixelmeter.core.reporting.columns import share
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.reports.budgets import Overview
from pixelmeter.serve.page.tables import Cell, Head, Line, Table, count, money

__all__ = ["budgets_table"]

_HEADS = (
    Head("Budget", is_number=False),
    Head("Value", is_number=False),
    Head("Used", is_number=False),
    Head("Spent"),
    Head("Limit"),
    Head("Reserved"),
    Head("Forecast"),
    Head("Refused"),
    Head("Unknown cost"),
    Head("Resets at", is_number=False),
    Head("Counts", is_number=False),
)


def budgets_table(found: Sequence[Overview], zone: tzinfo, identity: str) -> Table:
    """Return a row for each value of each budget in its present span."""
    return Table(
        id=identity,
        caption="Budgets in their present spans",
        heads=_HEADS,
        lines=[line for one in found for line in _lines(one, zone)],
    )


def _lines(one: Overview, zone: tzinfo) -> Iterator[Line]:
    for state in one.states or [one.unused()]:
        yield _line(state, zone)
    if one.values > len(one.states) > 0:
        more = one.values - len(one.states)
        yield Line(Cell(one.rule.name, kind="name"), [Cell(f"{more:,} more values", kind="text")])


def _line(state: State, zone: tzinfo) -> Line:
    rule, end = state.rule, state.span.end
    used = share(state.spent, state.limit) if state.known_spent is not None else ""
    value = state.value or ("(none)" if rule.each else "")
    return Line(
        Cell(rule.name, kind="name", href=f"/budgets?{urlencode({'name': rule.name})}"),
        [
            Cell(value, kind="name"),
            Cell(used, used.removesuffix(" %") or None, kind="share"),
            money(state.known_spent),
            money(state.limit),
            money(state.reserved, shows_zero=False),
            Cell("") if state.forecast is None else money(state.forecast),
            count(state.blocked, shows_zero=False),
            count(state.unknown_cost_attempts, shows_zero=False),
            Cell("never" if end is None else _minute(end, zone), kind="text"),
            Cell(counts(rule), kind="text"),
        ],
    )


def _minute(microseconds: int, zone: tzinfo) -> str:
    return f"{moment_of(microseconds).astimezone(zone):%Y-%m-%d %H:%M}"
