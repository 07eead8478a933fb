"""`pixelmeter prices apply`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pixelmeter.cli.options import database_url_option, filter_options, format_option, own_file_option, range_options
from pixelmeter.core.text import dollars, exact_usd, plural

if TYPE_CHECKING:
    from pixelmeter.reports.repricing import Difference, Plan

__all__ = ["command"]

_COLUMNS = ("gateway", "model", "attempts", "before_usd", "after_usd", "estimated", "at_risk_usd", "price_ids")
_OF_TABLE = ("gateway", "model", "attempts", "before", "after", "estimated", "at_risk", "price_ids")
_NAMES = ("gateway", "model", "price_ids")
_NAMED = 5
_HINTS = {
    "regional_price": "; --host says which host they were sent to",
    "not_kept": "; their records lack what decides the price",
}
_prices_option = own_file_option("prices", "Your own price file; its entries win over the bundled ones.")


@click.command("apply")
@range_options(since=None, until=None, must_have_since=True)
@filter_options
@click.option("--all", "with_priced", is_flag=True, help="Also replace costs that older prices gave.")
@click.option(
    "--host",
    metavar="HOST",
    help="The host of the attempts, for a gateway whose prices depend on the region.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--yes", is_flag=True, help="Do not ask before writing.")
@_prices_option
@format_option
@database_url_option
def command(
    since: datetime,
    until: datetime | None,
    with_priced: bool,
    host: str | None,
    dry_run: bool,
    yes: bool,
    path: str | None,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """Give attempts that had no price the price that the book has for their day now.

    Shows what would change and asks; in a script use --yes. An amount that the gateway, a statement or a person gave is
    never replaced. Attempts of which nobody knows whether they were billed get an estimate, never a cost. Attempts stay
    as they were written: the new cost is recorded beside them, as an adjustment.
    """
    from pixelmeter.cli.output import warn
    from pixelmeter.ledger.queries import Filters
    from pixelmeter.reports.opening import open_ledger
    from pixelmeter.reports.repricing import apply, foresee, repricer_of

    del filters["tz"]  # what reads --since and --until has used it
    repricer = repricer_of(path, host)
    with open_ledger(database_url, warn) as reader:
        plan = foresee(reader, repricer, since=since, until=until, filters=Filters(**filters), with_priced=with_priced)
    _show(plan, format)
    if not plan.ids or dry_run:
        return
    if not yes and not _agreed():
        click.echo("Nothing was changed: run it again with --yes.", err=True)
        return
    changed = apply(database_url, repricer, plan)
    click.echo(f"{plural(changed, 'attempt')} changed", err=format != "table")


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm("Write this to the ledger?", err=True)


def _show(plan: Plan, format: str) -> None:
    from pixelmeter.cli.output import emit, plain, say

    found = sorted(plan.differences.values(), key=lambda one: (-one.after, -one.at_risk, one.gateway, one.model))
    rows = [_listed(one) for one in found]
    if format != "table":
        emit(rows, _COLUMNS, format)
    elif rows:
        table = [row | _cells(one) for one, row in zip(found, rows, strict=True)]
        emit(table, _OF_TABLE, format, right=("before", "after", "at_risk"), names=_NAMES, drop=("price_ids",))
    said = list(_left(plan))
    if not rows:
        said.insert(0, "No attempt of the range gets another price.")
    for text in said:
        if format == "table":
            say(text)
        else:
            click.echo(plain(text), err=True)


def _left(plan: Plan) -> list[str]:
    """Return a sentence for each reason why attempts stay as they are."""
    said: list[str] = []
    for reason in dict.fromkeys(left.reason for left, _ in plan.left.most_common()):
        models = [
            (left.model or "(no model)", number) for left, number in plan.left.most_common() if left.reason == reason
        ]
        names = list(dict.fromkeys(model for model, _ in models))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        number = sum(number for _, number in models)
        verb = "stays" if number == 1 else "stay"
        what = f"{plural(number, 'attempt')} {verb} unknown, {reason}"
        said.append(f"{what}: {', '.join(names[:_NAMED])}{more}{_HINTS.get(reason, '')}")
    return said


def _listed(one: Difference) -> dict[str, Any]:
    return {
        "gateway": one.gateway,
        "model": one.model,
        "attempts": one.attempts,
        "before_usd": exact_usd(one.before) if one.attempts > one.unknown else None,
        "after_usd": exact_usd(one.after) if one.attempts else None,
        "estimated": one.estimated,
        "at_risk_usd": exact_usd(one.at_risk) if one.estimated else None,
        "price_ids": list(one.sources),
    }


def _cells(one: Difference) -> dict[str, str]:
    before = dollars(one.before) if one.attempts > one.unknown else "unknown"
    return {
        "before": before if one.attempts else "",
        "after": dollars(one.after) if one.attempts else "",
        "at_risk": dollars(one.at_risk) if one.estimated else "",
        "price_ids": ", ".join(one.sources),
    }
