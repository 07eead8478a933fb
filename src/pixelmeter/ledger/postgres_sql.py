"""What the writer of a PostgreSQL ledger says to the server: its statements, and rows as they take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, String, Table, Text

from pixelmeter.core.attempts import adjustment
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import Job
from pixelmeter.core.attempts.record import FIELDS, Attempt, row
from pixelmeter.ledger import version
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.adjusting import JOB_COLUMNS, job_row
from pixelmeter.ledger.budgets import REVISION
from pixelmeter.ledger.dialect import Sql as Piece
from pixelmeter.ledger.postgres_sums import looking_for_wide, merging, setting_apart
from pixelmeter.ledger.reader import with_schema
from pixelmeter.ledger.schema import ADJUSTMENT_TOTALS, ADJUSTMENTS, ATTEMPTS, BUDGETS, DELTAS, JOBS, SPOOLS, WIDE_TAGS
from pixelmeter.ledger.sums import ADJUSTMENT_TOTALS_COLUMNS, ADJUSTMENT_TOTALS_KEY

__all__ = ["SENT_AS", "Sql", "adjustment_rows", "copied", "job_rows", "json_rows", "storable"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_TO_2000 = 946_684_800_000_000

# What COPY sends for a column: bytes that the server's own type reads, from the cheapest dumper that makes them.
_SENT: dict[type, str] = {
    String: "bytea",
    Text: "text",
    Integer: "int4",
    BigInteger: "int8",
    Boolean: "bool",
    DateTime: "int8",
}
SENT_AS = [_SENT[type(column.type)] for column in ATTEMPTS.columns]
"""The type of each column of an attempt."""
_ID, _CALL_ID, _STARTED_AT, _TAGS = map(FIELDS.index, ("id", "call_id", "started_at", "tags"))
_COLUMNS = ", ".join(FIELDS)


class Sql:
    """The statements, for the schema that an address names."""

    def __init__(self, address: Address, patience: float) -> None:
        self._address = address
        attempts, spools = address.qualified(ATTEMPTS.name), address.qualified(SPOOLS.name)
        milliseconds = round(patience * 1000)
        # All of it lasts as long as the transaction: a SET would stay with a session of a pooler, for others to find.
        # With a stricter isolation than this, writers would abort each other. The lock is the one that COPY takes; a
        # migration waits for it or is waited for, so that the version is that of the tables that are then written.
        # Of the table alone: dozens of partitions would have to be locked one by one.
        begin = f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = {milliseconds};
SET LOCAL idle_in_transaction_session_timeout = {milliseconds};
LOCK TABLE ONLY {attempts} IN ROW EXCLUSIVE MODE"""
        schema, budgets = address.qualified(version.VERSION_TABLE), address.qualified(BUDGETS.name)
        known = f"{begin}; SELECT (SELECT version_num FROM {schema}), pg_backend_pid()"
        # Whoever changes budgets, and counts what is there so far, keeps all others out. After the version is known to
        # be ours: the table may be missing.
        revision = with_schema(REVISION, address)
        self.begin = f"{known}; LOCK TABLE {budgets} IN ROW EXCLUSIVE MODE; {revision}".encode()
        """Tells the version and which process of the server it is that answers, then the revision of what is known."""
        self.begin_alone = f"{known}; LOCK TABLE {budgets} IN SHARE ROW EXCLUSIVE MODE; {revision}".encode()
        """The same, and keeps all others out."""
        self.begin_checked = f"""
{begin};
SELECT 1 / count(*) FROM {schema} WHERE version_num = %s;
LOCK TABLE {budgets} IN ROW EXCLUSIVE MODE;
SELECT 1 / count(*) FROM {schema} WHERE ({revision}) = %s
""".encode()
        """Fails with DivisionByZero, and so does what follows in the message, where one of both is another one."""
        self.copy = f"COPY {attempts} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
        insert = f"""
INSERT INTO {attempts} ({_COLUMNS})
SELECT {_COLUMNS} FROM json_populate_recordset(NULL::{attempts}, %s::json) ORDER BY id
""".encode()
        self.insert_new = insert + b"ON CONFLICT (id) DO NOTHING RETURNING id"
        self.positions = f"SELECT name, position FROM {spools} WHERE name = ANY(%s)".encode()
        self.forget = f"DELETE FROM {spools} WHERE name = ANY(%s::text[])".encode()
        self.plain = (
            insert,
            f"""
INSERT INTO {spools} AS present (name, position)
SELECT * FROM unnest(%s::text[], %s::bigint[]) ORDER BY 1
ON CONFLICT (name) DO UPDATE SET position = greatest(present.position, excluded.position)
""".encode(),
            f"""
INSERT INTO {address.qualified(DELTAS.name)} (hourly, tag_daily, totals, made_at, is_apart)
VALUES (%s::json, %s::json, %s::json, now(), false) RETURNING id
""".encode(),
        )
        """Insert attempts, move positions, keep what is added to the sums."""
        self.mark_wide = f"""
INSERT INTO {address.qualified(WIDE_TAGS.name)} (tag, found_at)
SELECT tag, now() FROM unnest(%s::text[]) AS found(tag) ORDER BY tag ON CONFLICT (tag) DO NOTHING
""".encode()
        self.merge = b";".join(
            (f"{begin}; SELECT 1 / count(*) FROM {schema} WHERE version_num = %s".encode(), merging(address), b"COMMIT")
        )
        """Merges deltas in a transaction of its own, whose last result tells of it."""
        self.look_for_wide, self.set_apart = looking_for_wide(address), setting_apart(address)
        # Whoever adjusts reads what is there and writes what comes of it: one at a time, for as long as a transaction.
        # By the table and not its name: some may find it by the search path, and others name its schema.
        adjustments = address.qualified(ADJUSTMENTS.name)
        table = f"hashtext('{adjustments}'::regclass::oid::text)"
        self.keep_others_out = f"SELECT pg_advisory_xact_lock(hashtext('pixelmeter'), {table})".encode()
        names = ", ".join((*adjustment.FIELDS, "is_latest"))
        self.outdate = f"""
UPDATE {adjustments} SET is_latest = false WHERE attempt_id = ANY(%s::uuid[]) AND is_latest
""".encode()
        self.adjust = f"""
INSERT INTO {adjustments} ({names})
SELECT {names} FROM json_populate_recordset(NULL::{adjustments}, %s::json)
""".encode()
        jobs, names = address.qualified(JOBS.name), ", ".join(JOB_COLUMNS)
        self.keep_jobs = f"""
INSERT INTO {jobs} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{jobs}, %s::json)
ON CONFLICT (job_id, gateway) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in JOB_COLUMNS if name not in ("job_id", "gateway"))}
""".encode()
        self.add_to_adjustment_totals = _adding(
            address, ADJUSTMENT_TOTALS, ADJUSTMENT_TOTALS_KEY, ADJUSTMENT_TOTALS_COLUMNS
        )
        self.prepare = b";".join(
            b"PREPARE %s AS %s" % (name, _numbered(statement))
            for name, statement in zip(_PREPARED, self.plain, strict=True)
        )
        self.prepared = tuple(
            b"EXECUTE %s(%s)" % (name, b", ".join([b"%s"] * statement.count(b"%s")))
            for name, statement in zip(_PREPARED, self.plain, strict=True)
        )
        """The same statements, planned before; they take the server a quarter of the time for a single row."""

    def joined(self, statements: Sequence[Piece]) -> tuple[bytes, list[object]]:
        """Return one text of statements whose tables have no schema and whose question marks stand for parameters."""
        text = ";".join(with_schema(statement.text, self._address).replace("?", "%s") for statement in statements)
        return text.encode(), [value for statement in statements for value in statement.parameters]


