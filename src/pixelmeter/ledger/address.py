"""What a database URL says, read without importing a database library, and told without its secrets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote

from pixelmeter.errors import ConfigError

__all__ = ["Address", "in_schema", "read_address", "safe_url", "spool_folder"]

_SUPPORTED = (
    "use sqlite:///pixelmeter.db (a path after three slashes, four for an absolute one) "
    "or postgresql://user:password@host/database"
)
_DIALECTS: dict[str, Literal["sqlite", "postgresql"]] = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresql+psycopg": "postgresql",
}
_SHAPE = re.compile(
    r"""(?P<scheme>[a-z0-9+]+)://
    (?:(?P<user>[^:/?@]*)(?::(?P<password>[^@]*))?@)?
    (?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^/:?@]*))(?::(?P<port>\d*))?
    (?:/(?P<database>[^?]*))?
    (?:\?(?P<query>.*))?""",
    re.VERBOSE,
)
_POSTGRESQL_PORT = 5432
_SCHEMA = re.compile("(?!pg_)[a-z_][a-z0-9_]{0,62}")
_TOLD = frozenset({"application_name", "connect_timeout", "host", "port", "sslmode", "target_session_attrs"})


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a database URL, decoded; `path` is absolute and free of links, and only SQLite has one."""

    dialect: Literal["sqlite", "postgresql"]
    path: str = ""
    user: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    database: str = ""
    options: Sequence[tuple[str, str]] = ()
    schema: str | None = None
    """The schema of PostgreSQL that the tables are in; None leaves it to the `search_path` of the role."""

    def qualified(self, table: str) -> str:
        """Return the name of a table as it stands in SQL."""
        return f'"{self.schema}".{table}' if self.schema else table

    def __repr__(self) -> str:
        return f"Address({self.safe()})"

    def safe(self) -> str:
        """Return the URL as it may be shown: no password, and of the options only those that hold no secret."""
        if self.dialect == "sqlite":
            return f"sqlite:///{self.path}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        port = f":{self.port}" if self.port else ""
        told = [f"{key}={quote(value) if key in _TOLD else '***'}" for key, value in self.options]
        options = "&".join(told + ([f"schema={self.schema}"] if self.schema else []))
        return f"postgresql://{user}{host}{port}/{quote(self.database)}{'?' if options else ''}{options}"


def read_address(url: str) -> Address:
    """Take a database URL apart; ConfigError, which never quotes the URL, says what to write instead."""
    shape = _SHAPE.fullmatch(url)
    dialect = _DIALECTS.get(url.partition("://")[0])
    if dialect is None:
        raise ConfigError(f"the database URL names no database that pixelmeter knows: {_SUPPORTED}")
    if shape is None:
        raise ConfigError(
            f"the database URL cannot be read: {_SUPPORTED}, with @ : / ? # in a password percent-encoded (@ is %40)"
        )
    part = shape.groupdict()
    database = unquote(part["database"] or "")
    if dialect == "sqlite":
        return Address("sqlite", path=_sqlite_path(database, part))
    options = parse_qsl(part["query"] or "", keep_blank_values=True)
    return Address(
        "postgresql",
        user=unquote(part["user"]) if part["user"] else None,
        password=unquote(part["password"]) if part["password"] else None,
        host=part["ipv6"] or part["host"] or None,
        port=int(part["port"]) if part["port"] else None,
        database=database,
        options=tuple((key, value) for key, value in options if key != "schema"),
        schema=_checked_schema(dict(options).get("schema")),
    )


def in_schema(url: str, schema: str | None) -> str:
    """Return the URL of a ledger in this schema, where it is one of PostgreSQL that names none itself."""
    if not schema or not url.startswith("postgres") or "schema" in dict(parse_qsl(url.partition("?")[2])):
        return url
    return f"{url}{'&' if '?' in url else '?'}schema={quote(schema, safe='')}"


def _checked_schema(name: str | None) -> str | None:
    if name and not _SCHEMA.fullmatch(name):
        raise ConfigError(
            f"{name[:70]!r} cannot be the schema of the ledger (PIXELMETER_SCHEMA, or ?schema= in the database URL): "
            "use at most 63 lower-case letters, digits and _, the first no digit, and no pg_ in front"
        )
    return name or None


def _sqlite_path(database: str, part: dict[str, str | None]) -> str:
    if part["host"] or part["user"] or part["query"]:
        raise ConfigError(f"the SQLite URL has a host or options, which it cannot have: {_SUPPORTED}")
    if not database or database.startswith((":memory:", "file:")):
        raise ConfigError("the ledger must outlive the process: give SQLite a file, such as sqlite:///pixelmeter.db")
    return os.path.realpath(os.path.expanduser(database))


def safe_url(url: str) -> str:
    """Return the URL as it may be logged or printed: without the password and without secret options."""
    try:
        return read_address(url).safe()
    except ConfigError:
        return "(a database URL that cannot be read)"


def spool_folder(url: str, override: str | None, state_dir: str) -> str:
    """Return the folder of the spools that belong to a ledger.

    It is `<file>.spool` beside a SQLite file; else one under `<state_dir>/pixelmeter/`, or under `override` where that
    is given, named after host, port, database and schema, the same whatever user, password and options are. No two
    ledgers share one: whoever opens a ledger takes in the spools that dead processes left in its folder.
    """
    address = read_address(url)
    if override:
        base = os.path.abspath(os.path.expanduser(override))
    elif address.dialect == "sqlite":
        return f"{address.path}.spool"
    else:
        base = os.path.join(os.path.abspath(state_dir), "pixelmeter")
    if address.dialect == "sqlite":
        name, identity = os.path.basename(address.path), address.path
    else:
        host, port, database = _server(address)
        name, identity = f"{host or 'local'}-{database or 'default'}", f"{host}:{port}/{database}"
        if address.schema:
            # A database may have any character in its name but this one.
            name, identity = f"{name}-{address.schema}", f"{identity}\0{address.schema}"
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", name)[:60]
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return os.path.join(base, f"{readable}-{digest}")


def _server(address: Address) -> tuple[str, str, str]:
    options = dict(address.options)
    host = options.get("host") or address.host or ""
    port = options.get("port") or str(address.port or _POSTGRESQL_PORT)
    # A URL without a database means the one that is named like the user.
    return host.lower(), port, options.get("dbname") or address.database or address.user or ""
