"""SQLAlchemy engines on a ledger, for whatever is not the hot path: the schema, migrations and reading."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger import version
from pixelmeter.ledger.address import Address, read_address, safe_url, spool_folder
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.lock import PATIENCE, write_lock
from pixelmeter.system import make_private

__all__ = [
    "changing",
    "connect_arguments",
    "ensure_schema",
    "open_engine",
    "open_reader",
    "reading",
    "require_driver",
    "safe_url",
    "spool_folder",
]

WRITING = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
"""What every writing connection to SQLite sets: readers never wait, and a commit survives a power cut."""

# So that a dead network ends in an error within half a minute instead of hours; the URL's options win.
_PATIENT = {
    "application_name": "pixelmeter",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def open_engine(url: str) -> Engine:
    """Return an engine that may write; it connects when it is used and keeps no connection open.

    ConfigError for a URL that cannot be used and for a missing driver, LedgerError for a folder in place of a SQLite
    file. On SQLite a transaction takes the write lock at its begin; hold `lock.write_lock` around it, or use
    `changing`, which does.
    """
    return _engine(read_address(url))


def open_reader(url: str | Address) -> Engine:
    """Return an engine on an existing ledger that cannot change it, nor on SQLite take part in checkpoints.

    LedgerError when there is no ledger or it cannot be opened, SchemaOutdated or SchemaTooNew when its schema is not
    the one of this pixelmeter, ConfigError for a URL that cannot be used.
    """
    address = read_address(url)
    with reading(address) as connection:
        version.check(version.current(connection))
        return connection.engine


@contextlib.contextmanager
def reading(address: Address) -> Generator[Connection]:
    """Give a connection that cannot change the database, whatever its schema is and also where it has no ledger.

    LedgerError when there is no SQLite file or the database refuses, ConfigError for a URL that cannot be used.
    """
    if address.dialect == "sqlite":
        engine = _sqlite_reader(address.path)
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


def connect_arguments(address: Address) -> dict[str, Any]:
    """Return the keyword arguments of `psycopg.connect`, without those that each of its users has of its own.

    ConfigError where the driver is not installed, and for options that it does not have.
    """
    require_driver()
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    unknown = [key for key, _ in address.options if key not in known]
    if unknown:
        # Names alone: a value may be a secret whose name is misspelt.
        raise ConfigError(
            f"the database URL has options that PostgreSQL does not: {', '.join(unknown)}; "
            "those of libpq, such as sslmode, may stand after the ?"
        )
    named = {
        "user": address.user,
        "password": address.password,
        "host": address.host,
        "port": address.port,
        "dbname": address.database,
    }
    given = {key: value for key, value in named.items() if value}
    # Not left to the database, whose own encoding may be one in which the driver returns bytes.
    return {**_PATIENT, **given, **dict(address.options), "client_encoding": "UTF8"}


def require_driver() -> None:
    """Raise ConfigError, with what to install, where the driver of PostgreSQL cannot be imported."""
    try:
        import psycopg  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise ConfigError(
            'PostgreSQL needs a driver that is not installed: pip install "pixelmeter[postgres]"'
        ) from None


def _engine(address: Address) -> Engine:
    if address.dialect == "sqlite":
        _refuse_folder(address.path)
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
        for pragma in pragmas:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _refuse_folder(path: str) -> None:
    if os.path.isdir(path):
        raise LedgerError(
            f"{path} is a folder: name a file in the database URL, such as sqlite:///{path}/pixelmeter.db"
        )
    # SQLite would wait for the other end of a pipe.
    if os.path.exists(path) and not os.path.isfile(path):
        raise LedgerError(f"{path} is no regular file: name another one in the database URL")


def _sqlite_reader(path: str) -> Engine:
    _refuse_folder(path)
    if not os.path.exists(path):
        raise LedgerError(f"there is no ledger at {path} yet: meter a call, or name another with --database-url")
    uri = f"file:{quote(os.fsencode(path))}?mode=ro"
    # On read-only media SQLite cannot make the shared memory of a WAL; without a WAL there is nothing it must share.
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK) and not os.path.exists(f"{path}-wal"):
        uri += "&immutable=1"
    return _sqlite_engine(path, uri, "BEGIN")
