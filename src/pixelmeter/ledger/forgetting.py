"""The value of a tag erased: attempts and their money stay, and nothing tells any more whose they were."""

from __future__ import annotations

from typing import NamedTuple

from pixelmeter.core.budgets.sums import SUMS
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.budget_leases import COLUMNS, Run
from pixelmeter.ledger.budget_reading import budgets_of
from pixelmeter.ledger.dialect import Sql
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["Forgotten", "foresee", "forget"]


class Forgotten(NamedTuple):
    """What has the value of a tag."""

    attempts: int
    traces: int
    """Attempts among them that name a trace, which may say whose they are as well."""
    days: int
    """Days of the rollup by tags."""
    spans: int
    """Sums of budgets that have one for each value."""


def foresee(reader: LedgerReader, key: str, value: str) -> Forgotten:
    """Return what has a tag; LedgerError where that cannot be erased."""
    asking = [one.rule.name for one in budgets_of(reader, with_removed=False) if one.rule.scope.asks_for(key, value)]
    if asking:
        raise LedgerError(
            f"the budget {asking[0]!r} counts only attempts with that tag, and would count none: "
            "remove it first with `pixelmeter budgets remove`"
        )
    tagged = _tagged(reader, key, value)
    [(attempts, traces)] = reader.rows(
        f"SELECT count(*), count(trace_id) FROM pixelmeter_attempts WHERE {tagged.text}", tagged.parameters
    )
    statement = "SELECT count(DISTINCT day) FROM pixelmeter_tag_daily WHERE tag = ? AND value = ?"
    [(days,)] = reader.rows(statement, [key, value])
    statement = "SELECT count(*) FROM pixelmeter_budget_sums WHERE budget = ? AND value = ?"
    spans = sum(int(reader.rows(statement, [name, value])[0][0]) for name in _budgets_by(reader, key))
    return Forgotten(int(attempts), int(traces), int(days), spans)


def forget(run: Run, reader: LedgerReader, key: str, value: str) -> Forgotten:
    """Take a tag off all attempts, with the ids of their traces, and out of all sums; nobody else may write meanwhile.

    What deltas have must be in the sums. Returns what had it; LedgerError where it cannot be erased.
    """
    found = foresee(reader, key, value)
    [(apart,)] = reader.rows("SELECT count(*) FROM pixelmeter_deltas")
    if apart:
        raise LedgerError(f"{apart} sums cannot be merged, and may have that tag: `pixelmeter doctor` says why")
    tagged, others = _tagged(reader, key, value), reader.dialect.other_tags(key)
    run(
        [
            Sql(
                f"UPDATE pixelmeter_attempts SET tags = {others.text}, trace_id = NULL WHERE {tagged.text}",
                (*others.parameters, *tagged.parameters),
            ),
            # A report has what is left of the day under no value.
            Sql("DELETE FROM pixelmeter_tag_daily_merged WHERE tag = ? AND value = ?", (key, value)),
        ]
    )
    for name in _budgets_by(reader, key):
        run([Sql(text, (name, value)) for text in _OF_BUDGET])
    return found


def _tagged(reader: LedgerReader, key: str, value: str) -> Sql:
    tag = reader.dialect.tag_value(key)
    return Sql(f"{tag.text} = ?", (*tag.parameters, value))


def _budgets_by(reader: LedgerReader, key: str) -> list[str]:
    """Return the budgets, removed ones too, that have one for each value of a tag."""
    return [one.rule.name for one in budgets_of(reader, with_removed=True) if one.rule.each == f"tag:{key}"]


_ADDED = (*SUMS, "credited", "overrun", "overruns")
# What the value has spent is taken off where it goes, so that nobody else's budget is used up by it.
_OF_BUDGET = (
    f"""
INSERT INTO pixelmeter_budget_sums AS present ({COLUMNS})
SELECT budget, '', starts_at, {", ".join(SUMS)}, cost + at_risk, 0, 0, overrun, overruns
FROM pixelmeter_budget_sums WHERE budget = ? AND value = ?
ON CONFLICT (budget, value, starts_at) DO UPDATE
SET {", ".join(f"{name} = present.{name} + excluded.{name}" for name in _ADDED)}
""",
    "DELETE FROM pixelmeter_budget_leases WHERE budget = ? AND value = ?",
    "DELETE FROM pixelmeter_budget_notices WHERE budget = ? AND value = ?",
    "UPDATE pixelmeter_budget_resets SET value = '' WHERE budget = ? AND value = ?",
    "DELETE FROM pixelmeter_budget_sums WHERE budget = ? AND value = ?",
)
