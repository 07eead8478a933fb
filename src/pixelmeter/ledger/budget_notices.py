"""Which process tells that a threshold of a budget has been passed: statements that every database takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.notices import Claims, NoticeKey, Passed, amount_at
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from pixelmeter.ledger.budget_leases import Run

__all__ = ["MOST", "claim", "forget_unpassed", "sent"]

MOST = 100
"""How many values of a budget pass a threshold in one look; the others do at the next."""

_SPENT = "cost + at_risk - credited"
_SAME = "budget = sums.budget AND value = sums.value AND starts_at = sums.starts_at"
_CLAIM = f"""
INSERT INTO pixelmeter_budget_notices (budget, value, starts_at, threshold, claimed_at, claimed_by)
SELECT sums.budget, sums.value, sums.starts_at, ?, ?, ? FROM pixelmeter_budget_sums AS sums
WHERE sums.budget = ? AND sums.starts_at = ? AND {_SPENT} >= ?
  AND NOT EXISTS (SELECT 1 FROM pixelmeter_budget_notices WHERE {_SAME} AND threshold = ?)
ORDER BY sums.value LIMIT {MOST}
ON CONFLICT DO NOTHING
"""
# Of several thresholds the highest is told, also where a lower one was claimed before and its process has died since.
_SUPERSEDE = """
UPDATE pixelmeter_budget_notices AS lower SET sent_at = ?
WHERE lower.budget = ? AND lower.starts_at = ? AND lower.sent_at IS NULL AND EXISTS (
  SELECT 1 FROM pixelmeter_budget_notices AS higher
  WHERE higher.budget = lower.budget AND higher.value = lower.value AND higher.starts_at = lower.starts_at
    AND higher.threshold > lower.threshold)
"""
_CLAIM_ANEW = """
UPDATE pixelmeter_budget_notices SET claimed_at = ?, claimed_by = ?
WHERE budget = ? AND starts_at = ? AND sent_at IS NULL AND claimed_at <= ?
"""
_MINE = f"""
SELECT notices.budget, notices.value, notices.starts_at, notices.threshold, {_SPENT}
FROM pixelmeter_budget_notices AS notices
JOIN pixelmeter_budget_sums AS sums
  ON sums.budget = notices.budget AND sums.value = notices.value AND sums.starts_at = notices.starts_at
WHERE notices.claimed_by = ? AND notices.claimed_at = ? AND notices.sent_at IS NULL
ORDER BY notices.budget, notices.value, notices.starts_at, notices.threshold
"""
_PENDING = "SELECT min(claimed_at) FROM pixelmeter_budget_notices WHERE sent_at IS NULL AND"


def claim(
    reader: LedgerReader, run: Run, rules: Sequence[Rule], process: str, times: Collection[int], before: int
) -> Claims:
    """Claim for a process what is to be told of budgets in the spans that some times are in, the latest of them now.

    Anew where another has claimed it `before` and nobody has sent it. All times are Unix times in microseconds.
    """
    at = max(times)
    dialect = reader.dialect
    now, stale = dialect.moment(moment_of(at)), dialect.moment(moment_of(before))
    spans = [(rule, start) for rule in rules for start in sorted({rule.span_of(time).start for time in times})]
    if not spans:
        return Claims([], None)
    where: list[tuple[object, ...]] = []
    for rule, start in spans:
        span = (rule.name, dialect.moment(moment_of(start)))
        where.append(span)
        claims = [
            Sql(_CLAIM, (threshold, now, process, *span, amount_at(rule.limit, threshold), threshold))
            for threshold in reversed(rule.thresholds)
        ]
        run([*claims, Sql(_SUPERSEDE, (now, *span)), Sql(_CLAIM_ANEW, (now, process, *span, stale))])
    mine = reader.rows(_MINE, (process, now))
    any_span = " OR ".join(["(budget = ? AND starts_at = ?)"] * len(where))
    [(pending,)] = reader.rows(f"{_PENDING} ({any_span})", [value for span in where for value in span])
    return Claims(
        _passed(reader, {rule.name: rule for rule in rules}, mine),
        None if pending is None else dialect.microseconds(pending),
    )


def sent(run: Run, keys: Iterable[NoticeKey], at: int, dialect: Dialect) -> None:
    """Take note that notices were sent."""
    now = dialect.moment(moment_of(at))
    run(
        [
            Sql(
                "UPDATE pixelmeter_budget_notices SET sent_at = ?"
                " WHERE budget = ? AND value = ? AND starts_at = ? AND threshold = ? AND sent_at IS NULL",
                (now, key.budget, key.value, dialect.moment(moment_of(key.start)), key.threshold),
            )
            for key in sorted(keys)
        ]
    )


def forget_unpassed(rule: Rule, at: int, dialect: Dialect) -> list[Sql]:
    """Return what forgets the notices of a budget that gets another limit, as far as that has not been passed."""
    span = (rule.name, dialect.moment(moment_of(rule.span_of(at).start)))
    return [
        Sql(
            "DELETE FROM pixelmeter_budget_notices WHERE budget = ? AND starts_at = ? AND threshold = ? AND value IN"
            f" (SELECT value FROM pixelmeter_budget_sums WHERE budget = ? AND starts_at = ? AND {_SPENT} < ?)",
            (*span, threshold, *span, amount_at(rule.limit, threshold)),
        )
        for threshold in rule.thresholds
    ]


def _passed(reader: LedgerReader, rules: dict[str, Rule], mine: Sequence[Sequence[object]]) -> list[Passed]:
    if not mine:
        return []
    dialect = reader.dialect
    changed = {
        name: dialect.microseconds(at)
        for name, at in reader.rows("SELECT name, changed_at FROM pixelmeter_budgets WHERE is_active")
    }
    return [
        Passed(
            NoticeKey(str(budget), str(value), dialect.microseconds(start), int(str(threshold))),
            rules[str(budget)],
            changed[str(budget)],
            max(int(str(spent)), 0),
        )
        for budget, value, start, threshold, spent in mine
    ]
