"""`pixelmeter report`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from pixelmeter.cli.options import (
    database_url_option,
    filter_options,
    format_option,
    period_of_range,
    range_options,
    reading,
)
from pixelmeter.core.reporting.columns import (
    COLUMNS,
    OF_PROGRAMS,
    OF_TABLES,
    as_json,
    cells,
    columns,
    csv_columns,
    csv_rows,
)
from pixelmeter.core.reporting.periods import utc_text
from pixelmeter.core.reporting.report import DIMENSIONS, dimensions
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from pixelmeter.ledger.queries import TagUse
    from pixelmeter.ledger.reader import LedgerReader
    from pixelmeter.reports.report import Answer, Question

_DROP = ("p50", "share", "calls", "p95", "errors", "attempts", "images", "unknown_cost", "at_risk")
_SAVINGS = ("baseline", "route_fee", "savings")
_WORTH_SAYING_SECONDS = 1


@click.command
@click.option(
    "--by",
    metavar="DIMENSION,...",
    default="model",
    callback=reading(dimensions),
    show_default=True,
    help=f"What to group by: {', '.join(DIMENSIONS)}, tag:KEY.",
)
@click.option(
    "--columns",
    "chosen",
    metavar="COLUMN,...",
    callback=reading(columns),
    help=f"What to show, in this order: {', '.join(COLUMNS)}.",
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(1, 1_000_000),
    help="Only the N most expensive rows; one more row has the sum of the others.",
)
@click.option("--tags", "lists_tags", is_flag=True, help="List the keys of all tags instead of a report.")
@range_options(since="30d", until="0m")
@filter_options
@click.option("--with-fees", is_flag=True, help="Show the gateway's own fee, which it charges besides the cost.")
@click.option("--savings", is_flag=True, help="Show what the gateway says that it saved by choosing the model.")
@format_option
@database_url_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    by: tuple[str, ...],
    chosen: tuple[str, ...] | None,
    top: int | None,
    lists_tags: bool,
    since: datetime,
    until: datetime,
    tz: ZoneInfo,
    with_fees: bool,
    savings: bool,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """Sum up spend, latency and failures.

    A cost is the sum of what is known. Attempts of unknown cost are counted in a column of their own, and so is the
    estimate for attempts of which nobody knows whether they were billed (at risk). Neither is part of the cost.
    """
    if since >= until:
        raise click.UsageError(f"--since ({utc_text(since)}) must be before --until ({utc_text(until)})")
    from pixelmeter.cli.output import warn
    from pixelmeter.ledger.queries import Filters
    from pixelmeter.reports.opening import open_ledger
    from pixelmeter.reports.report import Question, ask, tags_in_use

    shown = _with_fees(chosen, format, with_fees)
    if savings:
        shown = (*shown, *(name for name in _SAVINGS if name not in shown))
    try:
        question = Question(
            since=since,
            until=until,
            zone=tz,
            filters=Filters(**filters),
            by=by,
            columns=shown,
            top=top,
            period=period_of_range(ctx),
        )
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    with open_ledger(database_url, warn) as reader:
        if lists_tags:
            _print_tags(tags_in_use(reader, question), question, format)
        else:
            _say_how_long(reader, question)
            answer = ask(reader, question, with_notes=format == "table")
            _print(answer, question, format, is_chosen=chosen is not None)


def _say_how_long(reader: LedgerReader, question: Question) -> None:
    """Say before it begins how long a report takes that has to read many attempts."""
    from pixelmeter.reports.report import expected
    from pixelmeter.system import SystemClock

    found = expected(reader, question, SystemClock())
    if found is not None and found.seconds >= _WORTH_SAYING_SECONDS:
        seconds = round(found.seconds)
        told = f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} minutes"
        text = f"No rollup has this: about {found.attempts:,} attempts are read, which takes about {told}."
        click.echo(text, err=True)


def _with_fees(chosen: tuple[str, ...] | None, format: str, with_fees: bool) -> tuple[str, ...]:
    shown = chosen or (OF_TABLES if format == "table" else OF_PROGRAMS)
    if not with_fees or "fee" in shown:
        return shown
    if chosen:
        return (*shown, "fee")
    # In a table beside the cost, in JSON and CSV where it has always been.
    place = shown.index("at_risk") + (0 if format == "table" else 1)
    return (*shown[:place], "fee", *shown[place:])


def _print(answer: Answer, question: Question, format: str, *, is_chosen: bool) -> None:
    from pixelmeter.cli.output import emit_json, write_csv_rows

    report, shown = answer.report, question.columns
    if format == "json":
        emit_json(as_json(report, shown))
    elif format == "csv":
        write_csv_rows(csv_rows(report, shown), csv_columns(report, shown))
    elif report.rows:
        _print_table(answer, question, is_chosen=is_chosen)
    else:
        for note in answer.notes:
            click.echo(note)


def _print_table(answer: Answer, question: Question, *, is_chosen: bool) -> None:
    from pixelmeter.cli.output import emit, say

    report, shown = answer.report, question.columns
    if not is_chosen and not report.total.unknown_cost_attempts:
        shown = tuple(name for name in shown if name != "unknown_cost")
    say(f"{question.told()}, known cost in USD")
    emit(
        [cells(row, report, shown) for row in report.rows],
        [*report.by, *shown],
        "table",
        right=shown,
        total=cells(report.total, report, shown) | {report.by[0]: "total"},
        names=report.by,
        drop=() if is_chosen else _DROP,
    )
    if answer.history is not None and (sys.stdout.encoding or "").lower().startswith("utf"):
        say(answer.history)
    for note in answer.notes:
        say(note)


def _print_tags(found: Sequence[TagUse], question: Question, format: str) -> None:
    from pixelmeter.cli.output import emit, say

    if format == "table" and not found:
        click.echo(f"No attempt has a tag from {question.told()}: put some on with pixelmeter.tags(team=...).")
        return
    emit([use._asdict() for use in found], ("tag", "attempts", "values"), format, names=("tag",))
    if format == "table":
        say("An attempt counts at each of its tags: these rows overlap.")
