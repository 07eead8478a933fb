"""`pixelmeter calls`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from pixelmeter.cli.options import database_url_option, filter_options, format_option, range_options
from pixelmeter.core.reporting.listing import COLUMNS, OF_TABLES, cells, columns, listed
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from pixelmeter.core.attempts.record import Attempt
    from pixelmeter.ledger.filters import Filters
    from pixelmeter.ledger.reader import Reader

_RIGHT = ("status", "images", "cost", "at_risk", "seconds")
_NAMES = ("gateway", "model", "tags")
_DROP = ("tags", "gateway", "status", "images", "at_risk", "seconds")
# With --follow a row is printed before the next is known.
_WIDTHS = {"started_at": 19, "outcome": 11, "status": 6, "images": 6, "cost": 15, "at_risk": 8, "seconds": 7}
_INTERVAL = 1.0
# Attempts reach the ledger when they end, so a new one may have started this long ago.
_LONGEST = timedelta(minutes=15)


def _columns(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    try:
        return None if value is None else columns(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command
@range_options(since=None, until=None)
@filter_options
@click.option("--status", type=click.IntRange(100, 999), help="Only this HTTP status.")
@click.option("--call-id", type=click.UUID, help="Only the attempts of this call.")
@click.option("--limit", type=click.IntRange(1, 1_000_000_000), default=50, show_default=True, help="At most so many.")
@click.option("--follow", is_flag=True, help="Then print new ones as they are committed, oldest first, until Ctrl-C.")
@click.option(
    "--columns",
    "chosen",
    metavar="COLUMN,...",
    callback=_columns,
    help="What to show, in this order: of the ledger's columns, such as id,cost,trace_id.",
)
@format_option
@database_url_option
def command(
    since: datetime | None,
    until: datetime | None,
    tz: ZoneInfo,
    call_id: UUID | None,
    limit: int,
    follow: bool,
    chosen: tuple[str, ...] | None,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """List single attempts, newest first.

    The table's times are those of --tz; JSON and CSV have every field of the ledger, in UTC. With --follow, JSON is
    one object a line, and an attempt that ran for more than 15 minutes is not followed.
    """
    if follow and until is not None:
        raise click.UsageError("--follow has no end: leave out --until")
    from pixelmeter.cli.ledger import open_ledger_for_reading
    from pixelmeter.cli.output import emit
    from pixelmeter.ledger.attempts import attempts
    from pixelmeter.ledger.filters import Filters

    wanted = Filters(call_id=str(call_id) if call_id else None, **filters)
    with open_ledger_for_reading(database_url) as reader:
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(reader, since, wanted, limit, _printer(format, tz, chosen))
            return
        found = attempts(reader, since=since, until=until, filters=wanted, limit=limit)
    if format != "table":
        emit([listed(one) for one in found], chosen or COLUMNS, format)
    elif found:
        shown = chosen or OF_TABLES
        drop = () if chosen else _DROP
        emit([cells(one, tz) for one in found], shown, format, right=_RIGHT, names=_NAMES, drop=drop)
    else:
        click.echo("No attempt fits: give an earlier --since, or fewer filters, or meter a call first.")


def _follow(
    reader: Reader,
    since: datetime | None,
    filters: Filters,
    limit: int,
    show: Callable[[Sequence[Attempt]], None],
) -> None:
    from pixelmeter.ledger.attempts import attempts, attempts_of, identities

    seen = identities(reader, since=datetime.now(UTC) - _LONGEST, filters=filters)
    newest = attempts(reader, since=since, filters=filters, limit=limit)
    seen.update(one.id for one in newest)
    show(newest[::-1])
    while True:
        sys.stdout.flush()
        reader.refresh()
        time.sleep(_INTERVAL)
        present = identities(reader, since=datetime.now(UTC) - _LONGEST, filters=filters)
        show(attempts_of(reader, present - seen))
        seen = present


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
