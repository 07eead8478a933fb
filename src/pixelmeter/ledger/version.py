"""Which schema a ledger has, which one this pixelmeter needs, and making a ledger where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.data_files import asset_dir
from pixelmeter.errors import LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.system import SystemClock

# SQLAlchemy is imported late: who only reads asks for the version too, and takes half as long without it.
if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = [
    "VERSION_TABLE",
    "check",
    "create_if_absent",
    "create_schema_if_absent",
    "current",
    "has_table",
    "revisions",
    "schema_of",
]

VERSION_TABLE = "pixelmeter_schema"


@cache
def _version() -> Table:
    """Return exactly the table that Alembic makes for itself under this name."""
    from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, String, Table

    return Table(
        VERSION_TABLE,
        MetaData(),
        Column("version_num", String(32), nullable=False),
        PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    )


def revisions() -> tuple[str, ...]:
    """Return every schema revision of this pixelmeter, oldest first; each migration file's name begins with its own.

    Read from the file names because a program that only writes should not pay for importing Alembic.
    """
    files = (asset_dir("migrations") / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(file.name.partition("_")[0] for file in files))


def current(connection: Connection) -> str | None:
    """Return the ledger's schema revision; None where there is no ledger."""
    from sqlalchemy import select

    if not has_table(connection, VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(select(_version().c.version_num))
    return revision


def schema_of(connection: Connection) -> str | None:
    """Return the schema of PostgreSQL that the ledger's address names; None leaves it to the `search_path`."""
    translated: Mapping[str | None, str] = connection.get_execution_options().get("schema_translate_map") or {}
    return translated.get(None)


def has_table(connection: Connection, name: str) -> bool:
    """Return whether a table is there, where the ledger is or would be."""
    from sqlalchemy import inspect

    return inspect(connection).has_table(name, schema=schema_of(connection))


def check(found: str | None) -> None:
    """Raise SchemaOutdated, SchemaTooNew, or LedgerError where there is no ledger, unless `found` is what we need."""
    known = revisions()
    if found == known[-1]:
        return
    if found is None:
        raise LedgerError("there is no ledger in this database yet: run `pixelmeter db upgrade`, or meter a call")
    if found in known:
        raise SchemaOutdated(
            f"the ledger has schema {found} and this pixelmeter needs {known[-1]}: run `pixelmeter db upgrade`"
        )
    raise SchemaTooNew(
        f"the ledger has schema {found}, made by a newer pixelmeter; this one knows up to {known[-1]}: "
        "upgrade the package with `pip install --upgrade pixelmeter`"
    )


def create_if_absent(connection: Connection) -> None:
    """Make the tables in a database that has none of them, at the newest revision; no commit."""
    from pixelmeter.ledger import partitions
    from pixelmeter.ledger.rollup_tables import store_as_it_is
    from pixelmeter.ledger.schema import ATTEMPTS, METADATA
    from pixelmeter.ledger.views import create_views

    if current(connection) is not None:
        return
    if has_table(connection, ATTEMPTS.name):
        raise LedgerError(
            f"the table {ATTEMPTS.name} is there but {VERSION_TABLE}, which says its version, is not: "
            "restore it, or use another database"
        )
    create_schema_if_absent(connection)
    METADATA.create_all(connection)
    if connection.dialect.name == "postgresql":
        partitions.create(connection, schema_of(connection), moment_of(SystemClock().now()))
    store_as_it_is(connection, schema_of(connection))
    create_views(connection, schema_of(connection))
    _version().create(connection, checkfirst=True)
    connection.execute(_version().insert().values(version_num=revisions()[-1]))


def create_schema_if_absent(connection: Connection) -> None:
    """Make the schema that the ledger's address names, if it names one; no commit."""
    from sqlalchemy import text
    from sqlalchemy.schema import CreateSchema

    schema = schema_of(connection)
    # Asked first, because IF NOT EXISTS needs the right to make one where there is one too.
    if schema and not connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": schema}):
        connection.execute(CreateSchema(schema))
