"""`pixelmeter calls`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from pixelmeter.cli.options import database_url_option, filter_options, format_option, range_options, reading
from pixelmeter.core.reporting.budgets import listed_reset, told_reset
from pixelmeter.core.reporting.changes import listed_changes, told
from pixelmeter.core.reporting.listing import COLUMNS, OF_TABLES, cells, columns, listed

if TYPE_CHECKING:
    from pixelmeter.core.attempts.adjustment import Change
    from pixelmeter.core.attempts.record import Attempt
    from pixelmeter.core.budgets.state import Reset
    from pixelmeter.ledger.reader import LedgerReader

_ADJUSTMENTS = "adjustments"
_RESETS = "budget_resets"
_RIGHT = ("status", "images", "cost", "at_risk", "seconds")
_NAMES = ("gateway", "model", "tags")
_DROP = ("tags", "gateway", "status", "images", "at_risk", "seconds")
# With --follow a row is printed before the next is known.
_WIDTHS = {"started_at": 19, "outcome": 11, "status": 6, "images": 6, "cost": 15, "at_risk": 8, "seconds": 7}


@click.command
@range_options(since=None, until=None)
@filter_options
@click.option("--status", type=click.IntRange(100, 999), help="Only attempts with this HTTP status.")
@click.option("--call-id", type=click.UUID, help="Only the attempts of this call.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000_000),
    default=50,
    show_default=True,
    help="How many attempts to list at most.",
)
@click.option(
    "--sort",
    type=click.Choice(["time", "cost"]),
    default="time",
    show_default=True,
    help="Whether the newest or the most expensive come first.",
)
@click.option("--follow", is_flag=True, help="Go on with new attempts as they reach the ledger, until Ctrl-C.")
@click.option(
    "--history",
    is_flag=True,
    help="Show how each attempt was changed later: by the end of its job, a correction, a reset of its budgets.",
)
@click.option(
    "--columns",
    "chosen",
    metavar="COLUMN,...",
    callback=reading(columns),
    help="Which columns of the ledger to show, in this order, such as id,cost,trace_id.",
)
@format_option
@database_url_option
def command(
    since: datetime | None,
    until: datetime | None,
    tz: ZoneInfo,
    call_id: UUID | None,
    limit: int,
    sort: str,
    follow: bool,
    history: bool,
    chosen: tuple[str, ...] | None,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """List single attempts as they are now, newest first.

    The table has times in the zone --tz. JSON and CSV have all columns of the ledger, with times in UTC. With --follow,
    JSON is one object a line, and an attempt that ran for more than 15 minutes is left out.
    """
    if follow and until is not None:
        raise click.UsageError("--follow has no end: leave out --until")
    if follow and history:
        raise click.UsageError("--follow shows attempts as they come: leave out --history")
    if follow and sort == "cost":
        raise click.UsageError("--follow shows attempts as they come: leave out --sort cost")
    from pixelmeter.cli.output import emit, warn
    from pixelmeter.ledger.attempts import attempts
    from pixelmeter.ledger.queries import Filters
    from pixelmeter.ledger.retention import lacking
    from pixelmeter.reports.following import followed
    from pixelmeter.reports.opening import open_ledger

    wanted = Filters(call_id=str(call_id) if call_id else None, **filters)
    with open_ledger(database_url, warn) as reader:
        if follow:
            show = _printer(format, tz, chosen)
            with suppress(KeyboardInterrupt):
                for found in followed(reader, since=since, filters=wanted, limit=limit):
                    show(found)
                    sys.stdout.flush()
            return
        found = attempts(reader, since=since, until=until, filters=wanted, limit=limit, by_cost=sort == "cost")
        if (len(found) < limit or sort == "cost") and (lack := lacking(reader, since)):
            warn(lack)
        changes: Mapping[str, Sequence[Change]] = _changes(reader, found) if history else {}
        resets: Mapping[str, Sequence[Reset]] = _resets(reader, found) if history else {}
    if format != "table":
        rows, shown = [listed(one) for one in found], chosen or COLUMNS
        if history:
            shown = (*shown, _ADJUSTMENTS, _RESETS)
            rows = [
                row
                | {
                    _ADJUSTMENTS: listed_changes(changes.get(one.id, ())),
                    _RESETS: [listed_reset(reset) for reset in resets.get(one.id, ())],
                }
                for one, row in zip(found, rows, strict=True)
            ]
        emit(rows, shown, format)
    elif found:
        below = [_told(changes.get(one.id, ()), resets.get(one.id, ()), tz) for one in found]
        drop = () if chosen else _DROP
        table = [cells(one, tz) for one in found]
        emit(table, chosen or OF_TABLES, format, right=_RIGHT, names=_NAMES, drop=drop, below=below)
    else:
        click.echo("No attempt fits: give an earlier --since, or fewer filters, or meter a call first.")


def _changes(reader: LedgerReader, found: Sequence[Attempt]) -> Mapping[str, Sequence[Change]]:
    from pixelmeter.reports.history import changes_of

    return changes_of(reader, [one.id for one in found])


def _resets(reader: LedgerReader, found: Sequence[Attempt]) -> Mapping[str, Sequence[Reset]]:
    from pixelmeter.reports.budgets import resets_of_attempts

    return resets_of_attempts(reader, found)


def _told(changes: Sequence[Change], resets: Sequence[Reset], zone: tzinfo) -> list[str]:
    """Return what became of an attempt, and of the budgets that it counted towards, as sentences in order of time."""
    said = [(change.adjustment.made_at, told(change, zone)) for change in changes]
    said += [(reset.made_at, told_reset(reset, zone, is_beside_attempt=True)) for reset in resets]
    return [text for _, text in sorted(said, key=lambda one: one[0])]


def _printer(format: str, zone: tzinfo, chosen: tuple[str, ...] | None) -> Callable[[Sequence[Attempt]], None]:
    from pixelmeter.cli.output import emit_json, write_csv

    shown = chosen or COLUMNS

    def show(found: Sequence[Attempt]) -> None:
        if format == "csv":
            write_csv([listed(one) for one in found], shown, header=False)
            return
        for one in found:
            if format == "json":
                emit_json({name: value for name, value in listed(one).items() if name in shown}, indent=None)
            else:
                click.echo(line(one))

    if format == "csv":
        write_csv([], shown)
    line = _line_of(zone, chosen) if format == "table" else str
    return show


def _line_of(zone: tzinfo, chosen: tuple[str, ...] | None) -> Callable[[Attempt], str]:
    """Return what makes the line of an attempt, on a terminal no wider than that."""
    from pixelmeter.cli.output import table_columns
    from pixelmeter.cli.table import fitted, line, terminal_width

    names = chosen or OF_TABLES
    width = terminal_width()
    # A row is printed before the next is known: what is not of a known width may have what is left of the line.
    expected = {name: "x" * _WIDTHS.get(name, width or 0) for name in names}
    others = [name for name in names if name not in _WIDTHS]
    columns, widths = fitted(table_columns([expected], names, right=_RIGHT, names=others, drop=_DROP), width)

    def show(one: Attempt) -> str:
        texts = table_columns([cells(one, zone)], names, right=_RIGHT, names=others)
        row = [text for text in texts if any(text.heading == column.heading for column in columns)]
        needed = [max(given, text.natural()) for given, text in zip(widths, row, strict=True)]
        return line(columns, widths if width else needed, [text.cells[0] for text in row])[0]

    return show
