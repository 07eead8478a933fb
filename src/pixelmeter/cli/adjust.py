"""`pixelmeter adjust`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pixelmeter.cli.options import database_url_option
from pixelmeter.core.attempts.correction import corrected_to
from pixelmeter.core.reporting.changes import told_differences
from pixelmeter.core.reporting.listing import started
from pixelmeter.core.reporting.periods import utc_text
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from pixelmeter.core.attempts.record import Attempt

__all__ = ["command"]


def _amount(ctx: click.Context, param: click.Parameter, value: str) -> int:
    from pixelmeter.reports.correction import nano_of

    try:
        return nano_of(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _why(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why", ctx, param)
    return value


@click.command
@click.argument("id", metavar="CALL|ATTEMPT")
@click.option(
    "--usd",
    "nano",
    metavar="AMOUNT",
    required=True,
    callback=_amount,
    help="What the attempt cost in US dollars; 0 if it was free.",
)
@click.option("--why", metavar="TEXT", required=True, callback=_why, help="The reason; kept with the correction.")
@click.option("--by", metavar="NAME", show_default="the login name", help="Who does it; kept with the correction.")
@click.option(
    "--attempt", "number", type=click.IntRange(0), help="Which attempt, of a call that has several; the first is 0."
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@database_url_option
def command(id: str, nano: int, why: str, by: str | None, number: int | None, dry_run: bool, database_url: str) -> None:
    """Correct the cost of one attempt by hand.

    Give the id of the attempt, or of its call if that has only one attempt; its beginning is enough, 8 digits or more,
    where no other id has it. The attempt stays as it was written: the correction is recorded beside it, and
    `pixelmeter calls --history` shows it. Only another correction changes what was corrected.
    """
    from pixelmeter.cli.output import say, warn
    from pixelmeter.reports.correction import correct, meant
    from pixelmeter.reports.opening import open_ledger

    with open_ledger(database_url, warn) as reader:
        attempt = _only(meant(reader, id, number), id)
    before, after = attempt, corrected_to(attempt, nano)
    if not dry_run:
        change = correct(database_url, attempt, nano, why=why, by=by)
        before, after = (change.before, change.after) if change else (after, after)
    say(_told(attempt))
    say(told_differences(before, after) if before != after else "It is so already: there is nothing to change.")
    if dry_run:
        say("This was a dry run: the ledger is as it was.")


def _only(found: Sequence[Attempt], id: str) -> Attempt:
    from pixelmeter.cli.output import plain
    from pixelmeter.reports.correction import SHOWN

    if len(found) == 1:
        return found[0]
    if not found:
        raise click.ClickException(f"the ledger has no such attempt or call: {plain(id)}")
    for one in found:
        click.echo(plain(_told(one)), err=True)
    number = f"{SHOWN} attempts or more" if len(found) == SHOWN else f"{len(found)} attempts"
    raise click.ClickException(
        f"{plain(id)} may mean {number}: give the whole id of one; the first of a call has the id of the call, so say "
        "--attempt 0 for it"
    )


def _told(attempt: Attempt) -> str:
    model = attempt.model or "(no model)"
    when = utc_text(started(attempt).replace(microsecond=0))
    return f"{attempt.id}: attempt {attempt.attempt} of call {attempt.call_id}, {model} at {attempt.gateway}, {when}"
