"""`pixelmeter calls`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click
import msgspec

from pixelmeter.cli.ledger import open_ledger_for_reading
from pixelmeter.cli.options import database_url_option, filter_options, format_option, range_options
from pixelmeter.cli.output import emit, emit_json, plain, write_csv
from pixelmeter.core.listing import COLUMNS, listed, started
from pixelmeter.core.money import dollars
from pixelmeter.core.record import Attempt

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pixelmeter.ledger.filters import Filters

_TABLE = ("started_at", "outcome", "status", "images", "cost", "at_risk", "seconds", "gateway", "model", "tags")
_RIGHT = ("status", "images", "cost", "at_risk", "seconds")
_WIDTHS = {"started_at": 19, "outcome": 11, "status": 3, "images": 2, "cost": 10, "at_risk": 8, "seconds": 7}
_INTERVAL = 1.0
# Attempts reach the ledger when they end, so a new one may have started this long ago.
_LONGEST = timedelta(minutes=15)


@click.command
@range_options(since=None, until=None)
@filter_options
@click.option("--status", type=click.IntRange(100, 999), help="Only this HTTP status.")
@click.option("--call-id", type=click.UUID, help="Only the attempts of this call.")
@click.option("--limit", type=click.IntRange(1, 1_000_000_000), default=50, show_default=True, help="At most so many.")
@click.option("--follow", is_flag=True, help="Then print new ones as they are committed, oldest first, until Ctrl-C.")
@format_option
@database_url_option
def command(
    since: datetime | None,
    until: datetime | None,
    tz: ZoneInfo,
    call_id: UUID | None,
    limit: int,
    follow: bool,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """List single attempts, newest first.

    The table's times are those of --tz; JSON and CSV have every field of the ledger, in UTC. With --follow, JSON is
    one object a line, and an attempt that ran for more than 15 minutes is not followed.
    """
    from pixelmeter.ledger.attempts import attempts
    from pixelmeter.ledger.filters import Filters

    if follow and until is not None:
        raise click.UsageError("--follow has no end: leave out --until")
    chosen = Filters(call_id=str(call_id) if call_id else None, **filters)
    with open_ledger_for_reading(database_url) as connection:
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(connection, since, chosen, limit, _printer(format, tz))
            return
        found = attempts(connection, since=since, until=until, filters=chosen, limit=limit)
    if format != "table":
        emit([listed(one) for one in found], COLUMNS, format)
    elif found:
        emit([_cells(one, tz) for one in found], _TABLE, format, right=_RIGHT)
    else:
        click.echo("No attempt fits: give an earlier --since, or fewer filters, or meter a call first.")


def _follow(
    connection: Connection,
    since: datetime | None,
    filters: Filters,
    limit: int,
    show: Callable[[Sequence[Attempt]], None],
) -> None:
    from pixelmeter.ledger.attempts import attempts, attempts_of, identities

    seen = identities(connection, since=datetime.now(UTC) - _LONGEST, filters=filters)
    newest = attempts(connection, since=since, filters=filters, limit=limit)
    seen.update(one.id for one in newest)
    show(newest[::-1])
    while True:
        sys.stdout.flush()
        # A transaction sees the ledger as it was; end it to see what came.
        connection.rollback()
        time.sleep(_INTERVAL)
        present = identities(connection, since=datetime.now(UTC) - _LONGEST, filters=filters)
        show(attempts_of(connection, present - seen))
        seen = present


def _printer(format: str, zone: tzinfo) -> Callable[[Sequence[Attempt]], None]:
    def show(found: Sequence[Attempt]) -> None:
        if format == "csv":
            write_csv([listed(one) for one in found], COLUMNS, header=False)
            return
        for one in found:
            if format == "json":
                emit_json(listed(one), indent=None)
            else:
                click.echo(_line(_cells(one, zone)))

    if format == "csv":
        write_csv([], COLUMNS)
    return show


def _line(cells: Mapping[str, object]) -> str:
    texts = ((name, plain(cells[name]), _WIDTHS.get(name, 0)) for name in _TABLE)
    return "  ".join(text.rjust(width) if name in _RIGHT else text.ljust(width) for name, text, width in texts).rstrip()


def _cells(attempt: Attempt, zone: tzinfo) -> dict[str, object]:
    tags: dict[str, str] = msgspec.json.decode(attempt.tags)
    return {
        "started_at": f"{started(attempt).astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "outcome": attempt.outcome,
        "status": attempt.status,
        "images": attempt.images,
        "cost": attempt.cost_reason if attempt.cost is None else dollars(attempt.cost),
        "at_risk": None if attempt.at_risk is None else dollars(attempt.at_risk),
        "seconds": f"{attempt.duration / 1_000_000:.2f}",
        "gateway": attempt.gateway,
        "model": attempt.model,
        "tags": " ".join(f"{key}={value}" for key, value in tags.items()),
    }
