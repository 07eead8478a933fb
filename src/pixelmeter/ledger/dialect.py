"""What each database does in its own way where a ledger is read: one object a database, and SQL that both take."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pixelmeter.ledger.connecting import connect_arguments, read_only_uri
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.files import PATIENCE

if TYPE_CHECKING:
    from pixelmeter.ledger.address import Address

__all__ = ["DIALECTS", "RETRIED", "ROUTED", "Dialect", "Sql", "wide"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1
_ROWS_AT_ONCE = 2000
# More images than that are of no call, and their pixels would not fit into 64 bits.
_HAS_PIXELS = "cost IS NOT NULL AND images BETWEEN 0 AND 1000000"

ROUTED = "baseline_model IS NOT NULL OR baseline_cost IS NOT NULL OR route_fee IS NOT NULL OR savings IS NOT NULL"
"""The attempts whose gateway said something of its choice of a model. An index has them alone; both databases use it
for a condition with this very text."""

RETRIED = "attempt > 0"
"""The attempts that repeated an earlier one, which have an index of their own too."""


class Sql(NamedTuple):
    """A piece of a statement, with the values of its question marks."""

    text: str
    parameters: tuple[object, ...] = ()


class Dialect(Protocol):
    """How one database is connected to, asked and understood. Whoever adds a database for reports adds one of these."""

    schemes: tuple[str, ...]
    """What the URLs of such databases begin with, in front of `://`."""
    pixels: str
    """The delivered pixels of an attempt whose cost, images and size are known; else NULL."""
    has_table: str
    """A statement that finds a row where a table of the name in its one parameter is there."""
    partitions: str | None
    """A statement that finds names and bounds of the partitions of the table in its one parameter."""
    tag_members: str
    """The function that unpacks the column `tags` into rows of `key` and `value`."""
    by_index: str | None
    """A statement that has the next ones read by an index where its three parameters are "off", and as they like again
    where they are NULL; None where that needs no saying. Rollups are read in less than half the time so."""
    damage: str | None
    """A statement that finds what is wrong with pages and indexes, or "ok"; None where there is no such check."""
    state: str | None
    """A statement that finds text which is another one when a ledger has more; None where files tell it."""
    reach: str
    """A statement that finds the first and the last day of the day rollup, without reading all of it."""

    def connected(self, address: Address) -> AbstractContextManager[Any]:
        """Give a connection that cannot change the database; LedgerError where the database refuses."""
        ...

    def rows(self, connection: Any, statement: str, parameters: Sequence[object]) -> list[Sequence[Any]]:
        """Return what a statement finds, all of one moment until a rollback; `?` stands for a parameter."""
        ...

    def batches(self, connection: Any, statement: str, parameters: Sequence[object]) -> Generator[list[Sequence[Any]]]:
        """Yield what a statement finds like `rows`, some thousand rows at a time: what is not asked for stays there."""
        ...

    def moment(self, when: datetime) -> object:
        """Return a time as the column `started_at` is compared with."""
        ...

    def midnight(self, day: date) -> object:
        """Return a day as the column `day` is compared with."""
        ...

    def tag_value(self, key: str) -> Sql:
        """Return the value of a tag, NULL without it; the key may have any character."""
        ...

    def other_tags(self, key: str) -> Sql:
        """Return the column `tags` without a tag."""
        ...

    def like(self, column: str, pattern: str) -> Sql:
        """Return whether a column matches a shell pattern: `*` is any text, `?` any character; case does not matter."""
        ...

    def glob(self, value: Sql, pattern: str) -> Sql:
        """Return whether a value matches a pattern in which `*` is any text; case does matter."""
        ...

    def rank(self, column: str, bounds: Sequence[object]) -> str:
        """Return SQL for how many of the bounds, which ascend, a column is not below.

        They are whole numbers, or what `moment` or `midnight` returns.
        """
        ...

    def wide_sum(self, column: str) -> tuple[str, ...]:
        """Return the columns, for `wide` to join, of a sum of whole numbers that may be past 64 bits."""
        ...

    def is_overflow(self, error: Exception) -> bool:
        """Return whether a database broke off because of a sum past 64 bits that was no `wide_sum`."""
        ...

    def joined(self, number: str) -> str:
        """Return the aggregate that joins whole numbers with commas."""
        ...

    def microseconds(self, found: Any) -> int:
        """Return the Unix time, in microseconds, of a value of the column `started_at`."""
        ...

    def date(self, found: Any) -> date:
        """Return the day that a value of the column `day` is."""
        ...

    def time(self, found: Any) -> datetime:
        """Return the beginning of the day or hour, in UTC, that a value of the column `day` or `hour` is."""
        ...

    def json_text(self, found: Any) -> str:
        """Return the JSON text, with sorted keys, of a value of the column `tags`."""
        ...


class _Sqlite:
    """Times, days and JSON are text."""

    schemes: tuple[str, ...] = ("sqlite", "sqlite+pysqlite")
    pixels = f"""CASE WHEN {_HAS_PIXELS} AND size GLOB '[1-9]*x[1-9]*' AND size NOT GLOB '*[^0-9x]*'
 AND size NOT GLOB '*x*x*' AND instr(size, 'x') <= 6 AND length(size) - instr(size, 'x') <= 5
 THEN images * CAST(substr(size, 1, instr(size, 'x') - 1) AS INTEGER)
 * CAST(substr(size, instr(size, 'x') + 1) AS INTEGER) END"""
    has_table = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?"
    partitions: str | None = None
    tag_members = "json_each"
    by_index: str | None = None
    damage: str | None = "PRAGMA integrity_check(3)"
    state: str | None = None
    reach = "SELECT (SELECT min(day) FROM pixelmeter_daily), (SELECT max(day) FROM pixelmeter_daily)"

    @contextlib.contextmanager
    def connected(self, address: Address) -> Generator[sqlite3.Connection]:
        try:
            uri = read_only_uri(address.path)
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as opened:
                yield opened
        except sqlite3.Error as error:
            raise without_secrets(error, address) from None

    def rows(self, connection: sqlite3.Connection, statement: str, parameters: Sequence[Any]) -> list[Sequence[Any]]:
        if not connection.in_transaction:
            connection.execute("BEGIN")
        found: list[Sequence[Any]] = connection.execute(statement, parameters).fetchall()
        return found

    def batches(
        self, connection: sqlite3.Connection, statement: str, parameters: Sequence[Any]
    ) -> Generator[list[Sequence[Any]]]:
        if not connection.in_transaction:
            connection.execute("BEGIN")
        cursor = connection.execute(statement, parameters)
        while found := cursor.fetchmany(_ROWS_AT_ONCE):
            yield found

    def moment(self, when: datetime) -> str:
        return when.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

    def midnight(self, day: date) -> str:
        return day.isoformat()

    def tag_value(self, key: str) -> Sql:
        return Sql("(SELECT CAST(value AS TEXT) FROM json_each(tags) WHERE key = ?)", (key,))

    def other_tags(self, key: str) -> Sql:
        return Sql("(SELECT json_group_object(key, value) FROM json_each(tags) WHERE key <> ?)", (key,))

    def like(self, column: str, pattern: str) -> Sql:
        # LIKE is blind to the case of a to z by itself.
        return _matches(column, "LIKE", pattern)

    def glob(self, value: Sql, pattern: str) -> Sql:
        escaped = pattern.replace("[", "[[]").replace("?", "[?]")
        return Sql(f"{value.text} GLOB ?", (*value.parameters, escaped))

    def rank(self, column: str, bounds: Sequence[object]) -> str:
        return _search(column, [f"'{bound}'" if isinstance(bound, str) else str(bound) for bound in bounds])

    def wide_sum(self, column: str) -> tuple[str, ...]:
        # Its own sum() fails past 64 bits ($9.2 billion), so both halves are summed.
        known = f"coalesce({column}, 0)"
        return f"coalesce(sum({known} >> {_LOW_BITS}), 0)", f"coalesce(sum({known} & {_LOW_MASK}), 0)"

    def is_overflow(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.Error) and "integer overflow" in str(error)

    def joined(self, number: str) -> str:
        return f"group_concat({number}, ',')"

    def microseconds(self, found: str) -> int:
        return (datetime.fromisoformat(found).replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

    def date(self, found: str) -> date:
        return date.fromisoformat(found)

    def time(self, found: str) -> datetime:
        return datetime.fromisoformat(found).replace(tzinfo=UTC)

    def json_text(self, found: str) -> str:
        return found


class _Postgresql:
    """Times, days and JSON have types, and the driver returns them as objects of Python."""

    schemes: tuple[str, ...] = ("postgres", "postgresql", "postgresql+psycopg")
    pixels = f"""CASE WHEN {_HAS_PIXELS} AND size ~ '^[1-9][0-9]{{0,4}}x[1-9][0-9]{{0,4}}$'
 THEN images * split_part(size, 'x', 1)::bigint * split_part(size, 'x', 2)::bigint END"""
    has_table = "SELECT 1 WHERE to_regclass(?) IS NOT NULL"
    partitions: str | None = (
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits AS i"
        " JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(?)"
    )
    tag_members = "jsonb_each_text"
    by_index: str | None = "SELECT " + ", ".join(
        f"set_config('{name}', ?, true)" for name in ("enable_seqscan", "enable_bitmapscan", "enable_hashagg")
    )
    damage: str | None = None
    state: str | None = """
