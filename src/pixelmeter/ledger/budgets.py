"""The sums, leases and definitions of budgets in the ledger: statements that every database takes.

A writer asks here, in the middle of its transaction, what to run. Sums are touched before leases, each in the order of
their keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Charge, Draw, Drawn, LeaseKey
from pixelmeter.core.budgets.notices import Claims, NoticeKey
from pixelmeter.core.budgets.sums import SUMS, Counted, Moved, Sums, Usage, moved_by, sums_of
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import LedgerError
from pixelmeter.ledger import budget_notices
from pixelmeter.ledger.budget_changes import HOLD, KEY, ResetAuthor, Run, TakenOff, remove, reset
from pixelmeter.ledger.budget_reading import SPENT, rule_of, so_far, spans_of_attempts
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["REVISION", "BudgetTransactions", "Charges", "Known", "Run", "counting", "known_rules", "release"]

_T = TypeVar("_T")

REVISION = "SELECT coalesce(max(revision), 0) FROM pixelmeter_budgets"
_MINE = f"process = ? AND {KEY} AND number = ?"
_ROOM = f"(? - {SPENT} - leased)"
_GRANT = f"CASE WHEN {_ROOM} >= ? THEN ? WHEN {_ROOM} >= ? THEN ? WHEN {_ROOM} >= ? THEN {_ROOM} ELSE 0 END"
_REST = ("credited", "leased", "last_lease", "overrun", "overruns")
_ZEROS = ", ".join(["0"] * (len(SUMS) + len(_REST)))
_COLUMNS = ", ".join(("budget", "value", "starts_at", *SUMS, *_REST))
_ENSURE = f"INSERT INTO pixelmeter_budget_sums ({_COLUMNS}) VALUES (?, ?, ?, {_ZEROS}) ON CONFLICT DO NOTHING"
_ADD = (
    f"INSERT INTO pixelmeter_budget_sums AS present ({_COLUMNS})"
    f" VALUES (?, ?, ?, {', '.join('?' * len(SUMS))}, 0, 0, 0, 0, 0) ON CONFLICT (budget, value, starts_at) DO UPDATE"
    f" SET {', '.join(f'{name} = present.{name} + excluded.{name}' for name in SUMS)}"
)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Charges(Protocol):
    """What attempts of this process have taken of its leases."""

    @property
    def process(self) -> str | None:
        """What the names of its spool files begin with; None while it has no lease."""
        ...

    def of(self, ids: Iterable[str]) -> Sequence[Charge]:
        """Return what these attempts are charged."""
        ...

    def committed(self, ids: Iterable[str]) -> None:
        """Take note that these attempts are in the ledger."""
        ...


class Known(NamedTuple):
    """The budgets of a ledger, as of a revision."""

    revision: int
    counted: Sequence[Counted] = ()
    problem: LedgerError | None = None
    """Why a budget cannot be read: nothing is written then, as it would not be counted."""


class BudgetTransactions(ABC):
    """The budgets of a ledger, as a writer changes them. Each method is one transaction; LedgerError when it fails."""

    _budgets: Known
    """Those of the ledger, as of the latest transaction."""

    @abstractmethod
    def _in_transaction(self, work: Callable[[Run, LedgerReader], _T], *, alone: bool = False) -> _T:
        """Do some work in a transaction; `alone` keeps all others from writing meanwhile."""

    def known_budgets(self) -> Sequence[Counted]:
        """Return all budgets towards which attempts count."""
        return _readable(self._in_transaction(lambda run, reader: known_rules(reader))).counted

    def register(self, rules: Sequence[Rule], at: int) -> Sequence[Counted]:
        """Keep budgets, where the ledger does not have them as they are; return all that attempts count towards."""
        known = _readable(self._in_transaction(lambda run, reader: known_rules(reader)))
        if _unregistered(known, rules):
            known = self._in_transaction(lambda run, reader: _register(reader, run, rules, at), alone=True)
        return known.counted

    def draw(self, process: str, draws: Sequence[Draw], at: int) -> Sequence[Drawn]:
        """Enlarge leases of a process, each by as much as its budget has; return what it got, by key.

        What a budget has is what the ledger says, whatever limit the process knows.
        """

        def drawn(run: Run, reader: LedgerReader) -> list[Drawn]:
            limits = {counted.rule.name: counted.rule.limit for counted in self._budgets.counted}
            asked = [one._replace(limit=limits.get(one.key.budget, one.limit)) for one in draws]
            return _draw(run, process, asked, at, reader.dialect)

        return self._in_transaction(drawn)

    def give_back(self, process: str, amounts: Mapping[LeaseKey, int]) -> None:
        """Give back parts of leases of a process."""
        self._in_transaction(lambda run, reader: _give_back(run, process, amounts, reader.dialect))

    def renew(self, process: str, keys: Sequence[LeaseKey], at: int) -> Sequence[LeaseKey]:
        """Say that a process is alive and has these leases; return those that it has not, as they were ended."""
        return self._in_transaction(lambda run, reader: _renew(run, process, keys, at, reader.dialect))

    def end_stale(self, before: int) -> None:
        """End the leases that were not renewed since a Unix time in microseconds: their processes are gone."""
        self._in_transaction(lambda run, reader: _stale(run, before, reader.dialect))

    def reset(self, name: str, value: str | None, author: ResetAuthor) -> Sequence[TakenOff]:
        """Take off a budget what is spent in the present span, for one value or for all; ConfigError without it.

        Leases stay as they are. Returns what was taken off, by value; nothing where nothing is spent.
        """
        return self._in_transaction(lambda run, reader: reset(run, reader, name, value, author))

    def remove(self, name: str, at: int) -> bool:
        """Have nothing count towards a budget any more; what it had stays. Returns whether there was one."""
        return self._in_transaction(lambda run, reader: remove(run, name, at, reader.dialect), alone=True)

    def claim_notices(self, process: str, names: Collection[str], times: Collection[int], before: int) -> Claims:
        """Claim what is to be told of these budgets, as `budget_notices.claim` says."""

        def claimed(run: Run, reader: LedgerReader) -> Claims:
            rules = [counted.rule for counted in known_rules(reader).counted if counted.rule.name in names]
            return budget_notices.claim(reader, run, rules, process, times, before)

        return self._in_transaction(claimed)

    def notices_sent(self, keys: Collection[NoticeKey], at: int) -> None:
        """Take note that notices were sent."""
        self._in_transaction(lambda run, reader: budget_notices.sent(run, keys, at, reader.dialect))


def known_rules(reader: LedgerReader) -> Known:
    """Return the budgets towards which attempts count."""
    [(revision,)] = reader.rows(REVISION)
    statement = "SELECT name, definition, counts_from FROM pixelmeter_budgets WHERE is_active ORDER BY name"
    rows = [
        (name, definition, reader.dialect.microseconds(since)) for name, definition, since in reader.rows(statement)
    ]
    try:
        return Known(revision, [Counted(rule_of(name, definition), since) for name, definition, since in rows])
    except LedgerError as problem:
        return Known(revision, problem=problem)


def _readable(known: Known) -> Known:
    if known.problem is not None:
        raise known.problem
    return known


def _unregistered(known: Known, rules: Iterable[Rule]) -> list[Rule]:
    """Return those of a program's budgets that the ledger does not have as they are."""
    there = {counted.rule.name: counted.rule for counted in known.counted}
    return [rule for rule in rules if there.get(rule.name) != rule]


