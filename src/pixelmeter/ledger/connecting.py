"""What the drivers of the databases are told of an address."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pixelmeter.errors import ConfigError, LedgerError

if TYPE_CHECKING:
    from pixelmeter.ledger.address import Address

__all__ = ["connect_arguments", "read_only_uri", "refuse_folder", "require_driver"]

# So that a dead network ends in an error within half a minute instead of hours; the URL's options win.
_PATIENT = {
    "application_name": "pixelmeter",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


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


def refuse_folder(path: str) -> None:
    """Raise LedgerError where a folder, or what else is no file, is in the place of a SQLite file."""
    if os.path.isdir(path):
        raise LedgerError(
            f"{path} is a folder: name a file in the database URL, such as sqlite:///{path}/pixelmeter.db"
        )
    # SQLite would wait for the other end of a pipe.
    if os.path.exists(path) and not os.path.isfile(path):
        raise LedgerError(f"{path} is no regular file: name another one in the database URL")


def read_only_uri(path: str) -> str:
    """Return the name by which `sqlite3.connect` opens a file that is there and cannot change it.

    LedgerError where there is none, or a folder.
    """
    refuse_folder(path)
    if not os.path.exists(path):
        raise LedgerError(f"there is no ledger at {path} yet: meter a call, or name another with --database-url")
    uri = f"file:{quote(os.fsencode(path))}?mode=ro"
    # On read-only media SQLite cannot make the shared memory of a WAL; without a WAL there is nothing it must share.
    if not os.access(os.path.dirname(path), os.W_OK) and not os.path.exists(f"{path}-wal"):
        uri += "&immutable=1"
    return uri
