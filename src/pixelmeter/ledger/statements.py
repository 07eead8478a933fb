"""Statements of gateways in the ledger: kept as they came, page by page, and what reconciliations came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from pixelmeter.core.reconciling import reconciliation, statement
from pixelmeter.core.reconciling.ours import COLUMNS as OURS
from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.core.reconciling.statement import Period, Statement
from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.ledger import version
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.dialect import Sql
from pixelmeter.ledger.queries import spend, started_in, where
from pixelmeter.ledger.reader import LedgerReader

# SQLAlchemy is imported late: who only reads takes half as long without it.
if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "Reading",
    "attempts_in",
    "keep_page",
    "keep_reconciliation",
    "latest_reconciliations",
    "oldest_attempt",
    "reading_of",
    "said_otherwise",
    "settled_without_attempt",
    "statements_of",
]

_AT_ONCE = 400
_TIMES = ("starts_at", "ends_at", "read_at", "began_at", "run_at", "covered_from", "started_at")
_RESULT = tuple(name for name in (*reconciliation.COUNTS, *reconciliation.SUMS, "coverage") if name != "adjusted")
_ids = msgspec.json.Decoder(tuple[str, ...]).decode


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How far the report of a month has been read. Columns of the ledger have these names in this order."""

    gateway: str
    source: str
    month: str
    began_at: int
    """Unix time in microseconds, UTC."""
    read_at: int
    """When its last page was read."""
    pages: int
    problems: int
    """How many rows could not be read."""
    covered_from: int | None
    """Since when it lists what there was; None where that is all of the month."""
    cursor: str | None
    """Where the next page begins, in the source's own words."""
    is_complete: bool
    """Whether it was read to its end; then the cursor says nothing."""


def keep_page(url: str, statements: Sequence[Statement], reading: Reading) -> int:
    """Add the statements of a page that are not there yet, and say how far the report is read, in one transaction.

    A row that is read again with other content is added under its next number. Returns how many were added.
    LedgerError when the database refuses, and then neither has happened.
    """
    from sqlalchemy import delete, insert

    from pixelmeter.ledger.engine import changing
    from pixelmeter.ledger.schema import STATEMENT_READS, STATEMENTS

    table = STATEMENT_READS
    with changing(read_address(url)) as connection:
        version.check(version.current(connection))
        rows = list(_news(connection, statements))
        if rows:
            connection.execute(insert(STATEMENTS), rows)
        here = (table.c.gateway == reading.gateway, table.c.source == reading.source, table.c.month == reading.month)
        connection.execute(delete(table).where(*here))
        connection.execute(insert(table), [_values(msgspec.structs.asdict(reading))])
    return len(rows)


def reading_of(reader: LedgerReader, gateway: str, source: str, month: str) -> Reading | None:
    """Return how far the report of a month has been read; None where it has not been begun."""
    rows = reader.rows(
        f"SELECT {', '.join(Reading.__struct_fields__)} FROM pixelmeter_statement_reads"
        " WHERE gateway = ? AND source = ? AND month = ?",
        (gateway, source, month),
    )
    for row in rows:
        fields = _fields(Reading.__struct_fields__, row, reader)
        fields["is_complete"] = bool(fields["is_complete"])
        return Reading(**fields)
    return None


def statements_of(reader: LedgerReader, gateway: str, source: str, period: Period) -> list[Statement]:
    """Return the statements of a source that begin in a period, each as it was read last, oldest first."""
    since, until = (reader.dialect.moment(moment_of(at)) for at in period)
    rows = reader.rows(
        f"SELECT {', '.join(f's.{name}' for name in statement.FIELDS)} FROM pixelmeter_statements AS s"
        " WHERE s.gateway = ? AND s.source = ? AND s.starts_at >= ? AND s.starts_at < ? AND NOT EXISTS ("
        "SELECT 1 FROM pixelmeter_statements AS later WHERE later.gateway = s.gateway AND later.source = s.source"
        " AND later.external_id = s.external_id AND later.number > s.number) ORDER BY s.starts_at, s.external_id",
        (gateway, source, since, until),
    )
    return [_statement(_fields(statement.FIELDS, row, reader)) for row in rows]


def said_otherwise(reader: LedgerReader, gateway: str, source: str, period: Period) -> int:
    """Return how many rows of a period said something else when they were read before."""
    since, until = (reader.dialect.moment(moment_of(at)) for at in period)
    [(found,)] = reader.rows(
        "SELECT count(DISTINCT external_id) FROM pixelmeter_statements"
        " WHERE gateway = ? AND source = ? AND starts_at >= ? AND starts_at < ? AND number > 1",
        (gateway, source, since, until),
    )
    return int(found)


def attempts_in(reader: LedgerReader, gateway: str, period: Period) -> list[Ours]:
    """Return what the attempts of a gateway in a period are as of now, adjustments included."""
    condition = where(
        [*started_in(moment_of(period.start), moment_of(period.end), reader.dialect), Sql("gateway = ?", (gateway,))]
    )
    rows = reader.rows(f"SELECT {', '.join(OURS)} FROM {spend(reader)} {condition.text}", condition.parameters)
    found: list[Ours] = []
    for row in rows:
        fields = _fields(OURS, row, reader)
        fields["id"], fields["byok"] = str(fields["id"]), bool(fields["byok"])
        found.append(Ours(**fields))
    return found


