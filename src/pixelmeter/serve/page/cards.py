"""The cards of the first page: what was spent today, this month and in the range, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pixelmeter.core.reporting.columns import change_text
from pixelmeter.core.reporting.report import Row
from pixelmeter.core.text import dollars
from pixelmeter.reports.overview import Overview, Spell
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.sections import Card, Note, Rows, only
from pixelmeter.serve.page.tables import Cell, count, money, seconds, share_of

__all__ = ["card_of_spell", "cards_of_range"]


def card_of_spell(spell: Spell, asked: Asked) -> Card:
    """Return the card of today or this month."""
    period, until, row, before, forecast = spell
    is_today = (period.end - period.start).days < 2
    title, earlier = ("Today", "yesterday") if is_today else ("This month", "last month")
    since, end = period.start, until
    notes = list(_change(row, before, f"{earlier} until the same time", _before_url(asked, spell)))
    if forecast.cost is not None:
        notes.append(Note("forecast ", Cell(dollars(forecast.cost), title="if spending continues at this rate"), ""))
    notes += _doubts(row, lambda only: asked.rows(since=since, until=end, also=only))
    return Card(title, money(row.known_cost, asked.rows(since=since, until=end)), notes)


def cards_of_range(found: Overview, asked: Asked) -> Iterator[Card]:
    """Yield the cards of the range."""
    total, before = found.total, found.before
    if total is None:
        return
    link = Rows(asked, found)
    notes: list[Note] = []
    if before is not None:
        url = asked.rows(since=found.before_since, until=found.before_until)
        notes += _change(total, before, "the time before, which is as long", url)
    notes += _doubts(total, lambda only: link(also=only))
    yield Card("Known cost of the range", money(total.known_cost, link()), notes)
    failed = share_of(total.errors, total.attempts - total.blocked).text
    notes = [
        Note("", count(total.images, link()), " images"),
        Note("", count(total.calls, link(also=only("first"))), " calls"),
        Note("", count(total.errors, link(also=only("errors"))), f" errors{f', {failed}' if failed else ''}"),
    ]
    if total.blocked:
        notes.append(Note("", count(total.blocked, link(also=[("outcome", "blocked")])), " refused by a budget"))
    yield Card("Attempts", count(total.attempts, link()), notes)
    if total.p50_seconds is not None:
        sent = link(also=only("sent"))
        notes = [Note("95 % below ", seconds(total.p95_seconds)), Note("99 % below ", seconds(total.p99_seconds))]
        yield Card("Half of the attempts took less than", seconds(total.p50_seconds, sent), notes)
    if total.routed_attempts:
        routed = link(also=only("routed"))
        notes = [
            Note("instead of ", money(total.known_baseline, routed)),
            Note("route fee ", money(total.known_route_fee, routed)),
            Note("of ", count(total.routed_attempts, routed), " routed attempts"),
        ]
        yield Card("Saved by routing, as the gateways say", money(total.known_savings, routed), notes)


def _before_url(asked: Asked, spell: Spell) -> str:
    start = spell.period.before
    until = min(start + (spell.until - spell.period.start), spell.period.start)
    return asked.rows(since=start, until=until)


def _change(row: Row, before: Row, than: str, url: str) -> Iterator[Note]:
    text = change_text(row.known_cost, before.known_cost)
    if text not in {"", "unknown", "new"}:
        direction = "down" if text.startswith("-") else "up"
        yield Note("", Cell(text, href=url, title=f"{than}: {_shown(before)}"), f" against {than}", direction)
    elif text:
        yield Note(f"{than}: ", Cell(_shown(before), href=url))


def _shown(row: Row) -> str:
    return "unknown" if row.known_cost is None else dollars(row.known_cost)


def _doubts(row: Row, link: Callable[[list[tuple[str, str]]], str]) -> Iterator[Note]:
    if row.known_at_risk != 0:
        yield Note("at risk ", money(row.known_at_risk, link(only("at-risk"))), " more, estimated")
    if row.unknown_cost_attempts:
        attempts = count(row.unknown_cost_attempts, link(only("unknown-cost")))
        yield Note("", attempts, " attempts of unknown cost, not in the sum")
