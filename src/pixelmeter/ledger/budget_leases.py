"""Leases of budgets in the ledger: what processes may spend without asking, and what refused attempts have spent.

Sums are touched before leases, each in the order of their keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.lease import Charge, Draw, Drawn, LeaseKey
from pixelmeter.core.budgets.sums import SUMS, Counted, Usage, sums_of
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.budget_reading import SPENT
from pixelmeter.ledger.dialect import Dialect, Sql

__all__ = [
    "COLUMNS",
    "ENSURE",
    "HOLD",
    "KEY",
    "REFUSED",
    "Charges",
    "Run",
    "charging",
    "draw",
    "end_refused",
    "end_refused_of",
    "end_stale",
    "give_back",
    "keep_dropped",
    "keep_leases",
    "keep_refused",
    "let_again",
    "release",
    "renew",
]

KEY = "budget = ? AND value = ? AND starts_at = ?"
"""What the sums of one budget, value and span are found by."""

HOLD = f"UPDATE pixelmeter_budget_sums SET leased = leased WHERE {KEY}"
"""Whoever changes a lease or resets a budget has the row of its sums first, by a statement of its own: what comes after
it sees what others did before."""

REFUSED = "refused attempts"
"""The process of leases that keep what attempts cost that the ledger refuses or that were dropped; `number` says which.