def _register(reader: LedgerReader, run: Run, rules: Iterable[Rule], at: int) -> Known:
    """Keep budgets, with what counts towards them so far; nobody else may write meanwhile. Returns all there are.

    A budget that only gets another limit goes on; what counts otherwise than before begins anew.
    """
    known = _readable(known_rules(reader))
    revision = known.revision + 1
    there = {counted.rule.name: counted for counted in known.counted}
    moment = reader.dialect.moment
    for rule in _unregistered(known, rules):
        before = there.get(rule.name)
        goes_on = before is not None and before.rule.counts == rule.counts
        since = before.since if before is not None and goes_on else rule.span_of(at).start
        values = (_encode(rule).decode(), moment(moment_of(since)), moment(moment_of(at)), True, revision)
        if not goes_on:
            run([Sql(f"DELETE FROM pixelmeter_budget_{name} WHERE budget = ?", (rule.name,)) for name in _OF_BUDGET])
            for span in spans_of_attempts(reader, rule, since):
                run(_adding(so_far(reader, rule, span), reader.dialect))
            _let_again(run, rule.name)
        elif before is not None and before.rule.limit != rule.limit:
            run(budget_notices.forget_unpassed(rule, at, reader.dialect))
        run(
            [
                Sql(
                    "INSERT INTO pixelmeter_budgets (name, definition, counts_from, changed_at, is_active, revision)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET definition = excluded.definition,"
                    " counts_from = excluded.counts_from, changed_at = excluded.changed_at,"
                    " is_active = excluded.is_active, revision = excluded.revision",
                    (rule.name, *values),
                )
            ]
        )
    return known_rules(reader)


