"""`pixelmeter budgets`: how far budgets are used up, a file of budgets, and what people do about them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pixelmeter.cli.options import database_url_option, format_option
from pixelmeter.errors import LedgerError

if TYPE_CHECKING:
    from pixelmeter.reports.budgets import Detail, Overview, Planned

__all__ = ["command"]

_SHOWN = 5
_RIGHT = (
    "limit", "spent", "used", "reserved", "room", "forecast", "overrun", "blocked", "unknown_cost", "attempts", "cost",
    "at_risk", "credited", "amount", "age", "threshold",
)  # fmt: skip
_NAMES = ("budget", "value")
_DROP = ("unknown_cost", "overrun", "forecast", "blocked", "reserved", "resets_at")
_OF_PERIODS = ("starts_at", "value", "spent", "cost", "at_risk", "credited", "overrun", "blocked", "attempts")
_OF_FILE = ("budget", "limit", "per", "tz", "counts", "action", "value", "spent", "used", "ledger")
_FILE_COLUMNS = ("budget", "limit_usd", "per", "tz", "scope", "each", "action", "value", "spent_usd", "used", "ledger")


@click.group()
def command() -> None:
    """Show how much of each budget is used; check a file of budgets; reset or remove one."""


@command.command("list")
@click.option(
    "--all",
    "shows_all",
    is_flag=True,
    help=f"Show all values, not only the {_SHOWN} most used, and budgets that were removed.",
)
@format_option
@database_url_option
def list_(shows_all: bool, format: str, database_url: str) -> None:
    """List the budgets of the ledger, each in its current day, week or month.

    Spent is the cost with adjustments, and the amounts at risk. Reserved is what programs may spend without asking the
    ledger again, calls under way included. The forecast is what will be spent at the end if spend goes on as so far.
    Times are in UTC.
    """
    from pixelmeter.cli.output import emit, say, warn
    from pixelmeter.core.reporting.budgets import COLUMNS, OF_TABLES, cells
    from pixelmeter.reports.budgets import overviews
    from pixelmeter.reports.opening import open_ledger

    with open_ledger(database_url, warn) as reader:
        found = overviews(reader, _now(), values=None if shows_all else _SHOWN, with_removed=shows_all)
    if format != "table":
        emit([row for one in found for row in _listed(one)], COLUMNS, format)
        return
    if found:
        shown = [name for name in OF_TABLES if name != "value" or any(one.rule.each for one in found)]
        emit(
            [cells(state) for one in found for state in one.states or [one.unused()]],
            shown,
            format,
            right=_RIGHT,
            names=_NAMES,
            drop=_DROP,
        )
    for text in _below(found):
        say(text)


@command.command()
@click.argument("name")
@click.option("--value", metavar="VALUE", help="Only this value, of a budget that has one for each value.")
@format_option
@database_url_option
def show(name: str, value: str | None, format: str, database_url: str) -> None:
    """Show a budget: its current and past periods, resets, what processes hold, and notices.

    CSV has the periods only. Times are in UTC.
    """
    from pixelmeter.cli.output import emit, emit_json, warn
    from pixelmeter.core.reporting.budgets import COLUMNS, listed
    from pixelmeter.reports.budgets import detail
    from pixelmeter.reports.opening import open_ledger

    now = _now()
    with open_ledger(database_url, warn) as reader:
        found = detail(reader, name, now, value=value)
    present = _listed(found.overview)
    earlier = [listed(state, is_active=found.overview.is_active) for state in found.earlier]
    if format == "csv":
        emit([*present, *earlier], COLUMNS, format)
    elif format == "json":
        emit_json(_detail(found, present, earlier, now))
    else:
        _print(found, now)


@command.command()
@click.argument("file", metavar="FILE")
@format_option
@database_url_option
def check(file: str, format: str, database_url: str) -> None:
    """Check a file of budgets, and show what each of them counts and what is spent of it.

    Problems are printed with their lines on standard error, and the exit status is then 1. Nothing is written. What is
    spent is read from the ledger, where there is one; the last column says what would happen to the budget there.
    """
    from pixelmeter.budgets.file import check as read
    from pixelmeter.cli.output import emit, plain

    found = read(file)
    for line, problem in found.problems:
        click.echo(f"{plain(file)}:{line}: {plain(problem)}", err=True)
    if found.problems:
        raise click.exceptions.Exit(1)
    rules = [budget.rule for budget in found.budgets]
    rows = [row for one in _plans(database_url, rules) for row in _planned(one, format)]
    columns = _OF_FILE if format == "table" else _FILE_COLUMNS
    emit(rows, columns, format, right=_RIGHT, names=("budget", "value", "counts"), drop=("tz", "action"))


@command.command()
@click.argument("name")
@click.option(
    "--value", metavar="VALUE", help="Only this value, of a budget that has one for each value; else all values."
)
@click.option("--why", metavar="TEXT", required=True, help="The reason; kept with the reset.")
@click.option("--by", metavar="NAME", show_default="the login name", help="Who does it; kept with the reset.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_url_option
def reset(name: str, value: str | None, why: str, by: str | None, yes: bool, database_url: str) -> None:
    """Set what is spent of a budget back to 0, before its day, week or month ends.

    Shows the amount and asks; in a script use --yes. Attempts and reports stay as they are: the reset is recorded
    beside them, with who did it and why. What programs have reserved stays reserved.
    """
    from pixelmeter.cli.output import say, warn
    from pixelmeter.core.text import dollars
    from pixelmeter.reports.budgets import detail
    from pixelmeter.reports.budgets import reset as take_off
    from pixelmeter.reports.opening import open_ledger

    if not why.strip():
        raise click.BadParameter("say why", param_hint="--why")
    with open_ledger(database_url, warn) as reader:
        overview = detail(reader, name, _now(), value=value).overview
    if not overview.is_active:
        raise click.ClickException("this budget was removed: nothing counts towards it")
    spent = [(state.value, state.spent) for state in overview.states if state.spent]
    if not spent:
        say("Nothing is spent in the present period: there is nothing to take off.")
        return
    for one, amount in spent:
        say(f"{_called(name, one)}: {dollars(amount)} is spent")
    if not yes and not _agreed():
        click.echo("Nothing was changed: run it again with --yes.", err=True)
        return
    for done in take_off(database_url, name, value=value, why=why, by=by):
        say(f"{_called(name, done.value)}: {dollars(done.amount)} taken off")


@command.command()
@click.argument("name")
@database_url_option
def remove(name: str, database_url: str) -> None:
    """End a budget: nothing counts towards it any more, and no call is refused for it. Its history stays.

    Running programs notice it within a minute. A program that is started with this budget brings it back, so take the
    budget out of its code or file first.
    """
    from pixelmeter.cli.output import plain, say, warn
    from pixelmeter.reports.budgets import remove as take_away
    from pixelmeter.reports.opening import open_ledger

    with open_ledger(database_url, warn):
        pass  # there is a ledger: removing makes none
    if not take_away(database_url, name):
        raise click.ClickException(f"the ledger has no budget {plain(name)!r}")
    say(f"The budget {name} is removed.")


def _now() -> int:
    return time.time_ns() // 1000


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm("Take this off?", err=True)


def _called(name: str, value: str) -> str:
    return f"{name} ({value})" if value else name


def _listed(one: Overview) -> list[dict[str, Any]]:
    """Return the states of a budget as programs read them; one without a value where it has none yet."""
    from pixelmeter.core.reporting.budgets import listed

    found = [listed(state, is_active=one.is_active) for state in one.states]
    return found or [listed(one.unused(), is_active=one.is_active) | {"value": None}]


def _below(found: Sequence[Overview]) -> list[str]:
    """Return what is to be said below a table of budgets."""
    if not found:
        return ["The ledger has no budget: give Meter(budgets=...) some, or name a file in PIXELMETER_BUDGETS."]
    said: list[str] = []
    for one in found:
        name = one.rule.name
        if not one.is_active:
            said.append(f"{name} was removed: nothing counts towards it any more.")
        if one.values > len(one.states):
            over = f", {one.used_up:,} of them used up" if one.used_up else ""
            said.append(
                f"{name}: these are the {len(one.states)} of {one.values:,} values used most{over}; --all has all."
            )
    return said


def _detail(
    found: Detail, present: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]], now: int
) -> dict[str, Any]:
    from pixelmeter.core.reporting.budgets import listed_reset, of_rule, when
    from pixelmeter.core.text import exact_usd

    return {
        **of_rule(found.overview.rule),
        "is_active": found.overview.is_active,
        "counts_from": None if found.overview.since <= 0 else when(found.overview.since),
        "present": present,
        "earlier": earlier,
        "resets": [listed_reset(one) for one in found.resets],
        "leases": [
            {
                "process": one.process,
                "value": one.value,
                "starts_at": when(one.start),
                "amount_usd": exact_usd(one.amount),
                "renewed_at": when(one.renewed_at),
                "age_seconds": max(now - one.renewed_at, 0) // 1_000_000,
            }
            for one in found.leases
        ],
        "notices": [
            {
                "value": one.value,
                "starts_at": when(one.start),
                "threshold": one.threshold / 1_000_000,
                "claimed_at": when(one.claimed_at),
                "sent_at": None if one.sent_at is None else when(one.sent_at),
            }
            for one in found.notices
        ],
    }


def _print(found: Detail, now: int) -> None:
    from pixelmeter.cli.output import emit, say
    from pixelmeter.core.reporting.budgets import OF_TABLES, cells, described, minute
    from pixelmeter.core.text import dollars

    overview = found.overview
    say(f"{overview.rule.name}: {described(overview.rule)}.")
    if not overview.is_active:
        say("It was removed: nothing counts towards it any more.")
    of_each = [] if overview.rule.each is None else ["value"]

    def table(heading: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
        if rows:
            click.echo()
            say(heading)
            shown = [name for name in columns if name != "value" or of_each]
            emit(rows, shown, "table", right=_RIGHT, names=("value", "process"), drop=_DROP)

    table("The present period:", [cells(state) for state in overview.states or [overview.unused()]], OF_TABLES[1:])
    table("Periods before:", [cells(state) for state in found.earlier], _OF_PERIODS)
    resets = [
        {
            "made_at": minute(one.made_at),
            "value": one.value,
            "amount": dollars(one.amount),
            "by": one.made_by,
            "why": one.why,
        }
        for one in found.resets
    ]
    table("Resets:", resets, ("made_at", "value", "amount", "by", "why"))
    leases = [
        {
            "process": one.process,
            "value": one.value,
            "amount": dollars(one.amount),
            "age": f"{max(now - one.renewed_at, 0) // 1_000_000:,} s",
        }
        for one in found.leases
    ]
    table("Leases:", leases, ("process", "value", "amount", "age"))
    notices = [
        {
            "threshold": f"{one.threshold / 10_000:g} %",
            "value": one.value,
            "passed_at": minute(one.claimed_at),
            "told_at": "not yet" if one.sent_at is None else minute(one.sent_at),
        }
        for one in found.notices
    ]
    table("Thresholds that were passed:", notices, ("threshold", "value", "passed_at", "told_at"))


def _plans(database_url: str, rules: Sequence[Any]) -> Sequence[Planned]:
    """Return what budgets would count; without what is spent where there is no ledger to look into."""
    from pixelmeter.cli.output import plain, warn
    from pixelmeter.reports.budgets import Planned, planned
    from pixelmeter.reports.opening import open_ledger

    try:
        with open_ledger(database_url, warn) as reader:
            return planned(reader, rules, _now())
    except LedgerError as error:
        click.echo(f"What is spent is not known: {plain(str(error))}", err=True)
        return [Planned(rule, (), None) for rule in rules]


def _planned(plan: Planned, format: str) -> list[dict[str, Any]]:
    from pixelmeter.core.reporting.budgets import cells, counts, listed, of_rule
    from pixelmeter.core.text import dollars

    rule = plan.rule
    if format != "table":
        rows = [listed(state) for state in plan.states]
        return [{**row, **of_rule(rule), "ledger": plan.ledger} for row in rows or [{}]]
    known = {
        "budget": rule.name,
        "limit": dollars(rule.limit),
        "per": rule.per,
        "tz": rule.zone,
        "counts": counts(rule),
        "action": rule.action,
        "ledger": plan.ledger,
    }
    first, *others = [cells(state) for state in plan.states[:_SHOWN]] or [{}]
    return [first | known, *({name: row[name] for name in ("value", "spent", "used")} for row in others)]
