"""Whether a ledger can be read and written, and belongs to what lies beside it; what to do where it does not."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator

from pixelmeter.core.budgets.budget import Rule, Span
from pixelmeter.core.budgets.sums import SUMS
from pixelmeter.errors import ConfigError, LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.budget_reading import budgets_of, so_far, sums_in, wrongly_leased
from pixelmeter.ledger.failure import CHARACTERS_ADVICE, lacks_characters
from pixelmeter.ledger.files import page_size, read_wal
from pixelmeter.ledger.reader import LedgerReader, is_too_long, reading_database
from pixelmeter.ledger.version import VERSION_TABLE, check
from pixelmeter.reports.finding import Finding
from pixelmeter.reports.retention_check import check_retention
from pixelmeter.system import SystemClock

__all__ = ["CHECK_SECONDS", "CORRECT_URL", "check_budgets", "check_ledger", "check_tables"]

_MIXED = (
    "stop the programs that write to it and restore one back-up whole, without -wal and -shm files of another state: "
    'docs/ledger.md, "Back up and restore"'
)
_PARTS = (
    'stop the programs that write to it and restore all tables of one back-up: docs/ledger.md, "Back up and restore"'
)
CHECK_SECONDS = 10.0
"""How long a check may take that reads all of a ledger."""
_SHOWN = 5
_COUNTED = {"by hour": "pixelmeter_hourly", "by day": "pixelmeter_daily", "of totals": "pixelmeter_totals"}
_COUNTS = ", ".join(f"(SELECT coalesce(sum(attempts), 0) FROM {view})" for view in _COUNTED.values())
_ALL = "(SELECT count(*) FROM pixelmeter_attempts) + (SELECT coalesce(sum(attempts), 0) FROM pixelmeter_prunes)"
_COUNT_ALL = f"SELECT {_ALL}, {_COUNTS}"
_ATTEMPTS = "pixelmeter_attempts"
_NEEDED = (
    (_ATTEMPTS, "SELECT, INSERT"),
    ("pixelmeter_adjustments", "SELECT, INSERT, UPDATE (is_latest)"),
    ("pixelmeter_jobs", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_daily_merged", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_hourly_merged", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_tag_daily_merged", "SELECT, INSERT, UPDATE, DELETE"),
    ("pixelmeter_totals_merged", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_wide_tags", "SELECT, INSERT"),
    ("pixelmeter_deltas", "SELECT, INSERT, UPDATE, DELETE"),
    ("pixelmeter_adjustment_totals", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_spools", "SELECT, INSERT, UPDATE, DELETE"),
    ("pixelmeter_budgets", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_budget_sums", "SELECT, INSERT, UPDATE, DELETE"),
    ("pixelmeter_budget_leases", "SELECT, INSERT, UPDATE, DELETE"),
    ("pixelmeter_budget_notices", "SELECT, INSERT, UPDATE, DELETE"),
    ("pixelmeter_budget_resets", "SELECT, INSERT"),
    ("pixelmeter_statements", "SELECT, INSERT"),
    ("pixelmeter_statement_reads", "SELECT, INSERT, DELETE"),
    ("pixelmeter_reconciliations", "SELECT, INSERT"),
    ("pixelmeter_prunes", "SELECT"),
    ("pixelmeter_spend", "SELECT"),
    ("pixelmeter_calls", "SELECT"),
    ("pixelmeter_daily", "SELECT"),
    ("pixelmeter_hourly", "SELECT"),
    ("pixelmeter_tag_daily", "SELECT"),
    ("pixelmeter_totals", "SELECT"),
)
_RIGHT = re.compile(r"(\w+)(?: \((\w+)\))?")
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
    (r"malformed|SQLITE_CORRUPT", _MIXED),
    (r"file is not a database|is a folder|is no regular file", "name another file in the database URL"),
)


def check_ledger(address: Address, *, is_spooled: bool, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield what is found of a ledger; `is_spooled` says whether attempts have a disk to wait on meanwhile."""
    if address.dialect == "sqlite":
        yield from _check_log(address.path)
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
                    yield from check_tables(reader, seconds)
                    yield from check_budgets(reader, SystemClock().now(), seconds)
                    yield from check_retention(reader, SystemClock().now())
            if address.dialect == "postgresql":
                yield from _encoding(reader)
                access = _postgres_access(reader, address, is_there=found is not None)
                yield access
                if found is not None and access.state == "ok":
                    yield from check_tables(reader, seconds)
                    yield from check_budgets(reader, SystemClock().now(), seconds)
                    yield from check_retention(reader, SystemClock().now())
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


def _check_log(path: str) -> Iterator[Finding]:
    """Yield what is wrong with the log beside a database file, from the bytes of both: SQLite drops such a log."""
    if os.path.exists(path) and not os.path.isfile(path):
        return
    try:
        log = read_wal(path)
        size = page_size(path) if os.path.exists(path) else None
    except OSError:
        # Whether the files can be read is another finding.
        return
    if log is None:
        return
    if not log.is_valid:
        told = (
            f"{path}-wal is damaged at its beginning: SQLite does not read it, and what it holds is not in the ledger"
        )
    elif size is None and log.commits:
        told = f"{path}-wal holds {log.commits} transactions of a database that is not there"
    elif size is not None and log.page_size != size:
        told = f"{path}-wal is the log of another database: its pages have {log.page_size} bytes, not {size}"
    else:
        return
    advice = f"keep a copy of both files before anything writes to the ledger, which drops the log; then {_MIXED}"
    yield Finding("write-ahead log", "problem", told, advice)


