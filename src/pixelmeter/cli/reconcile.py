"""`pixelmeter reconcile`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pixelmeter.cli.options import database_url_option, format_option
from pixelmeter.core.reconciling.result import CLASSES
from pixelmeter.core.text import dollars, exact_usd, plural
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from pixelmeter.ledger.reader import LedgerReader
    from pixelmeter.reconcile.service import Applied, Plan, Report, Task
    from pixelmeter.reconcile.sources import Source, UsageClient

__all__ = ["command"]

_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# 1 and 2 say that it could not be done, as for every command.
_OPEN = 3
_ITEMS = ("class", "time", "model", "theirs", "ours", "difference")
_IMAGES = ("class", "day", "model", "theirs", "ours", "difference", "unknown")
_ITEMS_RIGHT = ("theirs", "ours", "difference")


def _span(ctx: click.Context, param: click.Parameter, value: str) -> int:
    found = _SPAN.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value[:40]!r} is no span of time: write 120s, 30m, 24h or 2d", ctx, param)
    return int(found[1]) * _SECONDS[found[2]] * 1_000_000


def _columns(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in (each for given in value for each in given.split(",")):
        name, separator, column = text.partition("=")
        if not separator or not name.strip() or not column.strip():
            raise click.BadParameter(f"{text[:40]!r} names no column: write id=COLUMN,time=COLUMN", ctx, param)
        columns[name.strip()] = column.strip()
    return columns


@click.command
@click.option("--gateway", metavar="NAME", required=True, help="The gateway, by its name in `pixelmeter calls`.")
@click.option("--month", metavar="YYYY-MM", required=True, help="The month, in UTC.")
@click.option(
    "--source",
    "source_id",
    metavar="NAME",
    show_default="the gateway's usual one",
    help="Which of the gateway's reports to read.",
)
@click.option("--file", metavar="FILE", help="Read a downloaded report instead: CSV or JSON lines, also in gzip.")
@click.option(
    "--columns",
    metavar="NAME=COLUMN,…",
    multiple=True,
    callback=_columns,
    help="What the columns of the file are: id, time, model, amount, currency, unit (cents …), images, requests, "
    "status, label.",
)
@click.option(
    "--grain",
    type=click.Choice(("request", "hour", "day", "month")),
    default="request",
    show_default=True,
    help="What a row of the file has the amount of.",
)
@click.option(
    "--complete", is_flag=True, help="The report is complete: an attempt that it does not have was not charged."
)
@click.option("--base-url", metavar="URL", help="The address of the gateway's API, if it is not the vendor's.")
@click.option(
    "--lag",
    default="24h",
    show_default=True,
    callback=_span,
    help="How old a request must be for the report to have it.",
)
@click.option(
    "--window",
    default="120s",
    show_default=True,
    callback=_span,
    help="How far the times of the two sides may differ for the same request.",
)
@click.option("--show", type=click.Choice(CLASSES), multiple=True, help="List the rows of this class; repeatable.")
@click.option("--dry-run", is_flag=True, help="Only show the result: nothing is kept and nothing is adjusted.")
@click.option("--accept", is_flag=True, help="Where the amounts differ, take the one of the gateway.")
@click.option("--yes", is_flag=True, help="Do not ask before adjusting.")
@click.option("--by", metavar="NAME", show_default="the login name", help="Who does it; kept with the adjustments.")
@format_option
@database_url_option
def command(
    gateway: str,
    month: str,
    source_id: str | None,
    file: str | None,
    columns: dict[str, str],
    grain: Any,
    complete: bool,
    base_url: str | None,
    lag: int,
    window: int,
    show: Sequence[str],
    dry_run: bool,
    accept: bool,
    yes: bool,
    by: str | None,
    format: str,
    database_url: str,
) -> None:
    """Compare the ledger with what a gateway says that it charged in a month.

    Reads the gateway's usage report, keeps its rows, and shows what is equal, what differs, and what only one side has.
    An attempt of unknown cost gets the amount of the report, as an adjustment; attempts of known cost change only with
    --accept. It asks before it adjusts; in a script use --yes. The key for the gateway comes from the environment.
    Running it again goes on where it ended, and changes nothing that is settled.

    The exit status is 0 when everything is settled, and 3 when something is open.
    """
    from pixelmeter.cli.output import warn
    from pixelmeter.reconcile.images import counts_images
    from pixelmeter.reconcile.service import Task, apply, foresee, read
    from pixelmeter.reports.correction import login_name
    from pixelmeter.reports.opening import open_ledger

    source = _source(gateway, source_id, file, columns, grain)
    task = Task(
        url=database_url,
        source=source,
        month=month,
        lag=lag,
        window=window,
        accept=accept,
        is_complete=complete,
        is_file=bool(file),
        is_of_images=counts_images(source),
    )
    _ = task.period
    if task.is_of_images:
        _compare_images(task, base_url, show, format, store=not dry_run)
        return
    with open_ledger(database_url, warn) as reader, _client(source, base_url) as client, _progress(source) as told:
        report = read(reader, client, task, store=not dry_run, told=told)
        plan = foresee(reader, task, report, is_stored=not dry_run)
    with open_ledger(database_url, warn) as reader:
        # A document says what was done as well, so it comes last.
        if format != "json":
            _show(reader, task, report, plan, None, show, format, is_stored=not dry_run)
        applied = None
        if not dry_run:
            applied = _settle(reader, task, report, plan, apply, by=by or login_name(), yes=yes, format=format)
        if format == "json":
            is_late = applied is not None and applied.settled_meanwhile and not applied.adjusted
            shown = applied.plan if applied is not None and is_late else plan
            _show(reader, task, report, shown, applied, show, format, is_stored=not dry_run)
    _end(report, plan if applied is None else applied.plan)


def _source(gateway: str, source_id: str | None, file: str | None, columns: dict[str, str], grain: Any) -> Source:
    from pixelmeter.reconcile.sources import sources_for
    from pixelmeter.reconcile.sources.files import FileSource

    if file is not None:
        if source_id is not None:
            raise click.UsageError("--source and --file are two reports: leave one of them out")
        return FileSource(file, gateway, columns, grain=grain)
    if columns or grain != "request":
        raise click.UsageError("--columns and --grain describe a --file")
    known = sources_for(gateway)
    if not known:
        raise ConfigError(f"no report of {gateway[:80]!r} is known: download one, and name it with --file")
    names = ", ".join(one.id for one in known)
    if source_id is None:
        return known[0]
    found = next((one for one in known if one.id == source_id), None)
    if found is None:
        raise ConfigError(f"{gateway} has no report {source_id[:80]!r}: it has {names}")
    return found


@contextmanager
def _client(source: Source, base_url: str | None) -> Generator[UsageClient | None]:
    from pixelmeter.reconcile.sources.files import FileSource

    if isinstance(source, FileSource):
        yield None
        return
    import httpx

    from pixelmeter.cli.output import warn
    from pixelmeter.reconcile.sources import UsageClient
    from pixelmeter.serve.guard import is_loopback
    from pixelmeter.settings import usage_key, usage_key_names

    address = base_url or source.base_url
    if address is None:
        raise ConfigError(f"say with --base-url where {source.gateway} is to be asked")
    key = usage_key(source.gateway)
    if key is None:
        raise ConfigError(f"there is no key to ask {source.gateway} with: set {usage_key_names(source.gateway)}")
    with httpx.Client() as http:
        client = UsageClient(http, address, key, told=warn)
        asked = httpx.URL(client.base_url)
        if asked.scheme == "http" and not is_loopback(asked.host):
            warn(f"the key goes to {asked.host} over http://, where others on the way can read it: use https://")
        yield client


@contextmanager
def _progress(source: Source) -> Generator[Callable[[int, int], None]]:
    from pixelmeter.cli.progress import progress

    with progress(f"Reading {source.id}", None, is_shown=sys.stderr.isatty()) as show:
        yield lambda pages, rows: show(pages, f"page {pages}, {rows:,} rows")


def _show(
    reader: LedgerReader,
    task: Task,
    report: Report,
    plan: Plan,
    applied: Applied | None,
    show: Sequence[str],
    format: str,
    *,
    is_stored: bool,
) -> None:
    from pixelmeter.cli.output import emit, emit_json, plain, say
    from pixelmeter.reconcile.listing import ITEM_COLUMNS, SUMMARY_COLUMNS, items, remarks, summary, told_of
    from pixelmeter.reconcile.service import notes_of

    rows, listed = summary(plan.result), list(items(plan.result, show))
    said = [*notes_of(reader, task, report, plan, is_stored=is_stored), *remarks(plan), *report.problems]
    if format == "json":
        emit_json(_document(task, plan, applied, rows, listed, said))
    elif format == "csv":
        emit(listed if show else rows, ITEM_COLUMNS if show else SUMMARY_COLUMNS, format)
    else:
        emit([_cells(row) for row in rows], _of_table(SUMMARY_COLUMNS), format, right=_ITEMS_RIGHT)
        if listed:
            say("")
            told = [[told_of(row)] for row in listed]
            emit(list(map(_cells, listed)), _ITEMS, format, right=_ITEMS_RIGHT, names=("model",), below=told)
    for text in (*said, *_sentences(plan)):
        if format == "table":
            say(text)
        elif format == "csv":
            click.echo(plain(text), err=True)


def _compare_images(task: Task, base_url: str | None, show: Sequence[str], format: str, *, store: bool) -> None:
    from pixelmeter.cli.output import emit, emit_json, plain, say, warn
    from pixelmeter.reconcile.images import compared
    from pixelmeter.reconcile.service import notes_of, read
    from pixelmeter.reports.opening import open_ledger

    source = task.source
    with open_ledger(task.url, warn) as reader, _client(source, base_url) as client, _progress(source) as told:
        report = read(reader, client, task, store=store, told=told)
        sums = compared(reader, task, report, is_stored=store)
        said = [*notes_of(reader, task, report, is_stored=store), *report.problems]
    rows: list[dict[str, Any]] = [
        {"class": one.kind, "day": one.day.isoformat(), "model": one.model or None, "theirs": one.theirs}
        | {"ours": one.ours, "difference": one.difference, "unknown": one.unknown}
        for one in sums
        if not show or one.kind in show
    ]
    if format == "json":
        about = {"gateway": source.gateway, "source": source.id, "month": task.month}
        emit_json({**about, "images": rows, "notes": said})
    else:
        emit(rows, _IMAGES, format, right=_IMAGES[3:], names=("model",))
        for text in said:
            say(text) if format == "table" else click.echo(plain(text), err=True)
    if report.reading.problems or any(one.kind not in ("equal", "too_young") for one in sums):
        click.get_current_context().exit(_OPEN)


def _settle(
    reader: LedgerReader,
    task: Task,
    report: Report,
    plan: Plan,
    apply: Callable[..., Applied],
    *,
    by: str | None,
    yes: bool,
    format: str,
) -> Applied | None:
    """Adjust what is to be adjusted, and return what was done; None where nobody has agreed."""
    if plan.settlements and not yes and not _agreed(len(plan.settlements)):
        click.echo("Nothing was adjusted: run it again with --yes.", err=True)
        return None
    applied = apply(reader, task, report, plan, by=by)
    is_aside = format != "table"
    if plan.settlements:
        click.echo(f"{plural(applied.adjusted, 'attempt')} adjusted", err=is_aside)
    if applied.settled_meanwhile:
        told = f"{plural(len(applied.settled_meanwhile), 'attempt')} settled by another run meanwhile"
        click.echo(told, err=is_aside)
    for one in applied.changed_meanwhile:
        click.echo(f"attempt {one.attempt.id} has changed meanwhile: left for the next run", err=is_aside)
    for one in applied.gone:
        click.echo(f"attempt {one.attempt.id} is not in the ledger any more: it was not adjusted", err=is_aside)
    return applied


def _agreed(number: int) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm(f"Adjust {plural(number, 'attempt')}?", err=True)


def _end(report: Report, plan: Plan) -> None:
    from pixelmeter.reconcile.listing import is_open

    if is_open(plan, report):
        click.get_current_context().exit(_OPEN)


def _sentences(plan: Plan) -> list[str]:
    result = plan.result
    coverage = result.coverage
    share = "nothing was charged" if coverage is None else f"{_percent(coverage)} of what they charged is ours"
    said = [f"{share}; what matches differs by {dollars(result.drift)} (ours - theirs)"]
    if plan.settlements:
        total = sum(one.amount for one in plan.settlements)
        said.append(f"{plural(len(plan.settlements), 'attempt')} can be settled, for {dollars(total)}")
    return said


def _percent(share: Any) -> str:
    hundredths = share.numerator * 10_000 // share.denominator
    return f"{hundredths // 100}.{hundredths % 100:02} %"


def _document(
    task: Task, plan: Plan, applied: Applied | None, rows: Any, listed: Any, said: Sequence[str]
) -> dict[str, Any]:
    result = plan.result
    coverage = result.coverage
    return {
        "gateway": task.source.gateway,
        "source": task.source.id,
        "month": task.month,
        "coverage_ppm": None if coverage is None else coverage.numerator * 1_000_000 // coverage.denominator,
        "theirs_usd": exact_usd(result.theirs),
        "ours_usd": exact_usd(result.ours),
        "matched_usd": exact_usd(result.matched),
        "drift_usd": exact_usd(result.drift),
        "to_settle": len(plan.settlements),
        "adjusted": 0 if applied is None else applied.adjusted,
        "settled_meanwhile": 0 if applied is None else len(applied.settled_meanwhile),
        "classes": rows,
        "items": listed,
        "notes": said,
    }


def _of_table(columns: Sequence[str]) -> list[str]:
    return [name.removesuffix("_usd") for name in columns]


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a table has it: amounts with their sign."""
    return {
        name.removesuffix("_usd"): _amount(value) if name.endswith("_usd") and value is not None else value
        for name, value in row.items()
    }


def _amount(text: str) -> str:
    return f"-${text[1:]}" if text.startswith("-") else f"${text}"