_PREPARED = (b"pixelmeter_insert", b"pixelmeter_move", b"pixelmeter_append")


def _numbered(statement: bytes) -> bytes:
    """Return a statement with its parameters as PREPARE names them."""
    first, *rest = statement.split(b"%s")
    return first + b"".join(b"$%d%s" % (number, part) for number, part in enumerate(rest, 1))


def _adding(address: Address, table: Table, key: Sequence[str], columns: Sequence[str]) -> bytes:
    names, name = ", ".join(columns), address.qualified(table.name)
    return f"""
INSERT INTO {name} AS present ({names})
SELECT {names} FROM json_populate_recordset(NULL::{name}, %s::json) ORDER BY {", ".join(key)}
ON CONFLICT ({", ".join(key)}) DO UPDATE
SET {", ".join(f"{name} = present.{name} + excluded.{name}" for name in columns if name not in key)}
""".encode()


def storable(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return attempts with tags that jsonb can hold, which has no U+0000: one such tag must not stop the ledger."""
    return [
        msgspec.structs.replace(one, tags=one.tags.replace("\\u0000", "\\ufffd")) if "\\u0000" in one.tags else one
        for one in attempts
    ]


def copied(attempt: Attempt) -> Sequence[Any]:
    """Return the values of an attempt as COPY takes them, by SENT_AS."""
    values = list(row(attempt))
    values[_ID] = bytes.fromhex(attempt.id.replace("-", ""))
    values[_CALL_ID] = bytes.fromhex(attempt.call_id.replace("-", ""))
    values[_STARTED_AT] = attempt.started_at - _MICROSECONDS_TO_2000
    # jsonb on the wire is a version, 1, and text.
    values[_TAGS] = f"\x01{attempt.tags}"
    return values


def json_rows(attempts: Iterable[Attempt]) -> str:
    """Return attempts as a JSON array of objects, for the server to unpack."""
    objects: list[dict[str, Any]] = []
    for attempt in attempts:
        values = list(row(attempt))
        values[_STARTED_AT] = _time(attempt.started_at)
        values[_TAGS] = msgspec.Raw(attempt.tags.encode())
        objects.append(dict(zip(FIELDS, values, strict=True)))
    return msgspec.json.encode(objects).decode()


def job_rows(jobs: Iterable[Job]) -> str:
    """Return rows of jobs as a JSON array of objects."""
    objects = [dict(zip(JOB_COLUMNS, job_row(job), strict=True)) for job in jobs]
    for each in objects:
        for name in ("submitted_at", "ended_at"):
            if each[name] is not None:
                each[name] = _time(each[name])
    return msgspec.json.encode(objects).decode()


def adjustment_rows(changes: Iterable[Change]) -> str:
    """Return the adjustments of changes as a JSON array of objects: each is the latest of its attempt."""
    objects: list[dict[str, Any]] = []
    for change in changes:
        values = dict(zip(adjustment.FIELDS, adjustment.row(change.adjustment), strict=True))
        objects.append({**values, "made_at": _time(change.adjustment.made_at), "is_latest": True})
    return msgspec.json.encode(objects).decode()


def _time(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
