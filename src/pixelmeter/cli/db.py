"""`pixelmeter db`: the ledger's schema."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pixelmeter.cli.options import database_url_option, format_option
from pixelmeter.cli.output import emit

if TYPE_CHECKING:
    from pixelmeter.ledger.migrate import Status

__all__ = ["command"]


@click.group()
def command() -> None:
    """Upgrade, downgrade or inspect the ledger's schema; try again what the ledger has refused."""


@command.command()
@click.argument("revision", default="head")
@database_url_option
def upgrade(revision: str, database_url: str) -> None:
    """Bring the schema up to REVISION, by default the newest; makes a ledger where there is none."""
    from pixelmeter.ledger import migrate

    _say(migrate.upgrade(database_url, revision))


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask before `base` removes every attempt.")
@database_url_option
def downgrade(revision: str, yes: bool, database_url: str) -> None:
    """Bring the schema down to REVISION; `base` removes pixelmeter's tables with everything in them."""
    from pixelmeter.ledger import migrate

    if revision == "base" and not yes:
        click.confirm("This deletes every recorded attempt. Go on?", abort=True)
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
    from pixelmeter import meter

    taken = meter.retry(database_url)
    left = meter.count_refused(database_url)
    click.echo(f"{taken} attempts are in the ledger now, {left} are still refused")
    if left:
        sys.exit(1)


def _say(now: Status) -> None:
    if now.revision is None:
        click.echo(f"{now.database} has no ledger now")
    else:
        click.echo(f"{now.database} is at schema {now.revision}")
