"""`pixelmeter db`: the ledger's schema, its size, and what it keeps."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from pixelmeter.cli.db_retention import forget, prune, size
from pixelmeter.cli.options import database_url_option, format_option
from pixelmeter.cli.output import emit, plain
from pixelmeter.core.text import plural
from pixelmeter.ledger.address import read_address

if TYPE_CHECKING:
    from pixelmeter.ledger.migrate import Status

__all__ = ["command"]


@click.group()
def command() -> None:
    """Upgrade the ledger's schema; delete old attempts; show sizes; write refused attempts again."""


for _each in (forget, prune, size):
    command.add_command(_each)


@command.command()
@click.argument("revision", default="head")
@database_url_option
def upgrade(revision: str, database_url: str) -> None:
    """Upgrade the schema to REVISION, by default the newest; make a ledger if there is none.

    On PostgreSQL it also makes the partitions of this month and the next three. Run it, or `pixelmeter db prune`, at
    least every three months.
    """
    from pixelmeter.ledger import migrate

    _say(migrate.upgrade(database_url, revision))


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask before columns or tables are deleted.")
@database_url_option
def downgrade(revision: str, yes: bool, database_url: str) -> None:
    """Downgrade the schema to REVISION; `base` deletes pixelmeter's tables with everything in them.

    Shows what would be deleted and asks; in a script use --yes.
    """
    from pixelmeter.ledger import migrate

    if not yes:
        _ask(database_url, revision)
    _say(migrate.downgrade(database_url, revision))


@command.command()
@format_option
@database_url_option
def status(format: str, database_url: str) -> None:
    """Show which schema the ledger has and which one this version of pixelmeter needs."""
    from pixelmeter.ledger import migrate

    found = migrate.status(database_url)
    row = {"database": found.database, "state": found.state, "revision": found.revision, "needed": found.head}
    emit([row], list(row), format)


@command.command()
@database_url_option
def retry(database_url: str) -> None:
    """Write the attempts again that the ledger has refused; exit with 1 if it still refuses some.

    They are kept in the spool folder, and `pixelmeter doctor` says why they were refused. Do this once the reason is
    gone.
    """
    from pixelmeter import upkeep

    taken = upkeep.retry(database_url)
    left = upkeep.count_refused(database_url)
    click.echo(f"{plural(taken, 'attempt')} written to the ledger, {left:,} still refused")
    if left:
        sys.exit(1)


def _ask(database_url: str, revision: str) -> None:
    """Return once somebody has agreed to what a downgrade discards, or if that is nothing."""
    from pixelmeter.ledger.migrate import losses

    found = losses(database_url, revision)
    if not found:
        return
    for line in (
        f"The downgrade to {revision} discards for good:",
        *(f"  {loss}" for loss in found),
        f"Make a copy first: {_copy(database_url)}",
    ):
        click.echo(plain(line), err=True)
    try:
        click.confirm("Go on?", abort=True, err=True)
    except click.Abort:
        # At the end of the input too: nobody is there to answer.
        raise click.ClickException("nothing was changed; --yes goes on without asking") from None


def _copy(database_url: str) -> str:
    """Return the command that copies a ledger."""
    address = read_address(database_url)
    if address.dialect == "postgresql":
        return "pg_dump --format=custom --table='pixelmeter_*' --file=pixelmeter.dump, with the database URL behind it"
    source, target = f"file:{quote(address.path)}?mode=ro", f"{address.path}.copy"
    return shlex.join(["sqlite3", source, f".backup {shlex.quote(target)}"])


def _say(now: Status) -> None:
    if now.revision is None:
        click.echo(f"{now.database} has no ledger now")
    else:
        click.echo(f"{now.database} is at schema {now.revision}")
