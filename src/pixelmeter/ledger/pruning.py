"""Old attempts deleted: the sums that they are in stay, and the ledger takes nothing from before any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from pixelmeter._version import __version__
from pixelmeter.core.reconciling.statement import month
from pixelmeter.core.reporting.periods import microseconds_of, moment_of, utc_text
from pixelmeter.errors import LedgerError
from pixelmeter.ledger import version
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.adjusting import open_jobs
from pixelmeter.ledger.budget_reading import budgets_of
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.partitions import make_ahead
from pixelmeter.ledger.queries import started_in, where
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.schema import ATTEMPTS, PRUNES
from pixelmeter.ledger.statements import latest_reconciliations

__all__ = ["SHORTEST", "Plan", "Pruned", "horizon_of", "plan", "prune"]

SHORTEST = timedelta(days=7)
"""Attempts wait in spools while a ledger is away: what is kept must be longer than that lasts."""

_HOUR = 3_600_000_000


class Plan(NamedTuple):
    """What a prune would do."""

    horizon: datetime
    attempts: int
    """How many began before it, and are there still."""
    obstacles: Sequence[str]
    """Why it must not be done, and what to do about each."""


class Pruned(NamedTuple):
    """What a prune has done."""

    attempts: int
    months: Sequence[str]
    """Those that were made ahead, such as "2026-12"."""


def horizon_of(keep: timedelta, now: int) -> datetime:
    """Return the latest UTC midnight before which nothing is to be kept, at a Unix time in microseconds."""
    return datetime.combine((moment_of(now) - keep).date(), time(), moment_of(now).tzinfo)


def plan(reader: LedgerReader, wanted: datetime, now: int) -> Plan:
    """Return what a prune to a horizon would do at a Unix time in microseconds.

    What an earlier prune has recorded holds where it is later: what that has left is deleted too.
    """
    present = horizon(reader)
    until = wanted if present is None else max(present, wanted)
    condition = where(started_in(None, until, reader.dialect))
    [(attempts,)] = reader.rows(f"SELECT count(*) FROM pixelmeter_attempts {condition.text}", condition.parameters)
    return Plan(until, int(attempts), list(_obstacles(reader, present, until, now)))


def prune(
    url: str | Address,
    until: datetime,
    now: int,
    *,
    by: str | None = None,
    told: Callable[[int], None] = lambda attempts: None,
) -> Pruned:
    """Delete the attempts that began before a horizon, with their adjustments and jobs, in many short transactions.

    The horizon is recorded first: from then on no attempt from before is taken, so that none can be counted twice.
    Where this is broken off, at whatever moment, the next prune goes on. `told` takes how many were deleted so far.
    LedgerError where it must not be done, or the database refuses.
    """
    address = read_address(url)
    with changing(address) as connection:
        until = _record(connection, address, until, now, by)
    attempts = 0
    for deleted in _deleting(address, until):
        attempts += deleted
        told(attempts)
    with changing(address) as connection:
        is_open = (PRUNES.c.horizon <= until, PRUNES.c.ended_at.is_(None))
        connection.execute(update(PRUNES).where(*is_open).values(ended_at=moment_of(now)))
        months: Sequence[str] = ()
        if address.dialect == "postgresql":
            months = make_ahead(connection, address.schema, moment_of(now))
    return Pruned(attempts, months)


def _record(connection: Connection, address: Address, until: datetime, now: int, by: str | None) -> datetime:
    """Record a horizon; return the one that holds."""
    version.check(version.current(connection))
    if address.dialect == "postgresql":
        # As a migration does: writers who have not read the horizon yet are waited for, and the next ones read it.
        attempts = address.qualified(ATTEMPTS.name)
        connection.exec_driver_sql(f"LOCK TABLE ONLY {attempts} IN SHARE ROW EXCLUSIVE MODE")
    found = plan(LedgerReader(address, connection.connection.driver_connection), until, now)
    if found.obstacles:
        raise LedgerError("; ".join(found.obstacles))
    if connection.scalar(select(PRUNES.c.horizon).where(PRUNES.c.horizon == found.horizon)) is None:
        values = {"horizon": found.horizon, "began_at": moment_of(now), "attempts": 0}
        connection.execute(insert(PRUNES).values(**values, made_by=by, version=__version__))
    return found.horizon


def _deleting(address: Address, until: datetime) -> Iterator[int]:
    if address.dialect == "sqlite":
        from pixelmeter.ledger.pruning_sqlite import deleting
    else:
        from pixelmeter.ledger.pruning_postgres import deleting
    return deleting(address, until)


def _obstacles(reader: LedgerReader, present: datetime | None, until: datetime, now: int) -> Iterator[str]:
    bound = microseconds_of(until)
    [(newest,)] = reader.rows("SELECT max(started_at) FROM pixelmeter_attempts")
    if newest is not None and reader.dialect.microseconds(newest) < bound:
        at = utc_text(moment_of(reader.dialect.microseconds(newest)))
        yield f"nothing would be left, as the newest attempt began at {at}: keep more, or set the clock of this machine"
    for budget in budgets_of(reader, with_removed=False):
        start = budget.rule.span_of(now).start
        if start < bound:
            since = "all attempts" if budget.rule.per == "total" else f"attempts since {utc_text(moment_of(start))}"
            yield f"the budget {budget.rule.name!r} counts {since}: keep more, or remove it"
    submitted = [job.submitted_at for job in open_jobs(reader, before=bound, limit=1)]
    if submitted and submitted[0] is not None:
        at = utc_text(moment_of(submitted[0]))
        yield f"the job that was submitted at {at} has not ended: `pixelmeter jobs` lists such jobs"
    for gateway, source, name in _unreconciled(reader):
        start, end = month(name)
        if start - _HOUR < bound and (present is None or end > microseconds_of(present)):
            yield (
                f"{name} of {gateway} was not reconciled with {source} since it ended: run `pixelmeter reconcile` once "
                "more, or keep more"
            )


def _unreconciled(reader: LedgerReader) -> list[tuple[str, str, str]]:
    """Return the months, with gateway and source, whose reports were read and not reconciled after their end."""
    rows = reader.rows("SELECT gateway, source, month FROM pixelmeter_statement_reads ORDER BY month, gateway, source")
    done = {
        (one.gateway, one.source, one.month)
        for one in latest_reconciliations(reader)
        if one.run_at >= month(one.month).end and not one.too_young
    }
    return [key for gateway, source, name in rows if (key := (gateway, source, name)) not in done]
