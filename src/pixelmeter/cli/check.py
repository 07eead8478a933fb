"""`pixelmeter check`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pixelmeter.cli.options import database_url_option, filter_options, reading
from pixelmeter.core.reporting.limits import Excess, Limits, listed, microseconds_in, nano_in, rate_in
from pixelmeter.core.reporting.periods import utc_text
from pixelmeter.core.reporting.report import DIMENSIONS, dimensions
from pixelmeter.errors import ConfigError, PixelmeterError

if TYPE_CHECKING:
    from pixelmeter.reports.check import Check, Checked

__all__ = ["command"]

_FINDINGS = 1
_CANNOT_TELL = 2


def _webhook() -> str | None:
    from pixelmeter.settings import from_environment

    return from_environment().check_webhook


class _Command(click.Command):
    """Whatever goes wrong ends with the status that says so: 1 would be a finding."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.UsageError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            _fail(ctx, error)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except PixelmeterError as error:
            raise click.UsageError(" ".join(str(error).split())) from None


def _fail(ctx: click.Context, error: BaseException) -> NoReturn:
    """Say that it cannot be told, and why."""
    from pixelmeter.cli.output import emit_json, plain
    from pixelmeter.cli.streams import discard_output

    text = " ".join(str(error).split())
    if not isinstance(error, PixelmeterError):
        text = f"{type(error).__name__}: {text}"
    click.echo(f"Cannot tell: {plain(text)}", err=True)
    if isinstance(error, OSError):
        # Of the ledger it would be a LedgerError: nobody takes the output.
        discard_output()
    elif ctx.params.get("format") == "json":
        emit_json(_document("unknown", problems=[text]))
    ctx.exit(_CANNOT_TELL)


@click.command(cls=_Command)
@click.option(
    "--max-error-rate", metavar="PERCENT", callback=reading(rate_in), help="Of the attempts sent, such as 5%."
)
@click.option(
    "--max-p95",
    metavar="DURATION",
    callback=reading(microseconds_in),
    help="What 95 % of the attempts stay below, such as 30s.",
)
@click.option("--max-spend", metavar="USD", callback=reading(nano_in), help="Known cost, such as 50.")
@click.option("--max-unknown", metavar="N", type=click.IntRange(0), help="Attempts of unknown cost.")
@click.option("--max-at-risk", metavar="USD", callback=reading(nano_in), help="What is at risk, such as 5.")
@click.option("--budgets", is_flag=True, help="Each budget that is used up in its present period is a finding.")
@click.option(
    "--window",
    "window_text",
    metavar="WINDOW",
    default="1h",
    show_default=True,
    help="The attempts of the last 30m, 1h, 7d …, or of today, this-week, this-month or this-year.",
)
@click.option(
    "--tz",
    metavar="ZONE",
    default="UTC",
    show_default=True,
    help="The time zone whose days, weeks and months are meant (Europe/Berlin).",
)
@click.option(
    "--by",
    metavar="DIMENSION,...",
    callback=reading(dimensions),
    help=f"Each row has to keep the limits, not the sum: {', '.join(DIMENSIONS)}, tag:KEY.",
)
@click.option(
    "--min-attempts",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of fewer attempts, error rate and p95 say nothing.",
)
@filter_options
@click.option(
    "--webhook",
    metavar="URL",
    default=_webhook,
    show_default="PIXELMETER_CHECK_WEBHOOK",
    help="Post findings there, as Slack takes them: each once in its window.",
)
@click.option("--quiet", is_flag=True, help="Print nothing where all is fine.")
@click.option(
    "--format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="A line for each finding, or JSON.",
)
@database_url_option
def command(
    *,
    max_error_rate: int | None,
    max_p95: int | None,
    max_spend: int | None,
    max_unknown: int | None,
    max_at_risk: int | None,
    budgets: bool,
    window_text: str,
    tz: str,
    by: tuple[str, ...] | None,
    min_attempts: int,
    webhook: str | None,
    quiet: bool,
    format: str,
    database_url: str,
    **filters: Any,
) -> None:
    """Compare spend, errors and latency with limits; for cron and CI.

    Exit with 0 where all limits are kept, with 1 where one is exceeded, and with 2 where that cannot be told: the
    ledger cannot be read or lacks attempts, or what a limit is about is unknown.
    """
    limits = Limits(
        error_rate=max_error_rate,
        p95=max_p95,
        spend=max_spend,
        unknown=max_unknown,
        at_risk=max_at_risk,
        min_attempts=min_attempts,
    )
    if limits.are_none and not budgets:
        raise click.UsageError("name at least one limit, such as --max-spend 50, or --budgets")
    from pixelmeter.reports.check import check

    asked = _asked(limits, budgets, window_text, tz, by or (), filters)
    checked = check(database_url, asked)
    _print(checked, asked, format, is_quiet=quiet)
    sys.stdout.flush()
    if webhook is not None:
        _tell(database_url, webhook, asked, [*checked.findings, *checked.unknown])
    if checked.state != "fine":
        sys.exit(_FINDINGS if checked.state == "findings" else _CANNOT_TELL)


