"""`pixelmeter demo`."""

from __future__ import annotations

import itertools
import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmeter.cli import report, serve
from pixelmeter.core.text import exact_usd

if TYPE_CHECKING:
    from pixelmeter.testing.demo import Books, Result

__all__ = ["command"]

_LEDGER = "pixelmeter-demo.db"


@click.command
@click.option(
    "--database-url",
    metavar="URL",
    help="A ledger to add the calls to.",
    show_default=f"a new one, {_LEDGER} in this folder",
)
@click.option(
    "--calls", type=click.IntRange(1, 100_000), default=300, show_default=True, help="How many image calls to make."
)
@click.option(
    "--keep/--no-keep", default=True, show_default=True, help="Keep the new ledger, to look at it afterwards."
)
@click.pass_context
def command(ctx: click.Context, database_url: str | None, calls: int, keep: bool) -> None:
    """Drive real clients against a stand-in gateway and print what they spent.

    The gateway runs on this machine and costs nothing. Settings of the environment do not apply. The exit status is 1
    if the ledger and the gateway's bill differ.
    """
    if database_url and not keep:
        raise click.UsageError("--no-keep is for a ledger of the demo's own: leave out --database-url")
    from pixelmeter.testing.demo import TAG, new_ledger
    from pixelmeter.testing.demo.run import undisturbed

    with ExitStack() as stack:
        stack.enter_context(undisturbed())
        folder = Path() if keep else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = database_url or new_ledger(folder / _LEDGER)
        result = _run(url, calls)
        only = ["--tag", f"{TAG}={result.name}"] if database_url else []
        for by in ("model", "tag:team,tag:feature"):
            _report(ctx, "--by", by, *only, url=url)
        _say_how_the_books_stand(result.books)
        _say_how_a_budget_holds()
        if keep:
            _say_what_to_try(ctx, url, only)
    if not result.books.is_even:
        ctx.exit(1)


def _run(url: str, calls: int) -> Result:
    from pixelmeter.cli.progress import progress
    from pixelmeter.testing.demo import run

    with progress("Making image calls", calls, is_shown=sys.stderr.isatty()) as show:
        made = itertools.count(1)
        result = run(url, calls=calls, done=lambda: show(number := next(made), f"{number:,} of {calls:,}"))
    click.echo(
        f"{calls:,} image calls to a stand-in gateway with {', '.join(result.libraries)}: {result.seconds:.1f} s"
    )
    if result.missing:
        click.echo(f"Left out, because they are not installed: {', '.join(result.missing)}")
    return result


def _report(ctx: click.Context, *arguments: str, url: str) -> None:
    click.echo(f"\n$ {_typed(ctx, 'report', *arguments, url=url)}")
    report.command.main([*arguments, "--database-url", url], prog_name="report", standalone_mode=False)


def _say_how_the_books_stand(books: Books) -> None:
    billed, known, rest = (exact_usd(nano) for nano in (books.billed, books.known, books.unknown_billed))
    told = "nothing is known" if books.unknown and not books.known else f"${known}"
    click.echo(f"\ngateway billed ${billed}, ledger says {told}, unknown {books.unknown}")
    difference = exact_usd(books.difference)
    click.echo(f"For those of unknown cost it billed ${rest}, which leaves a difference of ${difference}.")
    if books.missing:
        click.echo(f"Attempts on the bill less those in the ledger: {books.missing}.", err=True)
    if books.difference:
        click.echo("The ledger and the bill do not agree.", err=True)


def _say_how_a_budget_holds() -> None:
    from pixelmeter.testing.demo.budget import hold

    held = hold()
    click.echo(
        f"\nA budget of ${exact_usd(held.limit)}, in a ledger of its own: {held.sent} of {held.sent + held.refused}"
        f" calls went, {held.refused} were refused before they were sent; the gateway billed ${exact_usd(held.billed)}."
    )


def _say_what_to_try(ctx: click.Context, url: str, only: list[str]) -> None:
    from pixelmeter.monitoring import PAGE

    click.echo(f"\nTry next{', with the URL in PIXELMETER_DATABASE_URL' if _has_secret(url) else ''}:")
    for arguments in (
        ("calls", "--outcome", "throttled", *only),
        ("report", "--by", "outcome,model", *only),
        ("report", "--by", "tag:feature", "--tag", "team=growth", *only, "--format", "json"),
    ):
        click.echo(f"  {_typed(ctx, *arguments, url=url)}")
    first = "" if serve.is_installed(has_page=True) else f"  {serve.INSTALL}\n"
    click.echo(f"\nThe page of this ledger is at {PAGE}/ while this runs:\n{first}  {_typed(ctx, 'serve', url=url)}")


def _typed(ctx: click.Context, *arguments: str, url: str) -> str:
    """Return a command that a user can type, in the way that this one was."""
    name = ctx.find_root().info_name or "pixelmeter"
    program = sys.argv[0] if name == Path(sys.argv[0]).name and not shutil.which(name) else name
    ledger = "" if _has_secret(url) else f" --database-url {shlex.quote(url)}"
    return f"{program} {shlex.join(arguments)}{ledger}"


def _has_secret(url: str) -> bool:
    from pixelmeter.ledger.address import read_address

    address = read_address(url)
    return address.password is not None or "***" in address.safe()
