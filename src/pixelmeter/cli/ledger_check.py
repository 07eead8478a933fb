"""Whether the ledger of a database can be read and written, and what to do where it cannot; for `pixelmeter doctor`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from pixelmeter.cli.finding import Finding
from pixelmeter.cli.restore_check import MIXED, of_log, of_tables
from pixelmeter.errors import ConfigError, LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.failure import CHARACTERS_ADVICE, lacks_characters
from pixelmeter.ledger.reader import Reader, reading_database
from pixelmeter.ledger.version import VERSION_TABLE, check

__all__ = ["CORRECT_URL", "examine"]

_ATTEMPTS = "pixelmeter_attempts"
_NEEDED = (
    (_ATTEMPTS, "SELECT, INSERT"),
    ("pixelmeter_daily", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_totals", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_spools", "SELECT, INSERT, UPDATE, DELETE"),
)
CORRECT_URL = "correct --database-url or PIXELMETER_DATABASE_URL"
# What servers and drivers say in English; what they say otherwise has the general advice.
_ADVICE = (
    (
        r"Connection refused|Is the server running|timeout expired",
        "start the server, or correct host and port in the database URL",
    ),
    (
        r"local user with ID \d+ does not exist",
        "name a user in the database URL: postgresql://user:password@host/database",
    ),
    (r"failed to resolve host|could not translate host", "correct the host in the database URL"),
    (r'database "[^"]*" does not exist', "create it with `createdb`, or correct the name in the database URL"),
    (
        r'authentication failed|role "[^"]*" does not exist|no password supplied',
        "correct user and password in the database URL",
    ),
    (r"unable to open database file|readonly database", "give this user the right to read and write it"),
    (r"malformed|SQLITE_CORRUPT", MIXED),
    (r"file is not a database|is a folder|is no regular file", "name another file in the database URL"),
)


def examine(address: Address, *, is_spooled: bool) -> Iterator[Finding]:
    """Yield what is found of a ledger; `is_spooled` says whether attempts have a disk to wait on meanwhile."""
    if address.dialect == "sqlite":
        yield from of_log(address.path)
    if address.dialect == "sqlite" and not os.path.exists(address.path):
        yield Finding("database", "ok", f"{address.safe()} is not there yet", "the first image call makes it")
        yield from _sqlite_access(address.path)
        return
    try:
        with reading_database(address) as reader:
            found = reader.revision()
            if found is None:
                yield _absent(address, reader)
            else:
                check(found)
                yield Finding("database", "ok", f"{address.safe()} has schema {found}")
                if address.dialect == "sqlite":
                    yield from of_tables(reader)
            if address.dialect == "postgresql":
                yield from _encoding(reader)
                yield _postgres_access(reader, address, is_there=found is not None)
    except (LedgerError, ConfigError) as error:
        meanwhile = (
            "attempts wait in the spool meanwhile"
            if is_spooled
            else "attempts are in memory only meanwhile, as the spool cannot be written either"
        )
        advice = "; ".join(part for part in (_advice(error), meanwhile) if part)
        yield Finding("database", "problem", str(error), advice)
    if address.dialect == "sqlite" and not os.path.isdir(address.path):
        yield from _sqlite_access(address.path)


def _advice(error: Exception) -> str:
    """Return what to do about a database that cannot be used; nothing where the error's text says it."""
    if isinstance(error, SchemaOutdated | SchemaTooNew):
        return ""
    if isinstance(error, ConfigError):
        return "" if "pip install" in str(error) else CORRECT_URL
    found = (advice for pattern, advice in _ADVICE if re.search(pattern, str(error)))
    return next(found, "look into the database, or name another one in the database URL")


def _absent(address: Address, reader: Reader) -> Finding:
    if reader.has_table(_ATTEMPTS):
        told = f"{address.safe()} has the table {_ATTEMPTS} but not {VERSION_TABLE}, which says its version"
        return Finding("database", "problem", told, "restore that table, or name another database in the database URL")
    advice = "the first image call makes it, or `pixelmeter db upgrade`"
    return Finding("database", "ok", f"{address.safe()} has no ledger yet", advice)


def _sqlite_access(path: str) -> Iterator[Finding]:
    beside = [f"{path}{ending}" for ending in ("", "-wal", "-shm", ".lock")]
    refused = [name for name in beside if os.path.exists(name) and not os.access(name, os.W_OK)]
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        refused.append(folder)
    if refused:
        advice = "give this user the right to write them; SQLite keeps -wal, -shm and .lock beside the ledger"
        yield Finding("write access", "problem", f"not to {', '.join(refused)}", advice)
    else:
        yield Finding("write access", "ok", f"to {path} and its folder")


def _encoding(reader: Reader) -> Iterator[Finding]:
    encoding = str(reader.rows("SHOW server_encoding")[0][0])
    if lacks_characters(encoding):
        told = f"it is {encoding}: the database refuses attempts with a character that it lacks"
        yield Finding("encoding", "warning", told, CHARACTERS_ADVICE)


def _postgres_access(reader: Reader, address: Address, *, is_there: bool) -> Finding:
    def may(question: str, *names: str) -> bool:
        return bool(reader.rows(f"SELECT {question}", names)[0][0])

    if may("pg_is_in_recovery()"):
        return Finding("write access", "problem", "the server is a standby", "name the primary in the database URL")
    if not is_there:
        return _may_create(reader, address.schema)
    refused = [
        f"{right} on {table}"
        for table, rights in _NEEDED
        for right in rights.split(", ")
        if not may("has_table_privilege(?, ?)", address.qualified(table), right)
    ]
    if refused:
        return Finding(
            "write access", "problem", f"missing: {'; '.join(refused)}", "grant it; docs/ledger.md has the SQL"
        )
    return Finding("write access", "ok", "to all tables")


def _may_create(reader: Reader, named: str | None) -> Finding:
    [(role, schema, is_there, may, database)] = reader.rows(
        "SELECT quote_ident(current_user), quote_ident(name), to_regnamespace(quote_ident(name)) IS NOT NULL,"
        " coalesce(CASE WHEN to_regnamespace(quote_ident(name)) IS NULL"
        " THEN has_database_privilege(current_database(), 'CREATE') ELSE has_schema_privilege(name, 'CREATE') END,"
        " false), quote_ident(current_database()) FROM (SELECT coalesce(?, current_schema()) AS name) AS schemas",
        [named],
    )
    if may and schema:
        return Finding("write access", "ok", f"{role} may make the tables in schema {schema}")
    grant = f"GRANT USAGE, CREATE ON SCHEMA {schema or 'public'} TO {role}"
    if schema and not is_there:
        grant = f"CREATE SCHEMA {schema} AUTHORIZATION {role}"
    advice = (
        "let a role that may create tables run `pixelmeter db upgrade`, then grant what docs/ledger.md lists; "
        f"or run: {grant}"
    )
    if schema is None:
        told = f"{role} has no schema to make tables in"
    elif is_there:
        told = f"{role} may not make the tables in schema {schema}"
    else:
        told = f"{role} may not make the schema {schema} in the database {database}"
    return Finding("write access", "problem", told, advice)