_OF_BUDGET = ("notices", "sums")


def _let_again(run: Run, budget: str) -> None:
    """Count the leases that programs have of a budget which begins anew: calls of before are under way."""
    of_budget = "FROM pixelmeter_budget_leases WHERE budget = ?"
    statement = f"SELECT budget, value, starts_at, sum(amount) {of_budget} GROUP BY budget, value, starts_at"
    for *key, amount in run([Sql(statement, (budget,))]):
        add = f"UPDATE pixelmeter_budget_sums SET leased = leased + ? WHERE {KEY}"
        run([Sql(_ENSURE, tuple(key)), Sql(add, (int(amount), *key))])


def counting(
    known: Known,
    attempts: Sequence[Attempt],
    changes: Sequence[Change],
    charges: Charges | None,
    dialect: Dialect,
) -> list[Sql]:
    """Return what adds attempts and changes to the sums of budgets, and takes from leases what they were charged."""
    budgets = _readable(known).counted
    statements = _adding(sums_of(budgets, attempts, changes), dialect)
    statements += _crediting(moved_by(budgets, changes), dialect)
    if charges is not None and (process := charges.process) is not None:
        statements += _charging(process, charges.of(attempt.id for attempt in attempts), dialect)
    return statements


def _adding(sums: Iterable[Sums], dialect: Dialect) -> list[Sql]:
    """Return what adds to the sums of budgets."""
    return [Sql(_ADD, (one.budget, one.value, dialect.moment(moment_of(one.start)), *one.amounts())) for one in sums]


def _crediting(moved: Iterable[Moved], dialect: Dialect) -> list[Sql]:
    """Return what has a reset take off what attempts of before cost now, and no more."""
    statements: list[Sql] = []
    for one in moved:
        key = one.budget, one.value, dialect.moment(moment_of(one.start))
        statements.append(
            Sql(
                "UPDATE pixelmeter_budget_sums SET credited ="
                " CASE WHEN credited + ? < 0 THEN 0 ELSE credited + ? END"
                f" WHERE {KEY} AND credited > 0 AND EXISTS"
                f" (SELECT 1 FROM pixelmeter_budget_resets WHERE {KEY} AND made_at > ?)",
                (one.amount, one.amount, *key, *key, dialect.moment(moment_of(one.at))),
            )
        )
    return statements


def _charging(process: str, charges: Iterable[Charge], dialect: Dialect) -> list[Sql]:
    """Return what takes what attempts were charged from the leases of their process; their cost is in the sums now."""
    amounts: defaultdict[LeaseKey, int] = defaultdict(int)
    overruns: defaultdict[LeaseKey, list[int]] = defaultdict(list)
    for charge in charges:
        amounts[charge.key] += charge.amount
        if charge.overrun:
            overruns[charge.key].append(charge.overrun)
    statements = [
        Sql(
            f"UPDATE pixelmeter_budget_sums SET overrun = overrun + ?, overruns = overruns + ? WHERE {KEY}",
            (sum(found), len(found), *_key(key, dialect)),
        )
        for key, found in sorted(overruns.items())
    ]
    return statements + _less(process, {key: amount for key, amount in amounts.items() if amount}, dialect)


def _less(process: str, amounts: Mapping[LeaseKey, int], dialect: Dialect) -> list[Sql]:
    """Return what makes leases of a process smaller; one that was taken back meanwhile stays gone."""
    statements: list[Sql] = []
    for key, amount in sorted(amounts.items()):
        where_mine = (process, *_key(key, dialect), key.number)
        statements.append(Sql(HOLD, _key(key, dialect)))
        statements.append(
            Sql(
                "UPDATE pixelmeter_budget_sums SET leased = leased - coalesce((SELECT"
                f" CASE WHEN amount < ? THEN amount ELSE ? END FROM pixelmeter_budget_leases WHERE {_MINE}), 0)"
                f" WHERE {KEY}",
                (amount, amount, *where_mine, *_key(key, dialect)),
            )
        )
        statements.append(
            Sql(
                "UPDATE pixelmeter_budget_leases SET amount = CASE WHEN amount < ? THEN 0 ELSE amount - ? END"
                f" WHERE {_MINE}",
                (amount, amount, *where_mine),
            )
        )
    return statements


