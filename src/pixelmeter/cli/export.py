"""`pixelmeter export`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from pixelmeter.cli.options import database_url_option, filter_options, range_options
from pixelmeter.core.text import dollars, exact_usd

if TYPE_CHECKING:
    from pixelmeter.export.service import Question, Summary
    from pixelmeter.ledger.reader import LedgerReader

_FORMATS = ("csv", "jsonl", "parquet", "focus")
_NAMED_DAYS = 3


@click.command
@click.argument("target")
@click.option(
    "--format",
    type=click.Choice(_FORMATS),
    required=True,
    help="CSV, one JSON object a line, Parquet (needs pixelmeter[parquet]), or FOCUS as CSV.",
)
@click.option(
    "--table",
    type=click.Choice(("attempts", "adjustments")),
    default="attempts",
    show_default=True,
    help="The attempts as they are now, or the adjustments that changed them.",
)
@click.option(
    "--focus-version",
    type=click.Choice(("1.4", "1.2")),
    default="1.4",
    show_default=True,
    help="Which version of FOCUS.",
)
@range_options(since=None, until=None)
@click.option("--month", metavar="YYYY-MM", help="Only this month, in the zone --tz.")
@filter_options
@click.option("--status", type=click.IntRange(100, 999), help="Only attempts with this HTTP status.")
@click.option("--call-id", type=click.UUID, help="Only the attempts of this call.")
@click.option("--resume", is_flag=True, help="In a folder, skip days that are written already and have not changed.")
@click.option(
    "--rows-per-file",
    type=click.IntRange(1, 1_000_000_000),
    default=1_000_000,
    show_default=True,
    help="In a folder, split a day that has more rows than this.",
)
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal.")
@database_url_option
def command(
    target: str,
    format: Any,
    table: Any,
    focus_version: Any,
    since: datetime | None,
    until: datetime | None,
    tz: ZoneInfo,
    month: str | None,
    status: int | None,
    call_id: UUID | None,
    resume: bool,
    rows_per_file: int,
    progress: bool | None,
    database_url: str,
    **filters: Any,
) -> None:
    """Write attempts, or their adjustments, for other tools.

    TARGET is a file, - for standard output, or a folder: one that exists, a name that ends with /, or
    s3://BUCKET/PREFIX/ (needs pixelmeter[s3]). A file gets all rows, and appears once it is complete. A folder gets a
    file for each UTC day, such as month=2026-11/part-2026-11-26.parquet; exporting again replaces the days.
    """
    if month is not None:
        if since is not None or until is not None:
            raise click.UsageError("--month has a beginning and an end: leave out --since and --until")
        since, until = _month(month, tz)
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    if format == "focus" and table != "attempts":
        raise click.UsageError("FOCUS is of attempts: leave out --table")
    if "://" in target and not target.startswith("s3://"):
        # Else it would be a folder of this machine, which nobody means by that.
        raise click.UsageError(f"{target}: of stores only s3:// is known, which other stores speak too")
    from pixelmeter.cli.output import warn
    from pixelmeter.export.service import Question, to_folder, to_stream
    from pixelmeter.export.stores import is_folder, stream
    from pixelmeter.ledger.queries import Filters
    from pixelmeter.ledger.retention import lacking
    from pixelmeter.reports.opening import open_ledger

    in_folder = is_folder(target)
    if resume and not in_folder:
        raise click.UsageError("only an export to a folder can go on: leave out --resume, or end TARGET with /")
    if format == "parquet" and target == "-":
        raise click.UsageError("Parquet needs a file or a folder")
    question = Question(
        format=format,
        table=table,
        focus_version=focus_version,
        since=since,
        until=until,
        filters=Filters(status=status, call_id=str(call_id) if call_id else None, **filters),
    )
    is_shown = progress
    if is_shown is None:
        # Rows on the same terminal would be torn by it.
        is_shown = sys.stderr.isatty() and not (target == "-" and sys.stdout.isatty())
    with open_ledger(database_url, warn) as reader, _ticking(reader, question, is_shown) as tick:
        if lack := lacking(reader, since):
            warn(lack)
        if in_folder:
            with _store(target) as store:
                done = to_folder(
                    reader,
                    question,
                    store,
                    tick,
                    now=datetime.now(UTC),
                    resume=resume,
                    rows_per_file=rows_per_file,
                )
        else:
            with stream(target) as file:
                done = to_stream(reader, question, file, tick)
    _tell(done, question, "standard output" if target == "-" else target, in_folder=in_folder)


def _month(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    from pixelmeter.core.reporting.periods import moment, span_of
    from pixelmeter.errors import ConfigError

    try:
        return span_of(moment(text, now=datetime.now(UTC), zone=zone), "month", zone)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--month") from None
    except OverflowError:
        raise click.BadParameter("no month so far away can be told", param_hint="--month") from None


def _store(target: str) -> AbstractContextManager[Any]:
    if target.startswith("s3://"):
        from pixelmeter.export.s3 import bucket

        return bucket(target)
    from pixelmeter.export.stores import folder

    return folder(target)


@contextmanager
def _ticking(reader: LedgerReader, question: Question, is_shown: bool) -> Generator[Callable[[date, int], None]]:
    if not is_shown:
        yield lambda _, __: None
        return
    from pixelmeter.cli.progress import progress
    from pixelmeter.export.tables import TABLES
    from pixelmeter.ledger.exports import span

    found = span(reader, TABLES[question.table].source, question.since, question.until)
    first, last = found or (date.min, date.min)
    with progress("Exporting", (last - first).days + 1, is_shown=True) as show:
        yield lambda day, read: show((day - first).days, f"{day.isoformat()}, {read:,} rows")


def _tell(done: Summary, question: Question, place: str, *, in_folder: bool) -> None:
    """Say on standard error what was exported, so that nobody takes what is left out for nothing."""
    what = "attempts" if question.table == "attempts" else "adjustments"
    told = f"{_number(done.rows, what)} to {place}"
    if in_folder:
        told += f", {_number(done.files, 'files')}"
    if question.table == "attempts":
        told += f"; known cost {exact_usd(done.cost)} USD"
        if done.unknown:
            told += f", {_number(done.unknown, 'attempts')} of unknown cost, {dollars(done.at_risk)} at risk"
    click.echo(told, err=True)
    if done.left_out:
        click.echo(f"FOCUS has no place for unknown cost: {_number(done.left_out, 'attempts')} left out", err=True)
    if done.not_billed:
        click.echo(f"Not billed, so no charge: {_number(done.not_billed, 'attempts')} left out", err=True)
    if done.skipped:
        click.echo(f"Skipped, as they are there already: {_number(len(done.skipped), 'days')}", err=True)
    if done.kept:
        days = ", ".join(map(str, done.kept[:_NAMED_DAYS])) + (" ..." if len(done.kept) > _NAMED_DAYS else "")
        click.echo(
            f"Warning: {_number(len(done.kept), 'days')} kept as exported before ({days}): the ledger has fewer rows "
            "of them now. To write them anew, remove _pixelmeter/DAY.json from the folder",
            err=True,
        )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what if count != 1 else what[:-1]}"
