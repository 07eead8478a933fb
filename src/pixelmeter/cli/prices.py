"""`pixelmeter prices`: the price book, to read, to explain and to check."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import click

from pixelmeter.cli import prices_apply
from pixelmeter.cli.options import format_option, own_file_option
from pixelmeter.cli.output import emit, emit_json, plain, say
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY
from pixelmeter.core.pricing.book import Consumption, Entry, Line, PriceBook, Quote, Reason
from pixelmeter.core.pricing.tables import key_of
from pixelmeter.core.pricing.tariff import UNITS, USD, usd_text
from pixelmeter.core.text import exact_usd
from pixelmeter.prices import bundled, bundled_names, check, load_price_book

__all__ = ["command"]

_COLUMNS = (
    "gateway",
    "model",
    "unit",
    "size",
    "quality",
    "service_tier",
    "steps",
    "usd",
    "currency",
    "price",
    "from",
    "to",
    "shutdown_on",
    "estimate",
    "checked_on",
    "file",
)
_NAMES = ("gateway", "model", "unit")
_DROP = (
    "file", "checked_on", "estimate", "shutdown_on", "steps", "currency", "to", "from", "service_tier",
    "quality", "size",
)  # fmt: skip
_FOREIGN = ("currency", "price")
_WHY: dict[Reason, str] = {
    "no_price": "no entry is in force on that day; `pixelmeter prices list` has what there is",
    "foreign_currency": "its price is in another currency: give an [[exchange_rate]] of that day in your own file",
    "missing_usage": "it is billed by tokens, which only an answer tells",
    "unpriced_tokens": "tokens of a kind that the entry has no price for",
    "unpriced_usage": "the answer counts something besides that may be billed",
    "missing_images": "how many images there are decides the price: give -n",
    "unknown_size": "the size decides the price, and the entry has none for this one: give --size",
    "unknown_quality": "the quality decides the price, and the entry has none for this one: give --quality",
    "unknown_steps": "the steps decide the price, and the entry has no default",
    "unknown_input_size": "the pixels of input images decide the price",
    "unknown_service_tier": "the service tier decides the price, and the model has none for this one",
    "unread_request": "what the call asks for decides the price, and nobody has read it",
    "regional_price": "the price of this region is not known",
    "implausible": "it would be more than a million dollars",
}

_prices_option = own_file_option("prices", "Your own price file; its entries win over the bundled ones.")


@click.group()
def command() -> None:
    """List, explain, check and apply prices."""


command.add_command(prices_apply.command)


@command.command("list")
@click.option("--gateway", help="Only this gateway or vendor.")
@click.option("--model", default="*", metavar="GLOB", help="Only models of this pattern, such as 'gpt-image-*'.")
@_prices_option
@format_option
def list_(gateway: str | None, model: str, path: str | None, format: str) -> None:
    """List every price, your own first."""
    book = load_price_book(path) if path else bundled()
    rows = [row for entry in _named(book, gateway, lambda name: fnmatchcase(name, model)) for row in _rows(entry)]
    if not rows:
        click.echo("No such price: `pixelmeter prices list` without options has all there are.", err=True)
    _emit(rows, _COLUMNS, format)


@command.command()
@click.argument("model")
@click.option("--gateway", help="Only this gateway or vendor; by default all that have the model.")
@click.option("--at", type=click.DateTime(["%Y-%m-%d"]), help="The day of the call, in UTC; by default today.")
@click.option("--size", help="The size, such as 1024x1024 or 2K.")
@click.option("--quality", help="The quality, such as high or hd.")
@click.option("--service-tier", help="The service tier, such as batch, flex or priority; by default the plain price.")
@click.option("-n", "images", type=click.IntRange(0), default=1, show_default=True, help="How many images.")
@_prices_option
@format_option
def show(
    model: str,
    gateway: str | None,
    at: datetime.datetime | None,
    size: str | None,
    quality: str | None,
    service_tier: str | None,
    images: int,
    path: str | None,
    format: str,
) -> None:
    """Show what MODEL costs: which entry says so, the arithmetic, the source, and when it was checked."""
    book = load_price_book(path) if path else bundled()
    moment = _microseconds(at or datetime.datetime.now(datetime.UTC))
    wanted = Consumption(images=images, size=size, quality=quality, service_tier=service_tier)
    named = list(_named(book, None, lambda name: name == model, mentioning=model))
    names = [gateway] if gateway else list(dict.fromkeys(entry.gateway for entry in named))
    if not names:
        close = sorted({entry.model for entry in _entries(book, None) if model.lower() in entry.model.lower()})
        hint = f"; there are {', '.join(close[:5])}" if close else ""
        raise click.ClickException(f"no gateway or vendor of the price book has {plain(model)}{hint}")
    answers = [
        (
            name,
            book.quote(wanted, gateway=name, model=model, at=moment),
            book.estimate(wanted, gateway=name, model=model, at=moment),
        )
        for name in names
    ]
    if format == "table":
        for name, quote, estimate in answers:
            for line in _explained(name, model, quote, estimate):
                say(line)
            click.echo()
            entries = [entry for entry in named if entry.gateway == name and entry.holds_on(_day(moment))]
            _emit([row for entry in entries for row in _rows(entry)], _COLUMNS[2:], format)
    elif format == "json":
        emit_json([_record(name, model, quote, estimate) for name, quote, estimate in answers])
    else:
        rows = [{**_record(name, model, quote, estimate), "lines": None} for name, quote, estimate in answers]
        emit(rows, [column for column in rows[0] if column != "lines"], format)


@command.command("check")
@click.argument("file")
def check_(file: str) -> None:
    """Check your own price FILE: print every problem as FILE:LINE: message, and exit with 1 if there is one."""
    problems = check(file)
    for line, message in sorted(problems):
        click.echo(f"{plain(file)}:{line}: {plain(message)}")
    if problems:
        sys.exit(1)
    click.echo(f"{plain(file)}: nothing is wrong")


def _entries(book: PriceBook, gateway: str | None, mentioning: str = "") -> Iterator[Entry]:
    names = [gateway] if gateway else dict.fromkeys([*book.own_gateways, *sorted(bundled_names(mentioning))])
    for name in names:
        yield from book.entries(name)


def _named(
    book: PriceBook, gateway: str | None, is_name: Callable[[str], bool], mentioning: str = ""
) -> Iterator[Entry]:
    """Yield all entries of the models that have such a name; one of them has the aliases of all."""
    every = list(_entries(book, gateway, mentioning))
    found = {
        (entry.gateway, entry.model) for entry in every if any(is_name(name) for name in (entry.model, *entry.aliases))
    }
    return (entry for entry in every if (entry.gateway, entry.model) in found)


def _emit(rows: Sequence[Mapping[str, object]], columns: Sequence[str], format: str) -> None:
    # A table has no room for what is empty nearly always.
    empty = {
        column
        for column in (*_FOREIGN, "shutdown_on", "service_tier")
        if format == "table" and not any(row[column] for row in rows)
    }
    shown = [column for column in columns if column not in empty]
    emit(rows, shown, format, right=["usd", "price"], names=_NAMES, drop=_DROP)


def _rows(entry: Entry) -> Iterator[dict[str, object]]:
    for unit in UNITS:
        for rate in entry.rates.get(unit, ()):
            foreign = entry.currency != USD
            yield {
                "gateway": entry.gateway,
                "model": entry.model,
                "unit": key_of(unit, entry.currency),
                "size": _span(rate.pixels, "px") or rate.size,
                "quality": rate.quality,
                "service_tier": entry.service_tier,
                "steps": _span(rate.steps, ""),
                "usd": None if foreign else rate.text,
                "currency": entry.currency if foreign else None,
                "price": rate.text if foreign else None,
                "from": entry.effective_from and entry.effective_from.isoformat(),
                "to": entry.effective_to and entry.effective_to.isoformat(),
                "shutdown_on": entry.shutdown_on and entry.shutdown_on.isoformat(),
                "estimate": entry.estimate,
                "checked_on": entry.checked_on and entry.checked_on.isoformat(),
                "file": "own" if entry.own else "bundled",
            }


def _span(numbers: range | None, unit: str) -> str | None:
    if numbers is None:
        return None
    if len(numbers) == 1:
        return f"{numbers.start}{unit}"
    return f"<={numbers.stop - 1}{unit}" if numbers.start == 0 else f">{numbers.start - 1}{unit}"


def _explained(name: str, model: str, quote: Quote, estimate: int | None) -> Iterator[str]:
    cost = quote.image_cost if quote.token_cost is None else quote.token_cost
    yield f"{plain(model)} at {plain(name)}: " + ("unknown" if cost is None else f"{exact_usd(cost)} USD")
    if quote.reason:
        yield f"  {quote.reason}: {_WHY[quote.reason]}"
        if estimate is not None:
            yield f"  an estimate, the most expensive where size or quality is open: {exact_usd(estimate)} USD"
    for line in quote.lines:
        yield f"  {line.quantity} x {line.price} {line.unit} = {usd_text(line.atto)} USD"
    entries: list[Entry] = []
    for entry in (line.entry for line in quote.lines if line.entry not in entries):
        entries.append(entry)
        yield f"  entry: {plain(entry.id)}, line {entry.line} of {'your own' if entry.own else 'the bundled'} file"
        yield f"  source: {plain(entry.source) or 'not given'}; checked on {entry.checked_on or 'an unknown day'}"
        if entry.exchange:
            rate = entry.exchange
            where = f"line {rate.line} of your own file"
            yield f"  a {rate.currency} is {rate.text} USD since {rate.effective_from}: {where}"
        if entry.shutdown_on:
            yield f"  to be shut down on {entry.shutdown_on}: the price holds for calls that succeed after that day too"
        if entry.note:
            yield f"  note: {plain(entry.note)}"


def _record(name: str, model: str, quote: Quote, estimate: int | None) -> dict[str, Any]:
    cost = quote.image_cost if quote.token_cost is None else quote.token_cost
    return {
        "gateway": name,
        "model": model,
        "cost_usd": None if cost is None else exact_usd(cost),
        "reason": quote.reason,
        "estimate_usd": None if estimate is None else exact_usd(estimate),
        "price_id": quote.price_id,
        "lines": [_line_record(line) for line in quote.lines],
    }


def _line_record(line: Line) -> dict[str, object]:
    return {
        "quantity": line.quantity,
        "unit": line.unit,
        "usd": line.price,
        "amount_usd": usd_text(line.atto),
        "source": line.entry.source,
        "checked_on": line.entry.checked_on and line.entry.checked_on.isoformat(),
        "currency": line.entry.currency,
        "exchange_rate": line.entry.exchange and line.entry.exchange.text,
        "shutdown_on": line.entry.shutdown_on and line.entry.shutdown_on.isoformat(),
        "note": line.entry.note,
    }


def _day(moment: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=moment // MICROSECONDS_PER_DAY)


def _microseconds(day: datetime.datetime) -> int:
    return (day.date() - datetime.date(1970, 1, 1)).days * MICROSECONDS_PER_DAY
