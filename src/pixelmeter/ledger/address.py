"""What a database URL says, and what of it may be told: not its secrets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote

from pixelmeter.errors import ConfigError
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.settings import absolute_path, checked_schema

__all__ = [
    "Address",
    "absolute_url",
    "in_schema",
    "read_address",
    "safe_url",
    "spool_folder",
]

_SUPPORTED = (
    "use sqlite:///pixelmeter.db (a path after three slashes, four for an absolute one) "
    "or postgresql://user:password@host/database"
)
# User, password, host and port end at the first slash or question mark; behind it an @ is one of an option's value.
_SHAPE = re.compile(
    r"""(?P<scheme>[a-z0-9+]+)://
    (?:(?P<user>[^:/?@]*)(?::(?P<password>[^/?@]*))?@)?
    (?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^/:?@]*))(?::(?P<port>[0-9]{0,5}))?
    (?:/(?P<database>[^?]*))?
    (?:\?(?P<query>.*))?""",
    re.VERBOSE | re.DOTALL,
)
_POSTGRESQL_PORT = 5432
_HIGHEST_PORT = 65535
_TOLD = frozenset({"application_name", "connect_timeout", "host", "port", "sslmode", "target_session_attrs"})


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a database URL, decoded; `path` is absolute and free of links, and only SQLite has one."""

    dialect: str
    """Which of `DIALECTS`."""
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

    def secrets(self) -> AbstractSet[str]:
        """Return what must never be shown, decoded."""
        values = [self.password, *(value for key, value in self.options if _is_secret(key))]
        return {value for value in values if value}

    def safe(self) -> str:
        """Return the URL as it may be shown: no password, and of the options only those that hold no secret."""
        if self.dialect == "sqlite":
            return _sqlite_url(self.path)
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        port = f":{self.port}" if self.port else ""
        told = [f"{key}={quote(value) if key in _TOLD else '***'}" for key, value in self.options]
        options = "&".join(told + ([f"schema={self.schema}"] if self.schema else []))
        return f"{self.dialect}://{user}{host}{port}/{quote(self.database)}{'?' if options else ''}{options}"


def _is_secret(option: str) -> bool:
    return any(word in option.lower() for word in ("password", "secret", "token"))


def read_address(url: str | Address) -> Address:
    """Take a database URL apart; ConfigError, which never quotes the URL, says what to write instead.

    A relative path of SQLite is taken from the current folder, once: an Address comes back as it is.
    """
    if isinstance(url, Address):
        return url
    url = url.strip()
    shape = _SHAPE.fullmatch(url)
    scheme = url.partition("://")[0]
    dialect = next((name for name, each in DIALECTS.items() if scheme in each.schemes), None)
    if dialect is None:
        raise ConfigError(f"the database URL names no database that pixelmeter knows: {_SUPPORTED}")
    part = {} if shape is None else shape.groupdict()
    if shape is None or (dialect == "postgresql" and "@" in (part["database"] or "")):
        raise ConfigError(
            f"the database URL cannot be read: {_SUPPORTED}, with @ : / ? # in a password percent-encoded (@ is %40)"
        )
    if dialect == "sqlite":
        return Address(dialect, path=_sqlite_path(unquote(part["database"] or "", errors="surrogateescape"), part))
    if any("\ud800" <= character <= "\udfff" for character in url):
        raise ConfigError("the database URL is not UTF-8 text: percent-encode what is not ASCII in it")
    options = _options(part["query"] or "")
    schema = dict(options).get("schema")
    return Address(
        dialect,
        user=unquote(part["user"]) if part["user"] else None,
        password=unquote(part["password"]) if part["password"] else None,
        host=part["ipv6"] or part["host"] or None,
        port=_port(part["port"]),
        database=unquote(part["database"] or ""),
        options=tuple((key, value) for key, value in options if key != "schema"),
        schema=checked_schema(schema, "schema= in the database URL") if schema else None,
    )


def _options(query: str) -> list[tuple[str, str]]:
    options = parse_qsl(query, keep_blank_values=True)
    for key, value in options:
        # One for each of several hosts; an empty one is the usual port.
        if key == "port" and not all(each == "" or (each.isascii() and each.isdecimal()) for each in value.split(",")):
            raise ConfigError("the database URL has an option port that is no number: write port=5432")
    return options


def in_schema(url: str, schema: str | None) -> str:
    """Return the URL of a ledger in this schema, where it is one of PostgreSQL that names none itself."""
    url = url.strip()
    if not schema or not url.startswith("postgres") or "schema" in dict(parse_qsl(url.partition("?")[2])):
        return url
    return f"{url}{'&' if '?' in url else '?'}schema={quote(schema, safe='')}"


def absolute_url(url: str) -> str:
    """Return a URL of the same database that stays so wherever the program goes: SQLite's with an absolute path."""
    address = read_address(url)
    return _sqlite_url(address.path) if address.dialect == "sqlite" else url.strip()


def _port(digits: str | None) -> int | None:
    if not digits:
        return None
    port = int(digits)
    if not 0 < port <= _HIGHEST_PORT:
        raise ConfigError(f"the database URL has port {port}: use one from 1 to {_HIGHEST_PORT}")
    return port


def _sqlite_path(database: str, part: Mapping[str, str | None]) -> str:
    if part["host"] or part["user"] or part["query"]:
        raise ConfigError(f"the SQLite URL has a host or options, which it cannot have: {_SUPPORTED}")
    if not database or database.startswith((":memory:", "file:")):
        raise ConfigError("the ledger must outlive the process: give SQLite a file, such as sqlite:///pixelmeter.db")
    return os.path.realpath(absolute_path(database, "the path of the database URL"))


def _sqlite_url(path: str) -> str:
    return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")


def safe_url(url: str | Address) -> str:
    """Return the URL as it may be logged or printed: without the password and without secret options."""
    try:
        return read_address(url).safe()
    except ConfigError:
        return "(a database URL that cannot be read)"


def spool_folder(url: str | Address, override: str | None, state_dir: str | None) -> str:
    """Return the folder of the spools that belong to a ledger.

    It is `<file>.spool` beside a SQLite file; else one under `<state_dir>/pixelmeter/`, or under `override` where that
    is given, named after host, port, database and schema, the same whatever user, password and options are. No two
    ledgers share one: whoever opens a ledger takes in the spools that dead processes left in its folder.

    ConfigError where that needs the folder of the user's state, and there is none.
    """
    address = read_address(url)
    if override:
        base = absolute_path(os.fspath(override), "the spool folder")
    elif address.dialect == "sqlite":
        return f"{address.path}.spool"
    elif state_dir is None:
        raise ConfigError(
            "there is no folder for the spool, because this user has no home folder: set PIXELMETER_SPOOL_DIR to one "
            "that outlives the process (or XDG_STATE_HOME, or HOME)"
        )
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
