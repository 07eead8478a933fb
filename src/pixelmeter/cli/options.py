"""The options that commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from pixelmeter.errors import ConfigError

# What reads the values is imported late: most commands show their help without it.
if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from pixelmeter.core.reporting.periods import OpenPeriod

__all__ = [
    "FORMATS",
    "database_url_option",
    "filter_options",
    "format_option",
    "own_file_option",
    "period_of_range",
    "range_options",
    "read_tags",
    "reading",
]

FORMATS = ("table", "json", "csv")

_NOW = "pixelmeter.now"
_SINCE = "pixelmeter.since"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_Read = TypeVar("_Read")


def database_url_option(command: _Command) -> _Command:
    """Add `--database-url`, by default the one of the environment; the parameter is `database_url: str`, absolute.

    It names the schema of the environment, where it is a URL of PostgreSQL without one.
    """
    return click.option(
        "--database-url",
        metavar="URL",
        default=_from_environment,
        callback=_absolute,
        show_default="PIXELMETER_DATABASE_URL, else sqlite:///pixelmeter.db",
        help="The ledger: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.",
    )(command)


def format_option(command: _Command) -> _Command:
    """Add `--format table|json|csv`; the parameter is `format: str`."""
    return click.option(
        "--format",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="A table to read, JSON, or CSV that a spreadsheet opens safely.",
    )(command)


def own_file_option(name: Literal["prices", "profiles"], help: str) -> Callable[[_Command], _Command]:
    """Add `--prices FILE` or `--profiles FILE`, by default the file of the environment; the parameter is `path`."""

    def setting() -> str | None:
        from pixelmeter.settings import from_environment

        found: str | None = getattr(from_environment(), name)
        return found

    return click.option(
        f"--{name}", "path", metavar="FILE", default=setting, show_default=f"PIXELMETER_{name.upper()}", help=help
    )


def range_options(
    *, since: str | None, until: str | None, must_have_since: bool = False
) -> Callable[[_Command], _Command]:
    """Add `--since`, `--until` and `--tz`; the parameters are `since` and `until: datetime | None` and `tz: ZoneInfo`.

    The arguments are what holds where nothing is given; None leaves that side open. `must_have_since` leaves nobody
    without a beginning.
    """

    def decorate(command: _Command) -> _Command:
        command = click.option(
            "--tz",
            metavar="ZONE",
            default="UTC",
            is_eager=True,
            callback=_zone,
            show_default=True,
            help="The time zone of dates and of times without an offset, by its IANA name (Europe/Berlin).",
        )(command)
        ends: dict[str, Any] = {"default": until, "show_default": "now"}
        begins: dict[str, Any] = {"default": since, "show_default": since or "the first attempt"}
        if must_have_since:
            begins = {"required": True}
        for name, side, given in (("--until", "The end, exclusive", ends), ("--since", "The beginning", begins)):
            command = click.option(
                name,
                metavar="WHEN",
                callback=_moment,
                help=f"{side}: a date, a time, a month (2026-09), a year, today, yesterday, this-week, last-month …, "
                "or how long ago (30m, 24h, 7d, 4w).",
                **given,
            )(command)
        return command

    return decorate


def filter_options(command: _Command) -> _Command:
    """Add the filters on attempts; the parameters are fields of `pixelmeter.ledger.queries.Filters`."""
    from pixelmeter.core.attempts.record import BILLINGS, OPERATIONS, OUTCOMES
    from pixelmeter.core.reporting.report import ONLY

    for option in (
        click.option(
            "--only",
            type=click.Choice(ONLY),
            multiple=True,
            help="Only the attempts that a column of a report is about, such as unknown-cost; repeatable.",
        ),
        click.option(
            "--no-tag", "untagged", metavar="KEY", multiple=True, help="Only without a value of this tag; repeatable."
        ),
        click.option(
            "--tag", "tags", metavar="KEY=VALUE", multiple=True, callback=read_tags, help="Only this tag; repeatable."
        ),
        click.option("--billing", type=click.Choice(BILLINGS), help="Only this billing."),
        click.option("--outcome", type=click.Choice(OUTCOMES), help="Only this outcome."),
        click.option("--operation", type=click.Choice(OPERATIONS), help="Only this operation."),
        click.option("--gateway", metavar="NAME", help="Only this gateway."),
        click.option("--exact-model", metavar="NAME", help="Only the model of this very name."),
        click.option("--model", metavar="GLOB", help="Only models that match, such as 'openai/*'."),
    ):
        command = option(command)
    return command


def _from_environment() -> str:
    from pixelmeter.settings import from_environment

    return from_environment().database_url


def _absolute(_: click.Context, __: click.Parameter, value: str) -> str:
    from pixelmeter.ledger.address import absolute_url, in_schema
    from pixelmeter.settings import from_environment

    return absolute_url(in_schema(value, from_environment().schema))


def reading(read: Callable[[str], _Read]) -> Callable[[click.Context, click.Parameter, str | None], _Read | None]:
    """Return the callback of an option whose text is read so; the ConfigError of what cannot be read is shown."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> _Read | None:
        try:
            return None if value is None else read(value)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    from datetime import UTC, datetime

    from pixelmeter.core.reporting.periods import moment

    if param.name == "since":
        ctx.meta[_SINCE] = value
    try:
        return moment(value, now=ctx.meta.setdefault(_NOW, datetime.now(UTC)), zone=ctx.params["tz"])
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def period_of_range(ctx: click.Context) -> OpenPeriod | None:
    """Return the period that goes on, where the range options say what is over of one, such as "this-month"."""
    from pixelmeter.core.reporting.periods import open_period

    found = open_period(ctx.meta[_SINCE], now=ctx.meta[_NOW], zone=ctx.params["tz"])
    return found if found is not None and ctx.params["until"] == ctx.meta[_NOW] else None


def _zone(ctx: click.Context, param: click.Parameter, value: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        raise click.BadParameter(
            f"{value[:40]!r} is not a time zone: give an IANA name such as Europe/Berlin", ctx, param
        ) from None


def read_tags(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> Mapping[str, str]:
    """Return what several KEY=VALUE say: the callback of an option; BadParameter for what is none."""
    tags: dict[str, str] = {}
    for text in value:
        key, separator, tag = text.partition("=")
        if not key or not separator:
            raise click.BadParameter(f"{text[:40]!r} is not a tag: write KEY=VALUE", ctx, param)
        tags[key] = tag
    return tags