SELECT concat_ws(' ', (SELECT sum(attempts) FROM pixelmeter_totals),
  (SELECT sum(adjustments) FROM pixelmeter_adjustment_totals),
  (SELECT concat_ws(' ', count(*), sum(attempts), sum(leased), sum(credited)) FROM pixelmeter_budget_sums),
  (SELECT concat_ws(' ', count(*), max(changed_at)) FROM pixelmeter_budgets),
  (SELECT count(*) FROM pixelmeter_reconciliations),
  (SELECT concat_ws(' ', max(horizon), sum(attempts)) FROM pixelmeter_prunes))"""
    reach = """
SELECT min(day), max(day) FROM (
  SELECT min(day) AS day FROM pixelmeter_daily_merged UNION ALL SELECT max(day) FROM pixelmeter_daily_merged
  UNION ALL SELECT (r."1" AT TIME ZONE 'UTC')::date
  FROM pixelmeter_deltas AS d, json_to_recordset(d.hourly) AS r("1" timestamptz)
) AS days"""

    @contextlib.contextmanager
    def connected(self, address: Address) -> Generator[Any]:
        arguments = connect_arguments(address)
        import psycopg

        try:
            with contextlib.closing(psycopg.connect(**arguments)) as connection:
                connection.read_only = True
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                # Poolers that change the server's session between transactions lose prepared statements.
                connection.prepare_threshold = None
                yield connection
        except (psycopg.Error, UnicodeError) as error:
            raise without_secrets(error, address) from None

    def rows(self, connection: Any, statement: str, parameters: Sequence[object]) -> list[Sequence[Any]]:
        _begin(connection)
        found: list[Sequence[Any]] = connection.execute(statement.replace("?", "%s"), parameters).fetchall()
        return found

    def batches(self, connection: Any, statement: str, parameters: Sequence[object]) -> Generator[list[Sequence[Any]]]:
        _begin(connection)
        # One with a name is the server's, which keeps what has not been fetched yet.
        with connection.cursor(name="pixelmeter_batches") as cursor:
            cursor.execute(statement.replace("?", "%s"), parameters)
            while found := cursor.fetchmany(_ROWS_AT_ONCE):
                yield found

    def moment(self, when: datetime) -> datetime:
        return when.astimezone(UTC)

    def midnight(self, day: date) -> date:
        return day

    def tag_value(self, key: str) -> Sql:
        return Sql("(tags ->> ?::text)", (key,))

    def other_tags(self, key: str) -> Sql:
        return Sql("tags - ?::text", (key,))

    def like(self, column: str, pattern: str) -> Sql:
        return _matches(column, "ILIKE", pattern)

    def glob(self, value: Sql, pattern: str) -> Sql:
        return Sql(f"{value.text} LIKE ? ESCAPE '!'", (*value.parameters, _escaped(pattern).replace("*", "%")))

    def rank(self, column: str, bounds: Sequence[object]) -> str:
        if not bounds:
            return "0"
        kind = "timestamptz" if isinstance(bounds[0], datetime) else "date" if isinstance(bounds[0], date) else "bigint"
        return f"width_bucket({column}, '{{{', '.join(map(str, bounds))}}}'::{kind}[])"

    def wide_sum(self, column: str) -> tuple[str, ...]:
        return (f"coalesce(sum({column}), 0)",)

    def is_overflow(self, error: Exception) -> bool:
        return False

    def joined(self, number: str) -> str:
        return f"string_agg(({number})::text, ',')"

    def microseconds(self, found: datetime) -> int:
        return (found - _EPOCH) // _MICROSECOND

    def date(self, found: date) -> date:
        return found

    def time(self, found: Any) -> datetime:
        return found if isinstance(found, datetime) else datetime(found.year, found.month, found.day, tzinfo=UTC)

    def json_text(self, found: object) -> str:
        return json.dumps(found, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


DIALECTS: Mapping[str, Dialect] = {"sqlite": _Sqlite(), "postgresql": _Postgresql()}
"""Every database that a ledger can be read from, by `Address.dialect`."""


def _begin(connection: Any) -> None:
    """Have a transaction of PostgreSQL, where it is about to begin, compile nothing.

    The order that `by_index` asks for looks so expensive to its planner that it would compile each report for a second.
    """
    from psycopg.pq import TransactionStatus

    if connection.info.transaction_status is TransactionStatus.IDLE:
        connection.execute("SELECT set_config('jit', 'off', true)")


def _matches(column: str, operator: str, pattern: str) -> Sql:
    return Sql(f"{column} {operator} ? ESCAPE '!'", (_escaped(pattern).replace("*", "%").replace("?", "_"),))


def _escaped(pattern: str) -> str:
    return pattern.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def wide(high: int, low: int | None = None) -> int:
    """Return the sum that the columns of `wide_sum` stand for; PostgreSQL's is a Decimal."""
    return int(high) if low is None else (int(high) << _LOW_BITS) + int(low)


def _search(column: str, bounds: Sequence[str]) -> str:
    if not bounds:
        return "0"
    return _searched(column, bounds, 0, len(bounds))


def _searched(column: str, bounds: Sequence[str], low: int, high: int) -> str:
    if low == high:
        return str(low)
    middle = (low + high) // 2
    lower, upper = _searched(column, bounds, low, middle), _searched(column, bounds, middle + 1, high)
    return f"CASE WHEN {column} < {bounds[middle]} THEN {lower} ELSE {upper} END"
