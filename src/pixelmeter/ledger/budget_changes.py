"""What people change of budgets by hand: what is spent is taken off, or a budget goes."""

from __future__ import annotations

from typing import NamedTuple

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.budget_leases import HOLD, KEY, Run, end_refused_of
from pixelmeter.ledger.budget_reading import SPENT, budgets_of
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["ResetAuthor", "TakenOff", "remove", "reset"]


class ResetAuthor(NamedTuple):
    """Who resets a budget, when (Unix time in microseconds) and why."""

    at: int
    by: str | None
    why: str | None


class TakenOff(NamedTuple):
    """What was taken off for a value, in nano-dollars."""

    value: str
    amount: int


def reset(run: Run, reader: LedgerReader, name: str, value: str | None, author: ResetAuthor) -> list[TakenOff]:
    """Take off a budget what is spent in the present span; ConfigError where there is no such budget.

    What is kept reserved for attempts that the ledger refuses is spent as well, and goes with it.
    """
    dialect = reader.dialect
    budget = next(iter(budgets_of(reader, name, with_removed=False)), None)
    if budget is None:
        raise ConfigError(
            f"the ledger has no budget {name[:100]!r}: `pixelmeter budgets list` has those that there are"
        )
    start = dialect.moment(moment_of(budget.rule.span_of(author.at).start))
    these = "budget = ? AND starts_at = ?"
    values = [one for (one,) in run([Sql(f"SELECT value FROM pixelmeter_budget_sums WHERE {these}", (name, start))])]
    found: list[TakenOff] = []
    for one in sorted(values) if value is None else [value]:
        key = (name, one, start)
        rows = run([Sql(HOLD, key), Sql(f"SELECT {SPENT} FROM pixelmeter_budget_sums WHERE {KEY}", key)])
        amount = int(rows[0][0]) if rows else 0
        end_refused_of(run, key)
        if not amount:
            continue
        made = (*key, amount, dialect.moment(moment_of(author.at)), author.by, author.why)
        run(
            [
                Sql(f"UPDATE pixelmeter_budget_sums SET credited = credited + ? WHERE {KEY}", (amount, *key)),
                Sql(
                    "INSERT INTO pixelmeter_budget_resets (budget, value, starts_at, amount, made_at, made_by, why)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    made,
                ),
            ]
        )
        found.append(TakenOff(one, amount))
    return found


def remove(run: Run, name: str, at: int, dialect: Dialect) -> bool:
    """Have nothing count towards a budget any more, from the next transaction of every writer."""
    there = run([Sql("SELECT 1 FROM pixelmeter_budgets WHERE name = ? AND is_active", (name,))])
    if there:
        changed = (False, dialect.moment(moment_of(at)), name)
        run(
            [
                Sql(
                    "UPDATE pixelmeter_budgets SET is_active = ?, changed_at = ?, revision ="
                    " (SELECT max(revision) FROM pixelmeter_budgets) + 1 WHERE name = ?",
                    changed,
                )
            ]
        )
    return bool(there)