def oldest_attempt(reader: LedgerReader) -> int | None:
    """Return when the oldest attempt of the ledger began, in Unix microseconds; older ones may have been deleted."""
    [(found,)] = reader.rows("SELECT min(started_at) FROM pixelmeter_attempts")
    return None if found is None else reader.dialect.microseconds(found)


def settled_without_attempt(reader: LedgerReader) -> dict[str, str]:
    """Return the attempts that statements have adjusted and that are gone, by the source of the adjustment."""
    rows = reader.rows(
        "SELECT j.source, j.attempt_id FROM pixelmeter_adjustments AS j WHERE j.kind = 'reconciled'"
        " AND NOT EXISTS (SELECT 1 FROM pixelmeter_attempts AS a WHERE a.id = j.attempt_id)"
    )
    return {source: str(identity) for source, identity in rows}


def keep_reconciliation(url: str, result: Reconciliation) -> Reconciliation | None:
    """Add what a reconciliation came to, with the next number; None where the one before came to the same."""
    from sqlalchemy import insert, select

    from pixelmeter.ledger.engine import changing
    from pixelmeter.ledger.schema import RECONCILIATIONS

    table = RECONCILIATIONS
    here = [table.c[name] == getattr(result, name) for name in ("gateway", "source", "month")]
    with changing(read_address(url)) as connection:
        version.check(version.current(connection))
        found = connection.execute(select(table).where(*here).order_by(table.c.number.desc()).limit(1)).mappings()
        before = found.first()
        if before is not None and all(before[name] == getattr(result, name) for name in _RESULT):
            return None
        kept = msgspec.structs.replace(result, number=1 if before is None else int(before["number"]) + 1)
        connection.execute(insert(table), [_values(msgspec.structs.asdict(kept))])
    return kept


def latest_reconciliations(reader: LedgerReader) -> list[Reconciliation]:
    """Return the latest reconciliation of each gateway, source and month, the newest month first."""
    rows = reader.rows(
        f"SELECT {', '.join(f'r.{name}' for name in reconciliation.FIELDS)} FROM pixelmeter_reconciliations AS r"
        " WHERE NOT EXISTS (SELECT 1 FROM pixelmeter_reconciliations AS later WHERE later.gateway = r.gateway"
        " AND later.source = r.source AND later.month = r.month AND later.number > r.number)"
        " ORDER BY r.month DESC, r.gateway, r.source"
    )
    return [Reconciliation(**_fields(reconciliation.FIELDS, row, reader)) for row in rows]


def _news(connection: Connection, statements: Iterable[Statement]) -> Iterable[dict[str, Any]]:
    """Yield the rows of statements that are not what was read of them last."""
    wanted = list(map(_storable, statements))
    known = _newest(connection, wanted)
    for one in wanted:
        key = one.gateway, one.source, one.external_id
        number, content = known.get(key, (0, None))
        if content == _content(one):
            continue
        known[key] = number + 1, _content(one)
        values = _values(msgspec.structs.asdict(one))
        yield {**values, "ids": msgspec.json.encode(one.ids).decode(), "number": number + 1}


def _newest(
    connection: Connection, statements: Sequence[Statement]
) -> dict[tuple[str, str, str], tuple[int, tuple[object, ...] | None]]:
    """Return the number and the content of what was read last of these rows."""
    from sqlalchemy import select

    from pixelmeter.ledger.schema import STATEMENTS

    table = STATEMENTS
    found: dict[tuple[str, str, str], tuple[int, tuple[object, ...] | None]] = {}
    for gateway, source in {(one.gateway, one.source) for one in statements}:
        ids = sorted({one.external_id for one in statements if (one.gateway, one.source) == (gateway, source)})
        for start in range(0, len(ids), _AT_ONCE):
            here = (
                table.c.gateway == gateway,
                table.c.source == source,
                table.c.external_id.in_(ids[start : start + _AT_ONCE]),
            )
            query = select(table).where(*here).order_by(table.c.number)
            for row in connection.execute(query).mappings():
                fields = {name: _plain(name, row[name]) for name in statement.FIELDS}
                key = gateway, source, str(row["external_id"])
                found[key] = int(row["number"]), _content(_statement(fields))
    return found


def _content(one: Statement) -> tuple[object, ...]:
    return msgspec.structs.astuple(msgspec.structs.replace(one, read_at=0))


def _storable(one: Statement) -> Statement:
    """Return a statement without the one character that PostgreSQL cannot hold."""
    texts = {
        name: value.replace("\x00", "\ufffd")
        for name in statement.FIELDS
        if isinstance(value := getattr(one, name), str) and "\x00" in value
    }
    return msgspec.structs.replace(one, **texts) if texts else one


def _statement(fields: dict[str, Any]) -> Statement:
    known: dict[str, Any] = fields | {"ids": _ids(fields["ids"])}
    return Statement(**known)


def _values(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields as columns take them: times as such."""
    return {name: moment_of(value) if name in _TIMES and value is not None else value for name, value in fields.items()}


def _fields(names: Sequence[str], row: Sequence[Any], reader: LedgerReader) -> dict[str, Any]:
    """Return the columns of a row as fields: times in microseconds."""
    return {
        name: reader.dialect.microseconds(value) if name in _TIMES and value is not None else value
        for name, value in zip(names, row, strict=True)
    }


def _plain(name: str, value: Any) -> Any:
    if name not in _TIMES or value is None:
        return value
    moment: datetime = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return microseconds_of(moment)
