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
from pixelmeter.ledger.address import read_address

if TYPE_CHECKING:
    from pixelmeter.ledger.migrate import Status

__all__ = ["command"]


@click.group()
def command() -> None:
    """Upgrade, downgrade or inspect the ledger's schema; prune or forget what it has; try again what it refused."""


for _each in (forget, prune, size):
    command.add_command(_each)


@command.command()
@click.argument("revision", default="head")
@database_url_option
def upgrade(revision: str, database_url: str) -> None:
    """Bring the schema up to REVISION, by default the newest; makes a ledger where there is none.

    On PostgreSQL, months for the attempts to come are made as well: run it now and then, or `pixelmeter db prune`.
    """
    from pixelmeter.ledger import migrate

    _say(migrate.upgrade(database_url, revision))


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask before columns or tables are discarded.")
@database_url_option
def downgrade(revision: str, yes: bool, database_url: str) -> None:
    """Bring the schema down to REVISION; `base` removes pixelmeter's tables with everything in them.

    Says what would be discarded and asks; where nobody can answer, --yes is needed.
    """
    from pixelmeter.ledger import migrate

    if not yes:
        _ask(database_url, revision)
    _say(migrate.downgrade(database_url, revision))


@command.command()
@format_option
@database_url_option
def status(format: str, database_url: str) -> None:
    """Say which schema the ledger has and which one this pixelmeter needs."""
    from pixelmeter.ledger import migrate

    found = migrate.status(database_url)
    row = {"database": found.database, "state": found.state, "revision": found.revision, "needed": found.head}
    emit([row], list(row), format)


@command.command()
@database_url_option
def retry(database_url: str) -> None:
    """Try again with the attempts that the ledger has refused; exit with 1 if it refuses some of them still.

    They are kept beside the spool, and `pixelmeter doctor` says why. Do this once the reason is gone.
    """
    from pixelmeter import upkeep

    taken = upkeep.retry(database_url)
    left = upkeep.count_refused(database_url)
    click.echo(f"{taken} attempts are in the ledger now, {left} are still refused")
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