def _asked(
    limits: Limits, budgets: bool, window_text: str, tz: str, by: Sequence[str], filters: Mapping[str, Any]
) -> Check:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    from pixelmeter.ledger.queries import Filters
    from pixelmeter.reports.check import Check, window

    try:
        zone = ZoneInfo(tz)
    except (LookupError, ValueError, OSError):
        raise click.BadParameter(
            f"{tz[:40]!r} is not a time zone: give an IANA name such as Europe/Berlin", param_hint="--tz"
        ) from None
    try:
        found = window(window_text, now=datetime.now(UTC), zone=zone)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--window") from None
    return Check(window=found, zone=zone, limits=limits, budgets=budgets, by=by, filters=Filters(**filters))


def _print(checked: Checked, asked: Check, format: str, *, is_quiet: bool) -> None:
    from pixelmeter.cli.output import emit_json, plain

    if format == "json":
        if not (is_quiet and checked.state == "fine"):
            emit_json(_document(checked.state, asked, *checked))
        return
    for one in checked.findings:
        click.echo(plain(one.told))
    for text in [*(one.told for one in checked.unknown), *checked.problems]:
        click.echo(f"Cannot tell: {plain(text)}", err=True)
    if checked.state == "fine" and not is_quiet:
        since, until = (utc_text(when.replace(microsecond=0)) for when in (asked.window.since, asked.window.until))
        of = "" if checked.attempts is None else f" Attempts from {since} to {until}: {checked.attempts:,}."
        click.echo(f"Fine: no limit is exceeded.{of}")


def _document(
    state: str,
    asked: Check | None = None,
    findings: Sequence[Excess] = (),
    unknown: Sequence[Excess] = (),
    problems: Sequence[str] = (),
    attempts: int | None = None,
) -> Mapping[str, object]:
    return {
        "state": state,
        "since": None if asked is None else utc_text(asked.window.since),
        "until": None if asked is None else utc_text(asked.window.until),
        "by": [] if asked is None else list(asked.by),
        "attempts": attempts,
        "findings": [listed(one) for one in findings],
        "unknown": [listed(one) for one in unknown],
        "problems": list(problems),
    }


def _tell(ledger: str, webhook: str, asked: Check, found: Sequence[Excess]) -> None:
    """Tell the webhook, or say why not."""
    from pixelmeter.cli.output import plain
    from pixelmeter.reports.check_telling import tell
    from pixelmeter.settings import from_environment
    from pixelmeter.system import SystemClock, SystemIds

    keys = from_environment().notify_keys
    try:
        tell(ledger, webhook, asked, found, keys=keys, clock=SystemClock(), ids=SystemIds(), wait=time.sleep)
    except PixelmeterError as error:
        click.echo(f"Not told: {plain(' '.join(str(error).split()))}", err=True)
    except (Exception, KeyboardInterrupt) as error:
        # What was found is printed, and the status is of that. The text of this one might quote the URL.
        click.echo(f"Not told: {type(error).__name__}", err=True)