No time ends them, as the money is spent: only the row of the attempt does, or a reset of the budget.
"""

_MINE = f"process = ? AND {KEY} AND number = ?"
_ROOM = f"(? - {SPENT} - leased)"
_GRANT = f"CASE WHEN {_ROOM} >= ? THEN ? WHEN {_ROOM} >= ? THEN ? WHEN {_ROOM} >= ? THEN {_ROOM} ELSE 0 END"
_REST = ("credited", "leased", "last_lease", "overrun", "overruns")
_ZEROS = ", ".join(["0"] * (len(SUMS) + len(_REST)))
_NUMBERS = 2**62
_AT_ONCE = 500
"""Values of one statement: SQLite has a limit."""

COLUMNS = ", ".join(("budget", "value", "starts_at", *SUMS, *_REST))
"""Those of the row of sums."""

ENSURE = f"INSERT INTO pixelmeter_budget_sums ({COLUMNS}) VALUES (?, ?, ?, {_ZEROS}) ON CONFLICT DO NOTHING"
"""Has it there."""


class Run(Protocol):
    """Runs statements of one transaction, one after the other; returns what the last of them finds."""

    def __call__(self, statements: Sequence[Sql]) -> Sequence[Sequence[Any]]: ...


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
        """Take note that these attempts are in the ledger, or that it keeps reserved what they cost."""
        ...


def let_again(run: Run, budget: str) -> None:
    """Count the leases that programs have of a budget which begins anew: calls of before are under way."""
    of_budget = "FROM pixelmeter_budget_leases WHERE budget = ?"
    statement = f"SELECT budget, value, starts_at, sum(amount) {of_budget} GROUP BY budget, value, starts_at"
    for *key, amount in run([Sql(statement, (budget,))]):
        add = f"UPDATE pixelmeter_budget_sums SET leased = leased + ? WHERE {KEY}"
        run([Sql(ENSURE, tuple(key)), Sql(add, (int(amount), *key))])


def charging(process: str, charges: Iterable[Charge], dialect: Dialect) -> list[Sql]:
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
    return statements + less(process, {key: amount for key, amount in amounts.items() if amount}, dialect)


def less(process: str, amounts: Mapping[LeaseKey, int], dialect: Dialect) -> list[Sql]:
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


def draw(run: Run, process: str, draws: Iterable[Draw], at: int, dialect: Dialect) -> list[Drawn]:
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
        Sql(ENSURE, key),
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


def give_back(run: Run, process: str, amounts: Mapping[LeaseKey, int], dialect: Dialect) -> None:
    """Give back parts of leases; one of which nothing is left goes."""
    gone = Sql("DELETE FROM pixelmeter_budget_leases WHERE process = ? AND amount <= 0", (process,))
    run([*less(process, amounts, dialect), gone])


def renew(run: Run, process: str, keys: Iterable[LeaseKey], at: int, dialect: Dialect) -> list[LeaseKey]:
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


def end_stale(run: Run, before: int, dialect: Dialect) -> None:
    """End the leases that were not renewed since a moment: their processes are gone, with their spools."""
    _end(run, Sql("renewed_at < ? AND process <> ?", (dialect.moment(moment_of(before)), REFUSED)))


def keep_refused(
    run: Run, budgets: Sequence[Counted], attempts: Iterable[Attempt], charges: Charges | None, dialect: Dialect
) -> None:
    """Move what attempts cost that the ledger refuses from the leases of their process to one of their own.

    So they stay within the limit, though no sum has them, and whatever becomes of the process. Repeating it is
    harmless.
    """
    kept: dict[LeaseKey, tuple[int, Attempt]] = {}
    for attempt in attempts:
        for one in sums_of(budgets, [attempt]):
            if amount := one.cost + one.at_risk:
                kept[LeaseKey(one.budget, one.value, one.start, _number(attempt.id))] = amount, attempt
    there: set[tuple[str, int]] = set()
    for which in _refused(one.id for _, one in kept.values()):
        found = run([Sql(f"SELECT budget, number FROM pixelmeter_budget_leases WHERE {which.text}", which.parameters)])
        there.update((budget, int(number)) for budget, number in found)
    statements: list[Sql] = []
    charged: list[Charge] = []
    for key, (amount, attempt) in sorted(kept.items()):
        if (key.budget, key.number) in there:
            continue
        statements += _keeping(key, amount, attempt.started_at, dialect)
        if charges is not None:
            charged += [charge for charge in charges.of([attempt.id]) if charge.key.budget == key.budget]
    if charges is not None and (process := charges.process) is not None:
        statements += charging(process, charged, dialect)
    run(statements)


def keep_dropped(run: Run, process: str, first: str, charges: Sequence[Charge], at: int, dialect: Dialect) -> None:
    """Move what attempts cost that were dropped from the leases of their process to one of their own.

    It has the number of the `first` of them: repeating it is harmless.
    """
    amounts: defaultdict[LeaseKey, int] = defaultdict(int)
    number = _number(first)
    for charge in charges:
        amounts[charge.key._replace(number=number)] += charge.amount + charge.overrun
    if run([Sql("SELECT 1 FROM pixelmeter_budget_leases WHERE process = ? AND number = ?", (REFUSED, number))]):
        return
    statements = [each for key, amount in sorted(amounts.items()) for each in _keeping(key, amount, at, dialect)]
    run([*statements, *charging(process, charges, dialect)])


def keep_leases(run: Run, processes: Iterable[str]) -> None:
    """Keep all that processes have of budgets which died after they had dropped attempts: nobody knows how much."""
    for process in processes:
        of_process = "FROM pixelmeter_budget_leases WHERE process = ?"
        rows = run([Sql(f"SELECT DISTINCT budget, value, starts_at {of_process}", (process,))])
        holds = [Sql(HOLD, key) for key in sorted(map(tuple, rows))]
        keep = "UPDATE pixelmeter_budget_leases SET process = ?, number = number + ? WHERE process = ?"
        run([*holds, Sql(keep, (REFUSED, _number(process), process))])


def _keeping(key: LeaseKey, amount: int, at: int, dialect: Dialect) -> list[Sql]:
    of_sums = _key(key, dialect)
    return [
        Sql(ENSURE, of_sums),
        Sql(f"UPDATE pixelmeter_budget_sums SET leased = leased + ? WHERE {KEY}", (amount, *of_sums)),
        Sql(
            "INSERT INTO pixelmeter_budget_leases (process, budget, value, starts_at, number, amount, renewed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (REFUSED, *of_sums, key.number, amount, dialect.moment(moment_of(at))),
        ),
    ]


def end_refused(run: Run, ids: Iterable[str]) -> None:
    """End what was kept for attempts that the ledger had refused: it has them now."""
    for which in _refused(ids):
        _end(run, which)


def end_refused_of(run: Run, key: Sequence[object]) -> None:
    """End what was kept for refused attempts of one budget, value and span."""
    _end(run, Sql(f"process = ? AND {KEY}", (REFUSED, *key)))


def _refused(ids: Iterable[str]) -> Iterator[Sql]:
    """Yield what the leases of refused attempts are found by."""
    numbers = sorted({_number(each) for each in ids})
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        yield Sql(f"process = ? AND number IN ({', '.join('?' * len(some))})", (REFUSED, *some))


def _number(attempt: str) -> int:
    return UUID(attempt).int % _NUMBERS


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
