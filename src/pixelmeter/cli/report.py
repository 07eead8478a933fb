"""`pixelmeter report`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from pixelmeter.cli.ledger import open_ledger_for_reading
from pixelmeter.cli.options import database_url_option, filter_options, format_option, range_options
from pixelmeter.cli.output import emit, emit_json, plain, write_csv
from pixelmeter.core.money import dollars
from pixelmeter.core.periods import Period, utc_text
from pixelmeter.core.report import Report, dimensions, summarise
from pixelmeter.core.report_text import lines, notes, sparkline
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pixelmeter.ledger.filters import Filters

_MONEY_AND_MORE = ("calls", "attempts", "images", "errors", "cost", "share", "at_risk", "unknown_cost", "p50", "p95")
_STROKES = 62


def _dimensions(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    try:
        return dimensions(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command
@click.option(
    "--by",
    metavar="DIMENSION,...",
    default="model",
    callback=_dimensions,
    show_default=True,
    help="What to group by: model, day, week, month, gateway, provider, operation, outcome, size, quality, tag:KEY.",
)
@range_options(since="30d", until="0m")
@filter_options
@click.option("--with-fees", is_flag=True, help="Show what the gateway charges on top.")
@format_option
@database_url_option
def command(
    by: tuple[str, ...],
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
    from pixelmeter.ledger.filters import Filters
    from pixelmeter.ledger.queries import grouped

    if since >= until:
        raise click.UsageError(f"--since ({utc_text(since)}) must be before --until ({utc_text(until)})")
    chosen = Filters(**filters)
    with open_ledger_for_reading(database_url) as connection:
        report = summarise(grouped(connection, by, since, until, tz, chosen), by=by, since=since, until=until)
        if format == "json":
            emit_json(report.as_json(fees=with_fees))
        elif format == "csv":
            rows = [row.as_json(by, fees=with_fees) for row in report.rows]
            write_csv(rows, [*by, *report.total.as_json((), fees=with_fees)])
        elif report.rows:
            _print(connection, report, tz, chosen, with_fees)
        else:
            _explain_nothing(connection, report)


def _print(connection: Connection, report: Report, zone: ZoneInfo, filters: Filters, with_fees: bool) -> None:
    from pixelmeter.ledger.queries import unpriced

    rows, total = lines(report)
    figures = [name for name in _MONEY_AND_MORE if name != "unknown_cost" or report.total.unknown_cost_attempts]
    if with_fees:
        figures.insert(figures.index("at_risk"), "fee")
    since, until = (utc_text(when.replace(microsecond=0)) for when in (report.since, report.until))
    click.echo(f"{since} to {until}, known cost in USD")
    emit(rows, [*report.by, *figures], "table", right=figures, total=total)
    missing = unpriced(connection, report.since, report.until, filters) if report.total.unknown_cost_attempts else []
    for line in [*_history(connection, report, zone, filters), *notes(report, missing)]:
        click.echo(plain(line))


def _history(connection: Connection, report: Report, zone: ZoneInfo, filters: Filters) -> list[str]:
    from pixelmeter.ledger.queries import cost_by_period

    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return []
    days = (report.until - report.since).days
    period: Period = "day" if days <= _STROKES else "week" if days <= _STROKES * 7 else "month"
    costs = cost_by_period(connection, period, report.since, report.until, zone, filters)
    if len(costs) < 2 or max(costs.values()) <= 0:
        return []
    first, *_, last = costs
    return [f"By {period}: {first} {sparkline(list(costs.values()))} {last}, at most {dollars(max(costs.values()))}"]


def _explain_nothing(connection: Connection, report: Report) -> None:
    from pixelmeter.ledger.attempts import attempts

    if attempts(connection, limit=1):
        click.echo(
            f"Nothing fits between {utc_text(report.since)} and {utc_text(report.until)}: "
            "give an earlier --since, or fewer filters."
        )
    else:
        click.echo(
            "The ledger is empty: wrap a client with pixelmeter.instrument(client, meter) and make an image call, "
            "or run `pixelmeter demo` to see one filled."
        )