def check_tables(reader: LedgerReader, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield whether the sums agree with the rows, and in SQLite pages and indexes with each other.

    Only as far as can be told in so many seconds.
    """
    statement = reader.dialect.damage
    try:
        with reader.time_limit(seconds):
            damage = ["ok"] if statement is None else [str(line) for (line,) in reader.rows(statement)]
            [(rows, *counts)] = reader.rows(_COUNT_ALL)
    except Exception as error:
        if is_too_long(error):
            told = f"not checked to the end: {seconds:g} seconds were not enough"
            by_hand = 'sqlite3 FILE "PRAGMA integrity_check" takes the time that it needs' if statement else ""
            yield Finding("integrity", "ok", told, by_hand)
            return
        if not isinstance(error, sqlite3.Error):
            raise
        yield Finding("integrity", "problem", f"SQLite finds damage: {error}", _MIXED)
        return
    if damage != ["ok"]:
        told = " ".join("; ".join(damage).split())[:300]
        yield Finding("integrity", "problem", f"SQLite finds damage: {told}", _MIXED)
    elif other := [f"{name} count {count}" for name, count in zip(_COUNTED, counts, strict=True) if count != rows]:
        told = f"{rows} attempts with those that were pruned, but the sums {' and those '.join(other)}"
        yield Finding("integrity", "problem", told, _MIXED if statement else _PARTS)
    else:
        yield Finding("integrity", "ok", "pages, indexes and sums agree" if statement else "rows and sums agree")


def check_budgets(reader: LedgerReader, at: int, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield whether the sums of budgets are those of the rows at a Unix time in microseconds, and leases add up.

    Nothing of a ledger without budgets; and only as far as can be told in so many seconds.
    """
    budgets = budgets_of(reader, with_removed=False)
    if not budgets:
        return
    try:
        with reader.time_limit(seconds):
            counted = [one.rule.name for one in budgets if _differs(reader, one.rule, one.rule.span_of(at))]
            leased = wrongly_leased(reader)
    except Exception as error:
        if not is_too_long(error):
            raise
        yield Finding("budgets", "ok", f"not checked to the end: {seconds:g} seconds were not enough")
        return
    for told, names in (
        ("what is counted in the present period is not the sum of its attempts", counted),
        ("what is reserved is not the sum of the leases", leased),
    ):
        if names:
            advice = (
                "run `pixelmeter budgets remove` with its name and start a program that has it: it is then counted "
                "from the attempts; its resets and earlier periods go"
            )
            yield Finding("budgets", "problem", f"{told}: {', '.join(map(repr, names[:_SHOWN]))}", advice)
    if not counted and not leased:
        yield Finding("budgets", "ok", f"{len(budgets)}, with sums and leases that add up")


def _differs(reader: LedgerReader, rule: Rule, span: Span) -> bool:
    kept = {(one.value, *(getattr(one, name) for name in SUMS)) for one in sums_in(reader, rule.name, start=span.start)}
    of_rows = {(one.value, *one.amounts()) for one in so_far(reader, rule, span)}
    # A row without any attempt has leases only.
    return {one for one in kept if any(one[1:])} != {one for one in of_rows if any(one[1:])}


def _advice(error: Exception) -> str:
    """Return what to do about a database that cannot be used; nothing where the error's text says it."""
    if isinstance(error, SchemaOutdated | SchemaTooNew):
        return ""
    if isinstance(error, ConfigError):
        return "" if "pip install" in str(error) else CORRECT_URL
    found = (advice for pattern, advice in _ADVICE if re.search(pattern, str(error)))
    return next(found, "look into the database, or name another one in the database URL")


def _absent(address: Address, reader: LedgerReader) -> Finding:
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


def _encoding(reader: LedgerReader) -> Iterator[Finding]:
    encoding = str(reader.rows("SHOW server_encoding")[0][0])
    if lacks_characters(encoding):
        told = f"it is {encoding}: the database refuses attempts with a character that it lacks"
        yield Finding("encoding", "warning", told, CHARACTERS_ADVICE)


def _postgres_access(reader: LedgerReader, address: Address, *, is_there: bool) -> Finding:
    def may(question: str, *names: str) -> bool:
        return bool(reader.rows(f"SELECT {question}", names)[0][0])

    if may("pg_is_in_recovery()"):
        return Finding("write access", "problem", "the server is a standby", "name the primary in the database URL")
    if not is_there:
        return _may_create(reader, address.schema)

    def has(table: str, right: str, column: str) -> bool:
        if column:
            return may("has_column_privilege(?, ?, ?)", address.qualified(table), column, right)
        return may("has_table_privilege(?, ?)", address.qualified(table), right)

    refused = [
        f"{right[0]} on {table}"
        for table, rights in _NEEDED
        for right in _RIGHT.finditer(rights)
        if not has(table, right[1], right[2])
    ]
    if refused:
        return Finding(
            "write access", "problem", f"missing: {'; '.join(refused)}", "grant it; docs/ledger.md has the SQL"
        )
    return Finding("write access", "ok", "to all tables")


def _may_create(reader: LedgerReader, named: str | None) -> Finding:
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
