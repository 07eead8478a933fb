"""What the page of budgets shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import tzinfo
from urllib.parse import urlencode

from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.state import State
from pixelmeter.core.reporting.budgets import counts, described, told_reset
from pixelmeter.core.reporting.columns import share
from pixelmeter.core.reporting.periods import moment_of, utc_text
from pixelmeter.core.text import dollars
from pixelmeter.reports.budgets import Detail, Overview
from pixelmeter.serve.page.asked import NO_VALUE, Asked
from pixelmeter.serve.page.sections import Section
from pixelmeter.serve.page.tables import Cell, Head, Line, Table, count, money

__all__ = ["MOST", "budgets_table", "detail_sections"]

MOST = 100
"""Of how many values, earlier spans, leases and notices of a budget the page tells one by one."""

_HEADS = (
    Head("Budget", is_number=False),
    Head("Value", is_number=False),
    Head("Used", is_number=False),
    Head("Spent"),
    Head("Limit"),
    Head("Resets at", is_number=False),
    Head("Cost"),
    Head("At risk"),
    Head("Taken off by resets"),
    Head("Reserved"),
    Head("Forecast"),
    Head("Refused"),
    Head("Unknown cost"),
)
_PARTS = 10_000


def budgets_table(found: Sequence[Overview], asked: Asked, identity: str, caption: str) -> Table:
    """Return a row for each value of each budget in its present span."""
    lines = [line for one in found for line in _lines(one, asked)]
    return _with_values(Table(id=identity, caption=caption, heads=_HEADS, lines=lines), [one.rule for one in found])


def detail_sections(found: Detail, asked: Asked) -> Iterator[Section]:
    """Yield what is known of one budget."""
    one = found.overview
    removed = "" if one.is_active else " It was removed: nothing counts towards it any more."
    since = f"It counts {f'attempts since {_minute(one.since, asked.zone)}' if one.since > 0 else 'all attempts'}."
    yield Section(
        id="budget",
        title=f"Budget {one.rule.name}",
        notes=[f"{described(one.rule)}. {since}{removed}", f"Counts: {counts(one.rule)}."],
        tables=[budgets_table([one], asked, "now", "The present period")],
    )
    if found.earlier:
        lines = [_line(state, asked, since=one.since, has_start=True) for state in found.earlier]
        heads = (Head("Began at", is_number=False), *_HEADS[1:])
        whole = Table(id="earlier-periods", caption="Periods before, the latest first", heads=heads, lines=lines)
        table = _with_values(whole, [one.rule])
        yield Section(id="earlier", title="Earlier periods", tables=[table], notes=_cut(found.earlier))
    if found.resets:
        yield Section(id="resets", title="Resets", notes=[told_reset(reset, asked.zone) for reset in found.resets])
    if found.notices:
        said = [
            f"{one.threshold / _PARTS:g} % passed at {_minute(one.claimed_at, asked.zone)}"
            f"{f' ({one.value})' if one.value else ''}, "
            + ("told" if one.sent_at is not None else "nobody was told yet")
            for one in found.notices
        ]
        yield Section(id="notices", title="Thresholds that were passed", notes=[*said, *_cut(said)])
    if found.leases:
        leases = [
            f"{one.process}: {dollars(one.amount)}{f' of {one.value}' if one.value else ''}, renewed at "
            f"{_minute(one.renewed_at, asked.zone)}"
            for one in found.leases
        ]
        yield Section(id="leases", title="What processes may spend without asking", notes=[*leases, *_cut(leases)])


def _cut(found: Sequence[object]) -> list[str]:
    """Return a sentence where there may be more than is shown."""
    return [f"At most {MOST} are shown: `pixelmeter budgets show` has all."] if len(found) >= MOST else []


def _with_values(table: Table, rules: Sequence[Rule]) -> Table:
    """Return a table without the column of values where no budget has any."""
    if any(rule.each is not None for rule in rules):
        return table
    lines = [line._replace(cells=line.cells[1:]) for line in table.lines]
    return replace(table, heads=[table.heads[0], *table.heads[2:]], lines=lines)


def _lines(one: Overview, asked: Asked) -> Iterator[Line]:
    for state in one.states or [one.unused()]:
        yield _line(state, asked, since=one.since)
    if one.values > len(one.states) > 0:
        more = one.values - len(one.states)
        cells = [Cell(f"{more:,} more", kind="text"), *([Cell("")] * (len(_HEADS) - 2))]
        yield Line(Cell(one.rule.name, kind="name", href=_url(one.rule.name, asked)), cells)


def _line(state: State, asked: Asked, *, since: int, has_start: bool = False) -> Line:
    rule, end = state.rule, state.span.end
    is_known = state.known_spent is not None
    used = share(state.spent, state.limit) if is_known else ""
    value = state.value or ("(none)" if rule.each else "")
    head = Cell(rule.name, kind="name", href=_url(rule.name, asked))
    if has_start:
        head = Cell(_minute(state.span.start, asked.zone), kind="text")
    rows = _rows_url(state, since, asked)
    # No sum of a budget tells attempts without an estimate from others of unknown cost.
    risk = "unknown-cost" if state.known_at_risk is None else "at-risk"
    return Line(
        head,
        [
            Cell(value, kind="name"),
            Cell(used, used.removesuffix(" %") or None, kind="budget"),
            money(state.known_spent, rows),
            money(state.limit),
            Cell("never" if end is None else _minute(end, asked.zone), kind="moment"),
            money(state.known_cost, rows),
            money(state.known_at_risk, f"{rows}&only={risk}", shows_zero=False),
            money(state.credited, shows_zero=False),
            money(state.reserved, shows_zero=False),
            Cell("") if state.forecast is None or state.known_spent is None else money(state.forecast),
            count(state.blocked, f"{rows}&outcome=blocked", shows_zero=False),
            count(state.unknown_cost_attempts, f"{rows}&only=unknown-cost", shows_zero=False),
        ],
    )


def _rows_url(state: State, since: int, asked: Asked) -> str:
    """Return the URL of the attempts that count towards a budget in a span."""
    start = max(state.span.start, since)
    end = state.span.end
    pairs = {"since": utc_text(moment_of(start)), "budget": state.rule.name}
    if end is not None:
        pairs["until"] = utc_text(moment_of(end))
    if state.rule.each is not None:
        pairs["value"] = state.value or NO_VALUE
    if asked.zone_name != "UTC":
        pairs["tz"] = asked.zone_name
    return f"/calls?{urlencode(pairs)}"


def _url(name: str, asked: Asked) -> str:
    zone = {} if asked.zone_name == "UTC" else {"tz": asked.zone_name}
    return f"/budgets?{urlencode({'name': name, **zone})}"


def _minute(microseconds: int, zone: tzinfo) -> str:
    return f"{moment_of(microseconds).astimezone(zone):%Y-%m-%d %H:%M}"
