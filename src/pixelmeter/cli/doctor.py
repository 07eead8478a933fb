"""`pixelmeter doctor`: what works, what does not, and what to do about it. Changes nothing and adopts nothing."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import re
import sqlite3
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

import click

from pixelmeter.cli.options import format_option
from pixelmeter.cli.output import emit
from pixelmeter.errors import ConfigError, LedgerError, PixelmeterError, PriceBookError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger.address import Address, read_address, spool_folder
from pixelmeter.settings import Settings, from_environment
from pixelmeter.system import SystemClock, SystemFiles

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["command"]

_LIBRARIES = ("pixelmeter", "httpx", "httpx2", "openai", "sqlalchemy", "psycopg")
_OLD_PRICES_DAYS = 90
_NEEDED = (
    ("pixelmeter_attempts", "SELECT, INSERT"),
    ("pixelmeter_daily", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_totals", "SELECT, INSERT, UPDATE"),
    ("pixelmeter_spools", "SELECT, INSERT, UPDATE, DELETE"),
)
_CORRECT_URL = "correct --database-url or PIXELMETER_DATABASE_URL"
# What servers and drivers say in English; what they say otherwise has the general advice.
_ADVICE = (
    (
        r"Connection refused|Is the server running|timeout expired",
        "start the server, or correct host and port in the database URL",
    ),
    (r"failed to resolve host|could not translate host", "correct the host in the database URL"),
    (r'database "[^"]*" does not exist', "create it with `createdb`, or correct the name in the database URL"),
    (
        r'authentication failed|role "[^"]*" does not exist|no password supplied',
        "correct user and password in the database URL",
    ),
    (r"unable to open database file|readonly database", "give this user the right to read and write it"),
    (r"file is not a database|is a folder", "name another file in the database URL"),
)


@dataclass(frozen=True, slots=True)
class _Finding:
    check: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


# Not the shared option: its default reads the settings, and what is wrong with those is one of the findings.
@click.command
@click.option(
    "--database-url",
    metavar="URL",
    show_default="PIXELMETER_DATABASE_URL, else sqlite:///pixelmeter.db",
    help="The ledger, as an SQLAlchemy URL.",
)
@format_option
def command(database_url: str | None, format: str) -> None:
    """Check settings, libraries, the ledger, the spool, prices and gateway profiles; exit with 1 if one is a problem.

    Nothing is changed, and what dead processes left stays where it is.
    """
    findings = list(_examine(database_url))
    emit([asdict(finding) for finding in findings], ("check", "state", "found", "advice"), format)
    if any(finding.state == "problem" for finding in findings):
        sys.exit(1)


def _examine(database_url: str | None) -> Iterator[_Finding]:
    yield from _versions()
    try:
        settings = from_environment()
    except ConfigError as error:
        yield _Finding("settings", "problem", str(error), "correct the variable and run doctor again")
        return
    yield _Finding("settings", "ok", f"durability: {settings.durability}; sinks: {', '.join(settings.sinks) or 'none'}")
    if "otel" in settings.sinks and importlib.util.find_spec("opentelemetry.sdk") is None:
        advice = 'run: pip install "pixelmeter[otel]"'
        yield _Finding("opentelemetry", "warning", "there is no SDK, so PIXELMETER_SINKS=otel shows nothing", advice)
    url = database_url or settings.database_url
    try:
        address = read_address(url)
    except ConfigError as error:
        yield _Finding("database", "problem", str(error), _CORRECT_URL)
    else:
        folder = spool_folder(url, settings.spool_dir, settings.state_dir)
        spool = _spool(folder)
        database = list(_database(address, is_spooled=spool.state != "problem"))
        yield from database
        yield spool
        if spool.state != "problem" and os.path.isdir(folder):
            yield from _spool_files(folder, [finding.found for finding in database if finding.state == "problem"])
    yield from _prices(settings)
    yield from _profiles(settings)


def _versions() -> Iterator[_Finding]:
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    yield _Finding("versions", "ok", ", ".join(found))
    version = sqlite3.sqlite_version_info
    sound = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    yield _Finding(
        "sqlite",
        "ok",
        f"SQLite {sqlite3.sqlite_version}",
        ""
        if sound
        else "let nothing but pixelmeter write to a SQLite ledger: before 3.51.3, two writers can damage it",
    )


def _database(address: Address, is_spooled: bool) -> Iterator[_Finding]:
    if address.dialect == "sqlite" and not os.path.exists(address.path):
        yield _Finding("database", "ok", f"{address.safe()} is not there yet", "the first image call makes it")
        yield from _sqlite_access(address.path)
        return
    from pixelmeter.ledger import version
    from pixelmeter.ledger.engine import reading

    try:
        with reading(address) as connection:
            found = version.current(connection)
            if found is None:
                yield _absent(address, connection)
            else:
                version.check(found)
                yield _Finding("database", "ok", f"{address.safe()} has schema {found}")
            if address.dialect == "postgresql":
                yield _postgres_access(connection, is_there=found is not None)
    except (LedgerError, ConfigError) as error:
        meanwhile = (
            "attempts wait in the spool meanwhile"
            if is_spooled
            else "attempts are in memory only meanwhile, as the spool cannot be written either"
        )
        advice = "; ".join(part for part in (_advice(error), meanwhile) if part)
        yield _Finding("database", "problem", str(error), advice)
    if address.dialect == "sqlite" and not os.path.isdir(address.path):
        yield from _sqlite_access(address.path)


def _advice(error: Exception) -> str:
    """Return what to do about a database that cannot be used; nothing where the error's text says it."""
    if isinstance(error, SchemaOutdated | SchemaTooNew):
        return ""
    if isinstance(error, ConfigError):
        return "" if "pip install" in str(error) else _CORRECT_URL
    found = (advice for pattern, advice in _ADVICE if re.search(pattern, str(error)))
    return next(found, "look into the database, or name another one in the database URL")