def _draw(run: Run, process: str, draws: Iterable[Draw], at: int, dialect: Dialect) -> list[Drawn]:
    """Enlarge leases of a process, each by as much as its budget has; return what it got of each."""
    ordered = sorted(draws)
    keys = [_key(one.key, dialect) for one in ordered]
    statements = [each for one in ordered for each in _drawing(process, one, at, dialect)]
    asked = f"({') OR ('.join([KEY] * len(keys))})"
    columns = "budget, value, starts_at, last_lease, cost, at_risk, credited, leased"
    statement = f"SELECT {columns} FROM pixelmeter_budget_sums WHERE {asked}"
    rows = run([*statements, Sql(statement, tuple(value for key in keys for value in key))]) if keys else ()
    found = {
        LeaseKey(budget, value, dialect.microseconds(start)): (int(amount), max(cost + at_risk - credited, 0), leased)
        for budget, value, start, amount, cost, at_risk, credited, leased in rows
    }
    drawn: list[Drawn] = []
    for one in ordered:
        amount, spent, leased = found[one.key._replace(number=0)]
        drawn.append(Drawn(one.key, amount, Usage(one.limit, spent, leased)))
    return drawn


def _drawing(process: str, one: Draw, at: int, dialect: Dialect) -> list[Sql]:
    key = _key(one.key, dialect)
    limit = one.limit
    grant = (limit, one.plenty, one.more, limit, one.total, one.total, limit, one.least, limit)
    return [
        Sql(_ENSURE, key),
        Sql(
            f"UPDATE pixelmeter_budget_sums SET last_lease = {_GRANT}, leased = leased + {_GRANT} WHERE {KEY}",
            (*grant, *grant, *key),
        ),
        Sql(
            "INSERT INTO pixelmeter_budget_leases AS present"
            " (process, budget, value, starts_at, number, amount, renewed_at)"
            f" SELECT ?, budget, value, starts_at, {one.key.number}, last_lease, ? FROM pixelmeter_budget_sums"
            f" WHERE {KEY} AND last_lease > 0"
            " ON CONFLICT (process, budget, value, starts_at, number) DO UPDATE"
            " SET amount = present.amount + excluded.amount, renewed_at = excluded.renewed_at",
            (process, dialect.moment(moment_of(at)), *key),
        ),
    ]


def _give_back(run: Run, process: str, amounts: Mapping[LeaseKey, int], dialect: Dialect) -> None:
    """Give back parts of leases; one of which nothing is left goes."""
    gone = Sql("DELETE FROM pixelmeter_budget_leases WHERE process = ? AND amount <= 0", (process,))
    run([*_less(process, amounts, dialect), gone])


def _renew(run: Run, process: str, keys: Iterable[LeaseKey], at: int, dialect: Dialect) -> list[LeaseKey]:
    """Say that a process is alive and has its leases; return those that were ended."""
    moment = dialect.moment(moment_of(at))
    ended: list[LeaseKey] = []
    for key in sorted(keys):
        mine = (process, *_key(key, dialect), key.number)
        renew = Sql(f"UPDATE pixelmeter_budget_leases SET renewed_at = ? WHERE {_MINE}", (moment, *mine))
        is_there = Sql(f"SELECT 1 FROM pixelmeter_budget_leases WHERE {_MINE}", mine)
        if not run([Sql(HOLD, _key(key, dialect)), renew, is_there]):
            ended.append(key)
    return ended


def release(run: Run, processes: Sequence[str]) -> None:
    """End the leases of processes that are dead: what their calls cost is in the ledger now."""
    if processes:
        marks = ", ".join("?" * len(processes))
        _end(run, Sql(f"process IN ({marks})", tuple(processes)))


def _stale(run: Run, before: int, dialect: Dialect) -> None:
    """End the leases that were not renewed since a moment: their processes are gone, with their spools."""
    _end(run, Sql("renewed_at < ?", (dialect.moment(moment_of(before)),)))


def _end(run: Run, which: Sql) -> None:
    of_lease = "FROM pixelmeter_budget_leases WHERE"
    rows = run([Sql(f"SELECT DISTINCT budget, value, starts_at {of_lease} {which.text}", which.parameters)])
    for key in sorted(map(tuple, rows)):
        run([Sql(HOLD, key)])
        these = Sql(f"{KEY} AND {which.text}", (*key, *which.parameters))
        [(amount,)] = run([Sql(f"SELECT coalesce(sum(amount), 0) {of_lease} {these.text}", these.parameters)])
        run(
            [
                Sql(f"UPDATE pixelmeter_budget_sums SET leased = leased - ? WHERE {KEY}", (int(amount), *key)),
                Sql(f"DELETE {of_lease} {these.text}", these.parameters),
            ]
        )


def _key(key: LeaseKey, dialect: Dialect) -> tuple[object, ...]:
    return key.budget, key.value, dialect.moment(moment_of(key.start))
