"""The sums and definitions of budgets in the ledger: statements that every database takes.

A writer asks here, in the middle of its transaction, what to run. Sums are touched before leases, each in the order of
their keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Charge, Draw, Drawn, LeaseKey
from pixelmeter.core.budgets.notices import Claims, NoticeKey
from pixelmeter.core.budgets.sums import SUMS, Counted, Moved, Sums, moved_by, sums_of
from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.errors import LedgerError, RowRefused
from pixelmeter.ledger import budget_leases, budget_notices
from pixelmeter.ledger.budget_changes import ResetAuthor, TakenOff, remove, reset
from pixelmeter.ledger.budget_leases import COLUMNS, KEY, Charges, Run, charging, release
from pixelmeter.ledger.budget_reading import rule_of, so_far, spans_of_attempts
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.forgetting import Forgotten, forget
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.wide_tags import wide_tags

__all__ = ["REVISION", "BudgetTransactions", "Charges", "Known", "Run", "counting", "known_rules", "release"]

_T = TypeVar("_T")

REVISION = (
    "SELECT (SELECT coalesce(max(revision), 0) FROM pixelmeter_budgets) + (SELECT count(*) FROM pixelmeter_wide_tags)"
    " + (SELECT count(*) FROM pixelmeter_prunes)"
)
"""Finds a number that grows with each change of what a writer has to know, which `known_rules` reads."""
_ADD = (
    f"INSERT INTO pixelmeter_budget_sums AS present ({COLUMNS})"
    f" VALUES (?, ?, ?, {', '.join('?' * len(SUMS))}, 0, 0, 0, 0, 0) ON CONFLICT (budget, value, starts_at) DO UPDATE"
    f" SET {', '.join(f'{name} = present.{name} + excluded.{name}' for name in SUMS)}"
)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Known(NamedTuple):
    """What a writer has to know of a ledger, as of a revision: its wide tags, its horizon and its budgets."""

    revision: int
    wide: frozenset[str] = frozenset()
    horizon: int = 0
    """Unix time in microseconds: attempts that began before are not taken; 0 where all are."""
    counted: Sequence[Counted] = ()
    problem: LedgerError | None = None
    """Why a budget cannot be read: nothing is written then, as it would not be counted."""


class BudgetTransactions(ABC):
    """The budgets of a ledger, as a writer changes them. Each method is one transaction; LedgerError when it fails."""

    _known: Known
    """What is known of the ledger, as of the latest transaction."""
    _charges: Charges | None

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
            limits = {counted.rule.name: counted.rule.limit for counted in self._known.counted}
            asked = [one._replace(limit=limits.get(one.key.budget, one.limit)) for one in draws]
            return budget_leases.draw(run, process, asked, at, reader.dialect)

        return self._in_transaction(drawn)

    def give_back(self, process: str, amounts: Mapping[LeaseKey, int]) -> None:
        """Give back parts of leases of a process."""
        self._in_transaction(lambda run, reader: budget_leases.give_back(run, process, amounts, reader.dialect))

    def renew(self, process: str, keys: Sequence[LeaseKey], at: int) -> Sequence[LeaseKey]:
        """Say that a process is alive and has these leases; return those that it has not, as they were ended."""
        return self._in_transaction(lambda run, reader: budget_leases.renew(run, process, keys, at, reader.dialect))

    def end_stale(self, before: int) -> None:
        """End the leases that were not renewed since a Unix time in microseconds: their processes are gone."""
        self._in_transaction(lambda run, reader: budget_leases.end_stale(run, before, reader.dialect))

    def keep_refused(self, attempts: Sequence[Attempt]) -> None:
        """Keep reserved what attempts cost that the ledger refuses, until `taken`; repeating it is harmless."""
        try:
            self._keep_refused(attempts)
        except RowRefused:
            # It may refuse a value of a budget as well, of which there never was a lease then. Others are kept.
            for attempt in attempts:
                for budget in self._known.counted:
                    with suppress(RowRefused):
                        self._keep_refused([attempt], [budget])
        if self._charges is not None:
            self._charges.committed(attempt.id for attempt in attempts)

    def _keep_refused(self, attempts: Sequence[Attempt], budgets: Sequence[Counted] | None = None) -> None:
        def keep(run: Run, reader: LedgerReader) -> None:
            these = _readable(self._known).counted if budgets is None else budgets
            budget_leases.keep_refused(run, these, attempts, self._charges, reader.dialect)

        self._in_transaction(keep)

    def keep_dropped(self, process: str, first: str, charges: Sequence[Charge], at: int) -> None:
        """Keep reserved what attempts cost that were dropped; repeating it for the same `first` of them is harmless."""
        self._in_transaction(
            lambda run, reader: budget_leases.keep_dropped(run, process, first, charges, at, reader.dialect)
        )

    def keep_leases(self, processes: Sequence[str]) -> None:
        """Keep reserved all that dead processes have of budgets; repeating it is harmless."""
        self._in_transaction(lambda run, reader: budget_leases.keep_leases(run, processes))

    def taken(self, ids: Sequence[str]) -> None:
        """End what was kept reserved for attempts that the ledger has taken after all."""
        self._in_transaction(lambda run, reader: budget_leases.end_refused(run, ids))

    def reset(self, name: str, value: str | None, author: ResetAuthor) -> Sequence[TakenOff]:
        """Take off a budget what is spent in the present span, for one value or for all; ConfigError without it.

        Leases stay as they are. Returns what was taken off, by value; nothing where nothing is spent.
        """
        return self._in_transaction(lambda run, reader: reset(run, reader, name, value, author))

    def remove(self, name: str, at: int) -> bool:
        """Have nothing count towards a budget any more; what it had stays. Returns whether there was one."""
        return self._in_transaction(lambda run, reader: remove(run, name, at, reader.dialect), alone=True)

    def forget_tag(self, key: str, value: str) -> Forgotten:
        """Erase the value of a tag, as `forgetting.forget` says; return what had it."""

        def forgotten(run: Run, reader: LedgerReader) -> Forgotten:
            self._before_erasing()
            return forget(run, reader, key, value)

        return self._in_transaction(forgotten, alone=True)

    @abstractmethod
    def _before_erasing(self) -> None:
        """Have no copy of what is erased left, in the middle of a transaction that keeps all others out."""

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
    """Return the budgets towards which attempts count, the tags that are wide, and the horizon."""
    [(revision,)] = reader.rows(REVISION)
    wide, pruned = wide_tags(reader), horizon(reader)
    since = 0 if pruned is None else microseconds_of(pruned)
    statement = "SELECT name, definition, counts_from FROM pixelmeter_budgets WHERE is_active ORDER BY name"
    rows = [
        (name, definition, reader.dialect.microseconds(began)) for name, definition, began in reader.rows(statement)
    ]
    try:
        counted = [Counted(rule_of(name, definition), began) for name, definition, began in rows]
    except LedgerError as problem:
        return Known(revision, wide, since, problem=problem)
    return Known(revision, wide, since, counted)


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
            budget_leases.let_again(run, rule.name)
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
        statements += charging(process, charges.of(attempt.id for attempt in attempts), dialect)
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