def _absent(address: Address, connection: Connection) -> _Finding:
    from sqlalchemy import inspect

    from pixelmeter.ledger.schema import ATTEMPTS
    from pixelmeter.ledger.version import VERSION_TABLE

    if inspect(connection).has_table(ATTEMPTS.name):
        told = f"{address.safe()} has the table {ATTEMPTS.name} but not {VERSION_TABLE}, which says its version"
        return _Finding("database", "problem", told, "restore that table, or name another database in the database URL")
    advice = "the first image call makes it, or `pixelmeter db upgrade`"
    return _Finding("database", "ok", f"{address.safe()} has no ledger yet", advice)


def _sqlite_access(path: str) -> Iterator[_Finding]:
    beside = [f"{path}{ending}" for ending in ("", "-wal", "-shm", ".lock")]
    refused = [name for name in beside if os.path.exists(name) and not os.access(name, os.W_OK)]
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        refused.append(folder)
    if refused:
        advice = "give this user the right to write them; SQLite keeps -wal, -shm and .lock beside the ledger"
        yield _Finding("write access", "problem", f"not to {', '.join(refused)}", advice)
    else:
        yield _Finding("write access", "ok", f"to {path} and its folder")


def _postgres_access(connection: Connection, is_there: bool) -> _Finding:
    def may(question: str, *names: str) -> bool:
        return bool(connection.exec_driver_sql(f"SELECT {question}", names).scalar())

    if may("pg_is_in_recovery()"):
        return _Finding("write access", "problem", "the server is a standby", "name the primary in the database URL")
    if not is_there:
        return _may_create(connection)
    refused = [
        f"{right} on {table}"
        for table, rights in _NEEDED
        for right in rights.split(", ")
        if not may("has_table_privilege(%s, %s)", table, right)
    ]
    if not may("has_database_privilege(current_database(), 'TEMPORARY')"):
        refused.append("TEMPORARY on the database")
    if refused:
        return _Finding(
            "write access", "problem", f"missing: {'; '.join(refused)}", "grant it; docs/ledger.md has the SQL"
        )
    return _Finding("write access", "ok", "to all tables")


