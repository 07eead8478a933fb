"""SQLAlchemy engines on a database, for its schema: making it, changing it and looking what it is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from pixelmeter.ledger import version
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.connecting import connect_arguments, read_only_uri, refuse_folder
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.files import PATIENCE, write_lock
from pixelmeter.system import make_private

__all__ = ["SHRINKING", "WRITING", "changing", "ensure_schema", "open_engine", "reading"]

WRITING = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
"""What every writing connection to SQLite sets: readers never wait, and a commit survives a power cut."""
SHRINKING = "PRAGMA auto_vacuum=INCREMENTAL"
"""What has a file give pages back that become free, where it is set before anything is in it, or before a VACUUM."""


def open_engine(url: str) -> Engine:
    """Return an engine that may write; it connects when it is used and keeps no connection open.

    ConfigError for a URL that cannot be used and for a missing driver, LedgerError for a folder in place of a SQLite
    file. On SQLite a transaction takes the write lock at its begin; hold `files.write_lock` around it, or use
    `changing`, which does.
    """
    return _engine(read_address(url))


@contextlib.contextmanager
def reading(address: Address) -> Generator[Connection]:
    """Give a connection that cannot change the database, whatever its schema is and also where it has no ledger.

    LedgerError when there is no SQLite file or the database refuses, ConfigError for a URL that cannot be used.
    """
    if address.dialect == "sqlite":
        engine = _sqlite_engine(address.path, read_only_uri(address.path), "BEGIN")
    else:
        engine = _postgres_engine(address, postgresql_readonly=True)
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise without_secrets(error, address) from None


@contextlib.contextmanager
def changing(address: Address, patience: float = PATIENCE) -> Generator[Connection]:
    """Give a connection in one transaction that nobody else changes the schema in, committed at the end.

    LedgerError when the database refuses, or others hold what is needed for `patience` seconds; nothing is changed
    then.
    """
    engine = _engine(address)
    try:
        if address.dialect == "sqlite":
            with write_lock(address.path, patience), engine.begin() as connection:
                yield connection
        else:
            with engine.begin() as connection:
                # Nobody waits for good: neither we for others, nor they for one of us that was stopped in the middle.
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(patience * 1000)}")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '1min'")
                # The number is arbitrary: "pixelmet" in ASCII.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(8100137781808686452)")
                yield connection
    except SQLAlchemyError as error:
        raise without_secrets(error, address) from None


def ensure_schema(address: Address, patience: float = PATIENCE) -> None:
    """Make the ledger where there is none, and check the schema of one that is there.

    SchemaOutdated and SchemaTooNew say what to run; LedgerError when the database cannot be used.
    """
    if address.dialect == "postgresql":
        try:
            with _engine(address).connect() as connection:
                found = version.current(connection)
        except SQLAlchemyError as error:
            raise without_secrets(error, address) from None
        if found is not None:
            version.check(found)
            return
    with changing(address, patience) as connection:
        version.create_if_absent(connection)
        version.check(version.current(connection))


def _engine(address: Address) -> Engine:
    if address.dialect == "sqlite":
        refuse_folder(address.path)
        return _sqlite_engine(address.path, address.path, "BEGIN IMMEDIATE", *WRITING)
    # Whatever the database's default is: a migration must see the rows that it has waited for.
    return _postgres_engine(address, isolation_level="READ COMMITTED")


def _postgres_engine(address: Address, **options: Any) -> Engine:
    if address.schema:
        options["schema_translate_map"] = {None: address.schema}
    return create_engine(
        _postgres_url(address),
        # No statement may outlive its transaction: behind a pooler, the next one may have another server process.
        connect_args={"prepare_threshold": None},
        use_native_hstore=False,
        hide_parameters=True,
        poolclass=NullPool,
        execution_options=options,
    )


def _postgres_url(address: Address) -> URL:
    arguments = connect_arguments(address)
    # Several servers, with a port each, are options to SQLAlchemy.
    several = {name: arguments.pop(name) for name in ("host", "port") if "," in str(arguments.get(name, ""))}
    return URL.create(
        "postgresql+psycopg",
        username=arguments.pop("user", None),
        password=arguments.pop("password", None),
        host=arguments.pop("host", None),
        port=int(arguments.pop("port", 0)) or None,
        database=arguments.pop("dbname", None),
        query=arguments | several,
    )


def _sqlite_engine(path: str, database: str, begin: str, *pragmas: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=path),
        creator=lambda: _sqlite_connect(database, *pragmas),
        hide_parameters=True,
        poolclass=NullPool,
    )

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql(begin)

    return engine


def _sqlite_connect(database: str, *pragmas: str) -> sqlite3.Connection:
    uri = database.startswith("file:")
    if not uri:
        # SQLite would make it by the umask; what lies beside it takes its mode.
        with contextlib.suppress(OSError):
            make_private(database)
    connection = sqlite3.connect(database, uri=uri, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        if pragmas and not os.path.getsize(database):
            connection.execute(SHRINKING)
        for pragma in pragmas:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
