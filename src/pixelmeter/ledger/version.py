"""Which schema a ledger has, which one this pixelmeter needs, and making a ledger where there is none."""

from __future__ import annotations

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.revisions import VERSION_TABLE, check, revisions
from pixelmeter.ledger.schema import ATTEMPTS, METADATA

__all__ = ["VERSION_TABLE", "check", "create_if_absent", "current", "revisions"]

# Exactly the table that Alembic makes for itself under this name.
_VERSION = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def current(connection: Connection) -> str | None:
    """Return the ledger's schema revision; None where there is no ledger."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(select(_VERSION.c.version_num))
    return revision


def create_if_absent(connection: Connection) -> None:
    """Make the tables in a database that has none of them, at the newest revision; no commit."""
    if current(connection) is not None:
        return
    if inspect(connection).has_table(ATTEMPTS.name):
        raise LedgerError(
            f"the table {ATTEMPTS.name} is there but {VERSION_TABLE}, which says its version, is not: "
            "restore it, or use another database"
        )
    METADATA.create_all(connection)
    _VERSION.create(connection, checkfirst=True)
    connection.execute(_VERSION.insert().values(version_num=revisions()[-1]))