def _may_create(connection: Connection) -> _Finding:
    role, schema, may = connection.exec_driver_sql(
        "SELECT quote_ident(current_user), quote_ident(current_schema()),"
        " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    ).one()
    if may:
        return _Finding("write access", "ok", f"{role} may make the tables in schema {schema}")
    advice = (
        "let a role that may create tables run `pixelmeter db upgrade`, then grant what docs/ledger.md lists; "
        f"or run: GRANT USAGE, CREATE ON SCHEMA {schema or 'public'} TO {role}"
    )
    told = f"{role} may not make the tables in schema {schema}" if schema else f"{role} has no schema to make tables in"
    return _Finding("write access", "problem", told, advice)


def _spool(folder: str) -> _Finding:
    if not os.path.isdir(folder):
        above = folder
        while not os.path.exists(above):
            above = os.path.dirname(above)
        if os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK):
            return _Finding("spool", "ok", f"{folder} is not there yet", "the first image call makes it")
        advice = f"make {above} writable, or set PIXELMETER_SPOOL_DIR: until then a kill loses calls"
        return _Finding("spool", "problem", f"{folder} cannot be made", advice)
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        advice = "make it this user's, or set PIXELMETER_SPOOL_DIR: until then a kill loses calls"
        return _Finding("spool", "problem", f"{folder} cannot be written", advice)
    if mode & 0o077:
        return _Finding("spool", "warning", f"{folder} has mode {mode:04o}", f"run: chmod 700 {folder}")
    return _Finding("spool", "ok", f"{folder} has mode {mode:04o}")


def _spool_files(folder: str, problems: Sequence[str]) -> Iterator[_Finding]:
    from pixelmeter.drain.census import census

    found = census(SystemFiles(), folder)
    yield _Finding("spool of living processes", "ok", f"{found.living} files")
    if found.left:
        advice = "run `pixelmeter report`, which brings them into the ledger, as does the next process that calls"
        if problems:
            is_outdated = any("`pixelmeter db upgrade`" in problem for problem in problems)
            first = "run `pixelmeter db upgrade`" if is_outdated else "do what is said of the database"
            advice = f"{first} first, then {advice}"
        told = f"{found.left} files, at most {found.waiting} attempts wait in them"
        yield _Finding("spool of dead processes", "warning", told, advice)
    if found.unreadable:
        advice = "they are kept; a newer pixelmeter or another user may read them"
        yield _Finding("unreadable spool files", "problem", ", ".join(found.unreadable), advice)


def _prices(settings: Settings) -> Iterator[_Finding]:
    from pixelmeter.prices import bundled, bundled_names, check

    checked = [entry.checked_on for name in bundled_names() for entry in bundled().entries(name) if entry.checked_on]
    today = datetime.datetime.fromtimestamp(SystemClock().now() / 1e6, datetime.UTC).date()
    age = (today - max(checked)).days
    found = f"bundled prices, checked from {min(checked)} to {max(checked)}"
    if age > _OLD_PRICES_DAYS:
        advice = "run: pip install --upgrade pixelmeter; or give your own file with PIXELMETER_PRICES"
        yield _Finding("prices", "warning", f"{found}, {age} days ago", advice)
    else:
        yield _Finding("prices", "ok", found)
    if settings.prices is None:
        return
    try:
        problems = sorted(check(settings.prices))
    except PriceBookError as error:
        yield _Finding("own prices", "problem", str(error), "correct PIXELMETER_PRICES")
        return
    if problems:
        line, message = problems[0]
        advice = f"run `pixelmeter prices check {settings.prices}` for all {len(problems)}"
        yield _Finding("own prices", "problem", f"{settings.prices}:{line}: {message}", advice)
    else:
        yield _Finding("own prices", "ok", settings.prices)


def _profiles(settings: Settings) -> Iterator[_Finding]:
    from pixelmeter.gateways import load_profiles

    try:
        profiles = load_profiles(settings.gateways, settings.profiles)
    except PixelmeterError as error:
        yield _Finding("gateways", "problem", str(error), "correct PIXELMETER_GATEWAYS or PIXELMETER_PROFILES")
        return
    own = "".join(f"; {host} is {name}" for host, name in settings.gateways.items())
    yield _Finding("gateways", "ok", f"{', '.join(profiles.ids)}{own}")
