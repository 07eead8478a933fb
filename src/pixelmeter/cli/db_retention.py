"""`pixelmeter db prune`, `forget` and `size`."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from pixelmeter.cli.options import database_url_option, format_option
from pixelmeter.core.text import plural

if TYPE_CHECKING:
    from pixelmeter.ledger.pruning import Plan

__all__ = ["forget", "prune", "size"]

_AGE = re.compile(r"([0-9]{1,5})([dw])")


def _age(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    from pixelmeter.ledger.pruning import SHORTEST

    found = _AGE.fullmatch(value.strip())
    age = timedelta(days=int(found[1]) * (7 if found[2] == "w" else 1)) if found else timedelta()
    if not SHORTEST <= age < timedelta(days=36_500):
        raise click.BadParameter(
            f"{value[:40]!r} is no age of {SHORTEST.days} days or more: write it as 90d or 26w", ctx, param
        )
    return age


@click.command()
@click.option(
    "--keep",
    metavar="AGE",
    required=True,
    callback=_age,
    help="Keep attempts that are younger than this: 90d, 26w; at least 7d.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option(
    "--rewrite",
    is_flag=True,
    help="Of SQLite, write the file anew afterwards: once, so that it shrinks from then on. Needs twice its size of "
    "free disk; writers wait meanwhile.",
)
@click.option("--by", metavar="NAME", show_default="the login name", help="Who does it; kept with the prune.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal.")
@database_url_option
def prune(
    keep: timedelta, dry_run: bool, rewrite: bool, by: str | None, progress: bool | None, database_url: str
) -> None:
    """Delete old attempts. Sums by hour, day and tag stay, so reports of that time go on working.

    The attempts that stay begin at a UTC midnight. If it is interrupted, the next prune goes on. It refuses to delete
    what a budget or a month that is not reconciled still needs. On PostgreSQL the owner of the tables must run it.
    """
    from pixelmeter.cli.output import warn
    from pixelmeter.cli.progress import progress as showing
    from pixelmeter.ledger.address import read_address
    from pixelmeter.ledger.pruning import horizon_of, plan
    from pixelmeter.ledger.pruning import prune as prune_to
    from pixelmeter.reports.correction import login_name
    from pixelmeter.reports.opening import open_ledger
    from pixelmeter.system import SystemClock

    now = SystemClock().now()
    is_sqlite = read_address(database_url).dialect == "sqlite"
    if rewrite and not is_sqlite:
        raise click.UsageError("--rewrite is of SQLite: PostgreSQL drops months, and vacuums by itself")
    with open_ledger(database_url, warn) as reader:
        foreseen = plan(reader, horizon_of(keep, now), now)
    if foreseen.obstacles:
        raise click.ClickException("nothing was pruned: " + "; ".join(foreseen.obstacles))
    if dry_run:
        click.echo(f"{_told(foreseen)} would go. This was a dry run: the ledger is as it was.")
        return
    is_shown = sys.stderr.isatty() if progress is None else progress
    with showing("Pruning", foreseen.attempts, is_shown=is_shown) as show:
        done = prune_to(
            database_url,
            foreseen.horizon,
            now,
            by=by or login_name(),
            told=lambda deleted: show(deleted, f"{deleted:,} of {foreseen.attempts:,} attempts"),
        )
    click.echo(f"Deleted {_told(foreseen._replace(attempts=done.attempts))}. The sums and the totals keep them.")
    if done.months:
        click.echo(f"Months were made ahead: {', '.join(done.months)}")
    if is_sqlite:
        _give_back(database_url, rewrite=rewrite)


@click.command()
@click.option("--tag", metavar="KEY=VALUE", required=True, help="The tag to erase, such as customer=acme.")
@click.option("--dry-run", is_flag=True, help="Only show what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask before erasing.")
@database_url_option
def forget(tag: str, dry_run: bool, yes: bool, database_url: str) -> None:
    """Erase the value of a tag, such as a customer's name. The attempts and their cost stay.

    It is erased from all attempts, together with the ids of their traces, from the sums by tag and from the sums of
    budgets. Programs that write wait meanwhile. docs/retention.md lists what it does not reach.
    """
    from contextlib import closing

    from pixelmeter import upkeep
    from pixelmeter.cli.output import plain, warn
    from pixelmeter.ledger.forgetting import foresee
    from pixelmeter.ledger.writer import open_writer
    from pixelmeter.reports.opening import open_ledger

    key, separator, value = tag.partition("=")
    if not (key and separator and value):
        raise click.BadParameter(f"{tag[:40]!r} is not a tag: write KEY=VALUE", param_hint="--tag")
    with open_ledger(database_url, warn) as reader:
        found = foresee(reader, key, value)
    click.echo(
        f"{plain(tag)}: {plural(found.attempts, 'attempt')}, of which {found.traces:,} with the id of a trace, "
        f"{plural(found.days, 'day')} of the sums by tag, {plural(found.spans, 'sum')} of budgets."
    )
    if dry_run:
        click.echo("This was a dry run: the ledger is as it was.")
        return
    if not yes:
        try:
            click.confirm("Erase it for good?", abort=True, err=True)
        except click.Abort:
            raise click.ClickException("nothing was changed; --yes goes on without asking") from None
    with closing(open_writer(database_url)) as writer:
        found = writer.forget_tag(key, value)
    click.echo(f"Erased from {plural(found.attempts, 'attempt')}. Their cost counts as of no value.")
    if refused := upkeep.count_refused(database_url):
        warn(f"{plural(refused, 'attempt')} that the ledger refuses may have it still, in the spool folder")
    click.echo("Programs that still use it add it again, and copies have it: docs/retention.md lists them.", err=True)


@click.command()
@format_option
@database_url_option
def size(format: str, database_url: str) -> None:
    """Show how much disk space each table takes, and the files and the spool beside it.

    On PostgreSQL the numbers of rows are estimates of the server, except that of the attempts. The spool is that of
    this machine.
    """
    from pixelmeter.cli.output import emit, warn
    from pixelmeter.reports.opening import open_ledger
    from pixelmeter.reports.room import room

    with open_ledger(database_url, warn) as reader:
        rows = room(reader, database_url)
    emit(rows, list(rows[0]), format, names=("name",), drop=("since", "kind"))


def _told(plan: Plan) -> str:
    return f"{plural(plan.attempts, 'attempt')} from before {plan.horizon:%Y-%m-%d}"


def _give_back(database_url: str, *, rewrite: bool) -> None:
    """Say that a file of SQLite does not shrink, or have it do so."""
    from pixelmeter.ledger.address import read_address
    from pixelmeter.ledger.pruning_sqlite import rewrite as written_anew
    from pixelmeter.ledger.pruning_sqlite import shrinks

    address = read_address(database_url)
    if rewrite:
        written_anew(address)
    elif not shrinks(address):
        click.echo(
            "The file is as large as before, and new attempts fill what is free: it was made by an older pixelmeter. "
            "`pixelmeter db prune --rewrite` has it shrink",
            err=True,
        )
