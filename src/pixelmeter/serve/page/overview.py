"""What the first page shows, from the sums of a range to cards and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pixelmeter.core.reporting.periods import Period, range_text
from pixelmeter.core.reporting.report import OTHERS, Row
from pixelmeter.core.text import plural
from pixelmeter.reports.overview import Overview, Part, TagSpend
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.sections import Link, Rows, RowsWith, Section, of_model, of_risk, only
from pixelmeter.serve.page.tables import Cell, Chart, Head, Line, Table, count, money, name, seconds, share_of

__all__ = ["range_told", "sections_of_sums", "tag_table"]

_SERIES = 6
_ROWS = 12
_OTHER = "other"
_STEPS: Mapping[Period, int] = {"hour": 3600, "day": 86400, "week": 604800, "month": 2629800}


def sections_of_sums(found: Overview, asked: Asked, step: Period, *, is_cut: bool = True) -> Iterator[Section]:
    """Yield the sums over time, by model, by gateway and by outcome; long tables are cut."""
    link = Rows(asked, found)
    if found.steps is not None and found.steps.rows:
        switch = [Link(name, asked.here("/", ("step", name)), name == step) for name in asked.steps]
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
    tag, report = spend.tag, spend.report
    # Of tags whole days are kept, of all else whole hours.
    link = Rows(asked, replace(found, since=report.since, until=report.until))
    is_wider = (report.since, report.until) != (found.since, found.until)
    told = range_text(report.since, report.until, asked.zone)
    lines: list[Line] = []
    for row in report.rows:
        value = row.key[0]
        # A URL cannot ask for a tag whose name has an equals sign.
        if value == OTHERS or "=" in tag:
            lines.append(Line(name(value), _numbers(row, report.total, None)))
            continue
        pair = ("no-tag", tag) if value is None else ("tag", f"{tag}={value}")
        page = asked.url("/", also=[pair]) if value is not None else None
        lines.append(Line(name(value, page), _numbers(row, report.total, RowsWith(link, also=[pair])), key=value))
    return Table(
        id="tag",
        caption=f"Known cost by {tag}; attempts without it are (none)",
        heads=[Head(tag, is_number=False), *_HEADS],
        lines=lines,
        total=Line(Cell("total", kind="name"), _numbers(report.total, report.total, link)),
        notes=[f"Of attempts that were pruned whole days are known: this is {told}."] if is_wider else [],
    )


_HEADS = (
    Head("Cost"), Head("Share", is_number=False), Head("At risk"), Head("Unknown cost"), Head("Attempts"),
)  # fmt: skip
_MORE_HEADS = (*_HEADS, Head("Images"), Head("Errors"), Head("p50"), Head("p95"))


def _numbers(row: Row, total: Row, link: Rows | RowsWith | None) -> list[Cell]:
    """Return the cells of _HEADS."""
    asks = ((), of_risk(row), only("unknown-cost"))
    url, risk, unknown = [None] * 3 if link is None else (link(also=more) for more in asks)
    return [
        money(row.known_cost, url),
        share_of(row.known_cost, total.cost),
        money(row.known_at_risk, risk, shows_zero=False),
        count(row.unknown_cost_attempts, unknown, shows_zero=False),
        count(row.attempts, url),
    ]


def _more_numbers(row: Row, total: Row, link: Rows | RowsWith | None) -> list[Cell]:
    """Return the cells of _MORE_HEADS."""
    return [
        *_numbers(row, total, link),
        count(row.images, None if link is None else link()),
        count(row.errors, None if link is None else link(also=only("errors")), shows_zero=False),
        seconds(row.p50_seconds),
        seconds(row.p95_seconds),
    ]


def _over_time(found: Overview, part: Part, link: Rows, step: Period, asked: Asked) -> Table:
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
            url = link(also=of_model(model), step=period)
            cells.append(money(one.known_cost, url if one.attempts else None))
        if others:
            rest = Row(())
            for model in others:
                rest.add_row(found.of_models.get((period, model), Row(())))
            cells.append(money(rest.known_cost))
        whole = link(step=period) if row.attempts else None
        risk = link(also=of_risk(row), step=period)
        cells += [
            money(row.known_cost, whole),
            money(row.known_at_risk, risk, shows_zero=False),
            count(row.unknown_cost_attempts, link(also=only("unknown-cost"), step=period), shows_zero=False),
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
        notes=[f"other: {plural(len(others), 'more model')}, which the table below has."] if others else [],
    )


def _breakdown(part: Part, link: Rows, identity: str, title: str, heads: Sequence[str], is_cut: bool) -> Table:
    shown, others = (part.rows[:_ROWS], part.rows[_ROWS:]) if is_cut else (part.rows, ())
    lines: list[Line] = []
    for row in shown:
        gateway = row.key[0]
        pairs = [("gateway", gateway or "")]
        cells: list[Cell] = []
        if len(heads) == 2:
            model = row.key[1]
            pairs += of_model(model)
            head = name(model or "(no model)", link.asked.url("/", also=pairs))
            cells.append(name(gateway))
        else:
            head = name(gateway, link.asked.url("/", also=pairs))
        own = RowsWith(link, also=pairs)
        lines.append(Line(head, [*cells, *_more_numbers(row, part.total, own)], key=row.key[-1]))
    if others:
        rest = Row(())
        for row in others:
            rest.add_row(row)
        head = Cell(plural(len(others), "other"), kind="name", href=link.asked.here("/", ("top", "all")))
        lines.append(Line(head, [*([Cell("")] * (len(heads) - 1)), *_more_numbers(rest, part.total, None)]))
    return Table(
        id=f"by-{identity}",
        caption=title.replace("Spend", "Known cost", 1),
        heads=[*(Head(text, is_number=False) for text in heads), *_MORE_HEADS],
        lines=lines,
        total=Line(
            Cell("total", kind="name"),
            [*([Cell("")] * (len(heads) - 1)), *_more_numbers(part.total, part.total, link)],
        ),
    )


def _outcomes(part: Part, link: Rows) -> Table:
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
                    money(row.known_at_risk, own(also=of_risk(row)), shows_zero=False),
                    count(row.unknown_cost_attempts, own(also=only("unknown-cost")), shows_zero=False),
                ],
            )
            for row in rows
            for own in [RowsWith(link, also=[("outcome", row.key[0] or "")])]
        ],
    )  # fmt: skip


def _latency(found: Overview, part: Part, link: Rows, step: Period, asked: Asked) -> Table:
    rows = {row.key[0]: row for row in part.rows}
    lines: list[Line] = []
    for period, window in found.windows.items():
        row = rows.get(period, Row(()))
        sent = row.attempts - row.blocked
        cells = [seconds(row.p50_seconds), seconds(row.p95_seconds), seconds(row.p99_seconds)]
        cells.append(count(sent, link(also=only("sent"), step=period) if sent else None))
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
