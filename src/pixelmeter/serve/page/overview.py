"""What the first page shows, from the sums of a range to cards and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pixelmeter.core.reporting.columns import change_text
from pixelmeter.core.reporting.periods import Period, range_text
from pixelmeter.core.reporting.report import OTHERS, Row
from pixelmeter.core.text import dollars
from pixelmeter.reports.overview import Overview, Part, Spell, TagSpend
from pixelmeter.reports.report import Reading
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.tables import Cell, Chart, Head, Line, Table, count, money, name, seconds, share_of

__all__ = ["Card", "Link", "Note", "Section", "card_of_range", "card_of_spell", "reading_told", "sections_of_sums"]

_SERIES = 6
_ROWS = 12
_OTHER = "other"
_STEPS: Mapping[Period, int] = {"hour": 3600, "day": 86400, "week": 604800, "month": 2629800}
_STEP_NAMES: Mapping[Period, str] = {"hour": "hour", "day": "day", "week": "week", "month": "month"}


class Link(NamedTuple):
    """A link, and whether it leads to what is shown already."""

    text: str
    href: str
    is_current: bool = False


class Note(NamedTuple):
    """A cell with the words around it."""

    before: str
    cell: Cell | None = None
    after: str = ""
    direction: str | None = None
    name: str = ""


class Card(NamedTuple):
    """One large number, and what belongs to it."""

    title: str
    big: Cell
    notes: Sequence[Note]


@dataclass(kw_only=True)
class Section:
    """A heading with tables below it."""

    id: str
    title: str
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    links: Sequence[Link] = ()
    switches: Sequence[tuple[str, Sequence[Link]]] = field(default_factory=list[tuple[str, Sequence[Link]]])


def card_of_spell(spell: Spell, asked: Asked) -> Card:
    """Return the card of today or this month."""
    period, until, row, before, forecast = spell
    is_today = (period.end - period.start).days < 2
    title, earlier = ("Today", "yesterday") if is_today else ("This month", "last month")
    since, end = period.start, until
    notes = list(_change(row, before, f"{earlier} until the same time", _before_url(asked, spell)))
    if forecast.cost is not None:
        notes.append(Note("forecast ", Cell(dollars(forecast.cost), title="if it goes on as so far"), ""))
    notes += _doubts(row, lambda only: asked.rows(since=since, until=end, also=only))
    return Card(title, money(row.known_cost, asked.rows(since=since, until=end)), notes)


def card_of_range(found: Overview, asked: Asked) -> Iterator[Card]:
    """Yield the cards of the range."""
    total, before = found.total, found.before
    if total is None:
        return
    link = _Links(asked, found)
    notes: list[Note] = []
    if before is not None and found.before_since is not None:
        url = asked.rows(since=found.before_since, until=found.before_since + (asked.until - asked.since))
        notes += _change(total, before, "the time before, which is as long", url)
    notes += _doubts(total, lambda only: link(also=only))
    yield Card("Known cost of the range", money(total.known_cost, link()), notes)
    failed = share_of(total.errors, total.attempts - total.blocked).text
    notes = [
        Note("", count(total.images, link()), " images"),
        Note("", count(total.calls, link(also=_only("first"))), " calls"),
        Note("", count(total.errors, link(also=_only("errors"))), f" errors{f', {failed}' if failed else ''}"),
    ]
    if total.blocked:
        notes.append(Note("", count(total.blocked, link(("outcome", "blocked"))), " refused by a budget"))
    yield Card("Attempts", count(total.attempts, link()), notes)
    if total.p50_seconds is not None:
        sent = link(also=_only("sent"))
        notes = [Note("95 % below ", seconds(total.p95_seconds)), Note("99 % below ", seconds(total.p99_seconds))]
        yield Card("Half of the attempts took less than", seconds(total.p50_seconds, sent), notes)
    if total.routed_attempts:
        routed = link(also=_only("routed"))
        notes = [
            Note("instead of ", money(total.known_baseline, routed)),
            Note("route fee ", money(total.known_route_fee, routed)),
            Note("of ", count(total.routed_attempts, routed), " routed attempts"),
        ]
        yield Card("Saved by routing, as the gateways say", money(total.known_savings, routed), notes)


def sections_of_sums(found: Overview, asked: Asked, step: Period, *, is_cut: bool = True) -> Iterator[Section]:
    """Yield the sums over time, by model, by gateway and by outcome; long tables are cut."""
    link = _Links(asked, found)
    if found.steps is not None and found.steps.rows:
        switch = [
            Link(text, asked.here("/", ("step", name)), name == step)
            for name, text in _STEP_NAMES.items()
            if name != "hour" or (asked.until - asked.since).days <= 32
        ]
        spend = _over_time(found, found.steps, link, step, asked)
        yield Section(
            id="over-time",
            title=f"Spend by {step}",
            tables=[spend],
            switches=[("By", switch)],
        )
    for part, section in (
        (found.models, ("models", "Spend by model", ("Model", "Gateway"))),
        (found.gateways, ("gateways", "Spend by gateway", ("Gateway",))),
    ):
        if part is not None and part.rows:
            identity, title, heads = section
            yield Section(id=identity, title=title, tables=[_breakdown(part, link, identity, title, heads, is_cut)])
    if found.outcomes is not None and found.outcomes.rows:
        yield Section(id="outcomes", title="Outcomes", tables=[_outcomes(found.outcomes, link)])
    if found.steps is not None and found.steps.total.p50_seconds is not None:
        table = _latency(found, found.steps, link, step, asked)
        yield Section(id="latency", title="Latency", tables=[table])


def tag_table(spend: TagSpend, asked: Asked, found: Overview) -> Table:
    """Return what was spent by the values of a tag."""
    link, tag, report = _Links(asked, found), spend.tag, spend.report
    lines: list[Line] = []
    for row in report.rows:
        value = row.key[0]
        if value == OTHERS:
            lines.append(Line(Cell("(others)", kind="name"), _numbers(row, report.total, None)))
            continue
        pair = ("no-tag", tag) if value is None else ("tag", f"{tag}={value}")
        page = asked.url("/", also=[pair]) if value is not None else None
        lines.append(Line(name(value, page), _numbers(row, report.total, _With(link, also=[pair])), key=value))
    return Table(
        id="tag",
        caption=f"Known cost by {tag}; attempts without it are (none)",
        heads=[Head(tag, is_number=False), *_HEADS],
        lines=lines,
        total=Line(Cell("total", kind="name"), _numbers(report.total, report.total, link)),
    )


def reading_told(reading: Reading) -> str:
    """Return what is missing, how many attempts it would read and for how long."""
    taken = max(round(reading.seconds), 1)
    told = f"{taken} s" if taken < 100 else f"{round(taken / 60)} minutes"
    return (
        f"No sums are kept of a part of this: about {reading.attempts:,} attempts must be read for it, which takes "
        f"about {told}."
    )


class _Links:
    """URLs of the rows behind numbers of a range."""

    def __init__(self, asked: Asked, found: Overview) -> None:
        self.asked = asked
        self._found = found

    def __call__(self, *changes: tuple[str, str | None], also: Iterable[tuple[str, str]] = (), step: str = "") -> str:
        window = self._found.windows.get(step)
        since, until = (self._found.since, self._found.until) if window is None else (window.start, window.end)
        return self.asked.rows(*changes, also=also, since=since, until=until)


class _With:
    """The same for numbers of which more is asked for."""

    def __init__(self, link: _Links, *changes: tuple[str, str | None], also: Iterable[tuple[str, str]] = ()) -> None:
        self._link = link
        self._changes = changes
        self._also = list(also)

    def __call__(self, *changes: tuple[str, str | None], also: Iterable[tuple[str, str]] = ()) -> str:
        return self._link(*self._changes, *changes, also=[*self._also, *also])


def _only(what: str) -> list[tuple[str, str]]:
    return [("only", what)]


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
        yield Note("at risk ", money(row.known_at_risk, link(_only("at-risk"))), " more, estimated")
    if row.unknown_cost_attempts:
        attempts = count(row.unknown_cost_attempts, link(_only("unknown-cost")))
        yield Note("", attempts, " attempts of unknown cost, not in the sum")


_HEADS = (
    Head("Cost"), Head("Share", is_number=False), Head("At risk"), Head("Unknown cost"), Head("Attempts"),
)  # fmt: skip
_DOUBTS = ("at-risk", "unknown-cost")
_MORE_HEADS = (*_HEADS, Head("Images"), Head("Errors"), Head("p50"), Head("p95"))


def _numbers(row: Row, total: Row, link: _Links | _With | None) -> list[Cell]:
    """Return the cells of _HEADS."""
    url, risk, unknown = [None] * 3 if link is None else (link(), *(link(also=_only(name)) for name in _DOUBTS))
    return [
        money(row.known_cost, url),
        share_of(row.known_cost, total.cost),
        money(row.known_at_risk, risk, shows_zero=False),
        count(row.unknown_cost_attempts, unknown, shows_zero=False),
        count(row.attempts, url),
    ]


def _more_numbers(row: Row, total: Row, link: _Links | _With | None) -> list[Cell]:
    """Return the cells of _MORE_HEADS."""
    return [
        *_numbers(row, total, link),
        count(row.images, None if link is None else link()),
        count(row.errors, None if link is None else link(also=_only("errors")), shows_zero=False),
        seconds(row.p50_seconds),
        seconds(row.p95_seconds),
    ]


def _over_time(found: Overview, part: Part, link: _Links, step: Period, asked: Asked) -> Table:
    costs: dict[str, int] = {}
    for (_, model), row in found.of_models.items():
        costs[model] = costs.get(model, 0) + row.cost
    order = sorted(costs, key=lambda model: (-costs[model], model))
    models, others = order[:_SERIES], order[_SERIES:]
    rows = {row.key[0]: row for row in part.rows}
    lines: list[Line] = []
    for period, window in found.windows.items():
        row = rows.get(period, Row(()))
        cells: list[Cell] = []
        for model in models:
            one = found.of_models.get((period, model), Row(()))
            url = link(("exact-model", model or None), step=period)
            cells.append(money(one.known_cost, url if one.attempts else None))
        if others:
            rest = Row(())
            for model in others:
                rest.add_row(found.of_models.get((period, model), Row(())))
            cells.append(money(rest.known_cost))
        whole = link(step=period) if row.attempts else None
        risk = link(also=_only("at-risk"), step=period)
        cells += [
            money(row.known_cost, whole),
            money(row.known_at_risk, risk, shows_zero=False),
            count(row.unknown_cost_attempts, link(also=_only("unknown-cost"), step=period), shows_zero=False),
            count(row.attempts, whole),
        ]
        inside = asked.within("/", window.start, window.end)
        lines.append(Line(Cell(period, href=inside, kind="text"), cells, at=int(window.start.timestamp())))
    heads = [Head(model or "(no model)", series=model or "(no model)") for model in models]
    heads += [Head(_OTHER, series=_OTHER)] if others else []
    only_total = not models
    return Table(
        id="spend",
        caption=f"Known cost by {step}" + (" and model" if models else ""),
        heads=[
            Head(step.capitalize(), is_number=False),
            *heads,
            Head("All", series="cost" if only_total else None),
            Head("At risk"),
            Head("Unknown cost"),
            Head("Attempts"),
        ],
        lines=lines,
        chart=Chart("bars-stacked", "usd", _STEPS[step], asked.zone_name),
        notes=[f"other: {len(others)} more models, which the table below has."] if others else [],
    )


def _breakdown(part: Part, link: _Links, identity: str, title: str, heads: Sequence[str], is_cut: bool) -> Table:
    shown, others = (part.rows[:_ROWS], part.rows[_ROWS:]) if is_cut else (part.rows, ())
    lines: list[Line] = []
    for row in shown:
        gateway = row.key[0]
        changes: list[tuple[str, str | None]] = [("gateway", gateway)]
        cells: list[Cell] = []
        if len(heads) == 2:
            model = row.key[1]
            changes.append(("exact-model", model))
            head = name(model or "(no model)", link.asked.url("/", *changes))
            cells.append(name(gateway))
        else:
            head = name(gateway, link.asked.url("/", *changes))
        own = _With(link, *changes)
        lines.append(Line(head, [*cells, *_more_numbers(row, part.total, own)], key=row.key[-1]))
    if others:
        rest = Row(())
        for row in others:
            rest.add_row(row)
        head = Cell(f"{len(others)} others", kind="name", href=link.asked.here("/", ("top", "all")))
        lines.append(Line(head, [*([Cell("")] * (len(heads) - 1)), *_more_numbers(rest, part.total, None)]))
    return Table(
        id=f"by-{identity}",
        caption=title,
        heads=[*(Head(text, is_number=False) for text in heads), *_MORE_HEADS],
        lines=lines,
        total=Line(
            Cell("total", kind="name"),
            [*([Cell("")] * (len(heads) - 1)), *_more_numbers(part.total, part.total, link)],
        ),
    )


def _outcomes(part: Part, link: _Links) -> Table:
    rows = sorted(part.rows, key=lambda row: (-row.attempts, row.key))
    return Table(
        id="by-outcome",
        caption="Attempts by outcome",
        heads=[Head("Outcome", is_number=False), Head("Attempts"), Head("Share", is_number=False), Head("Cost"),
               Head("At risk"), Head("Unknown cost")],
        lines=[
            Line(
                Cell(row.key[0] or "", kind="outcome"),
                [
                    count(row.attempts, own()),
                    share_of(row.attempts, part.total.attempts),
                    money(row.known_cost, own()),
                    money(row.known_at_risk, own(also=_only("at-risk")), shows_zero=False),
                    count(row.unknown_cost_attempts, own(also=_only("unknown-cost")), shows_zero=False),
                ],
            )
            for row in rows
            for own in [_With(link, ("outcome", row.key[0]))]
        ],
    )  # fmt: skip


def _latency(found: Overview, part: Part, link: _Links, step: Period, asked: Asked) -> Table:
    rows = {row.key[0]: row for row in part.rows}
    lines: list[Line] = []
    for period, window in found.windows.items():
        row = rows.get(period, Row(()))
        sent = row.attempts - row.blocked
        cells = [seconds(row.p50_seconds), seconds(row.p95_seconds), seconds(row.p99_seconds)]
        cells.append(count(sent, link(also=_only("sent"), step=period) if sent else None))
        lines.append(Line(Cell(period, kind="text"), cells, at=int(window.start.timestamp())))
    return Table(
        id="durations",
        caption=f"How long attempts took, by {step}, within 5 %",
        heads=[
            Head(step.capitalize(), is_number=False),
            Head("p50", series="p50"),
            Head("p95", series="p95"),
            Head("p99", series="p99"),
            Head("Attempts that were sent"),
        ],
        lines=lines,
        chart=Chart("lines", "seconds", _STEPS[step], asked.zone_name),
    )


def range_told(found: Overview, asked: Asked) -> str | None:
    """Return the range in words where it is another one than was asked for."""
    if (found.since, found.until) == (asked.since, asked.until):
        return None
    return range_text(found.since, found.until, asked.zone)
