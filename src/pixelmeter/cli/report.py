"""`pixelmeter report`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import click

from pixelmeter.cli.options import database_url_option, filter_options, format_option, range_options
from pixelmeter.core.reporting.columns import (
    COLUMNS,
    OF_PROGRAMS,
    OF_TABLES,
    as_json,
    cells,
    columns,
    csv_columns,
    values,
)
from pixelmeter.core.reporting.periods import Period, range_text, utc_text
from pixelmeter.core.reporting.report import Report, dimensions, summarise
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from pixelmeter.ledger.filters import Filters
    from pixelmeter.ledger.reader import Reader

_DROP = ("p50", "share", "calls", "p95", "errors", "attempts", "images", "unknown_cost", "at_risk")
_STROKES = 62
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked for, but how it is summed up."""

    since: datetime
    until: datetime
    zone: ZoneInfo
    filters: Filters

    def told(self) -> str:
        return range_text(self.since, self.until, self.zone)


def _reading(read: Callable[[str], _Read]) -> Callable[[click.Context, click.Parameter, str | None], _Read | None]:
    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> _Read | None:
        try:
            return None if value is None else read(value)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


@click.command
@click.option(
    "--by",
    metavar="DIMENSION,...",
    default="model",
    callback=_reading(dimensions),
    show_default=True,
    help="What to group by: model, day, week, month, gateway, provider, operation, outcome, size, quality, tag:KEY.",
)
@click.option(
    "--columns",
    "chosen",
    metavar="COLUMN,...",
    callback=_reading(columns),
    help=f"What to show, in this order: {', '.join(COLUMNS)}.",
)
@click.option("--tags", "lists_tags", is_flag=True, help="List the keys of tags that there are, and nothing else.")
@range_options(since="30d", until="0m")
@filter_options
@click.option("--with-fees", is_flag=True, help="Show what the gateway charges on top.")
@format_option
@database_url_option
def command(
    by: tuple[str, ...],
    chosen: tuple[str, ...] | None,
    lists_tags: bool,
    since: datetime,
    until: datetime,
    tz: ZoneInfo,
    with_fees: bool,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """Sum up spend, latency and failures.

    The sums are what is known; what is unknown is counted and what is at risk stands beside, never in them.
    """
    if since >= until:
        raise click.UsageError(f"--since ({utc_text(since)}) must be before --until ({utc_text(until)})")
    from pixelmeter.cli.ledger import open_ledger_for_reading
    from pixelmeter.ledger.filters import Filters

    question = _Question(since, until, tz, Filters(**filters))
    with open_ledger_for_reading(database_url) as reader:
        if lists_tags:
            _list_tags(reader, question, format)
        else:
            _report(reader, question, by, _with_fees(chosen, format, with_fees), format, is_chosen=chosen is not None)


def _with_fees(chosen: tuple[str, ...] | None, format: str, with_fees: bool) -> tuple[str, ...]:
    shown = chosen or (OF_TABLES if format == "table" else OF_PROGRAMS)
    if not with_fees or "fee" in shown:
        return shown
    if chosen:
        return (*shown, "fee")
    # In a table beside the cost, in JSON and CSV where it has always been.
    place = shown.index("at_risk") + (0 if format == "table" else 1)
    return (*shown[:place], "fee", *shown[place:])


def _report(
    reader: Reader, question: _Question, by: tuple[str, ...], shown: tuple[str, ...], format: str, *, is_chosen: bool
) -> None:
    from pixelmeter.cli.output import emit_json, write_csv
    from pixelmeter.ledger.queries import grouped

    groups = grouped(reader, by, question.since, question.until, question.zone, question.filters, shown)
    report = summarise(groups, by=by, since=question.since, until=question.until)
    if format == "json":
        emit_json(as_json(report, shown))
    elif format == "csv":
        write_csv([values(row, report, shown) for row in report.rows], csv_columns(report, shown))
    elif report.rows:
        _print(reader, report, question, shown, is_chosen=is_chosen)
    else:
        _explain_nothing(reader, question)


def _print(reader: Reader, report: Report, question: _Question, shown: tuple[str, ...], *, is_chosen: bool) -> None:
    from pixelmeter.cli.output import emit, say

    if not is_chosen and not report.total.unknown_cost_attempts:
        shown = tuple(name for name in shown if name != "unknown_cost")
    say(f"{question.told()}, known cost in USD")
    emit(
        [cells(row, report) for row in report.rows],
        [*report.by, *shown],
        "table",
        right=shown,
        total=cells(report.total, report) | {report.by[0]: "total"},
        names=report.by,
        drop=() if is_chosen else _DROP,
    )
    for said in [*_history(reader, question), *_notes(reader, report, question)]:
        say(said)


def _history(reader: Reader, question: _Question) -> list[str]:
    from pixelmeter.core.reporting.columns import sparkline
    from pixelmeter.core.text import dollars
    from pixelmeter.ledger.queries import cost_by_period

    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return []
    days = (question.until - question.since).days
    period: Period = "day" if days <= _STROKES else "week" if days <= _STROKES * 7 else "month"
    costs = cost_by_period(reader, period, question.since, question.until, question.zone, question.filters)
    largest = max((cost for cost in costs.values() if cost is not None), default=0)
    if len(costs) < 2 or largest <= 0:
        return []
    first, *_, last = costs
    return [f"By {period}: {first} {sparkline(list(costs.values()))} {last}, at most {dollars(largest)}"]


def _notes(reader: Reader, report: Report, question: _Question) -> Sequence[str]:
    from pixelmeter.core.reporting.columns import notes
    from pixelmeter.ledger.queries import unpriced

    if not report.total.unknown_cost_attempts:
        return notes(report, [])
    missing = unpriced(reader, question.since, question.until, question.filters)
    said = notes(report, [(model, number) for _, model, number in missing])
    if missing:
        from pixelmeter.cli.hints import gateway_hints

        said += gateway_hints((gateway, model) for gateway, model, _ in missing)
    return said


def _list_tags(reader: Reader, question: _Question, format: str) -> None:
    from pixelmeter.cli.output import emit
    from pixelmeter.ledger.queries import tag_keys

    found = tag_keys(reader, question.since, question.until, question.filters)
    if format == "table" and not found:
        click.echo(f"No attempt has a tag from {question.told()}: put some on with pixelmeter.tags(team=...).")
        return
    rows = [{"tag": key, "attempts": attempts, "values": values} for key, attempts, values in found]
    emit(rows, ("tag", "attempts", "values"), format, names=("tag",))


def _explain_nothing(reader: Reader, question: _Question) -> None:
    from pixelmeter.ledger.attempts import attempts

    if attempts(reader, limit=1):
        between = question.told().replace(" to ", " and ")
        click.echo(f"Nothing fits between {between}: give an earlier --since, or fewer filters.")
    else:
        click.echo(
            "The ledger is empty: wrap a client with pixelmeter.instrument(client, meter) and make an image call, "
            "or run `pixelmeter demo` to see one filled."
        )
