"""The budgets of a ledger as they stand: definitions, sums, leases, notices and resets, and the sums over the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pixelmeter.core.budgets.budget import Rule, Span
from pixelmeter.core.budgets.state import Reset
from pixelmeter.core.budgets.sums import SUMS, Sums
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.queries import spend, started_in, where
from pixelmeter.ledger.reader import LedgerReader

__all__ = [
    "SPENT",
    "Counted",
    "Kept",
    "KeptLease",
    "KeptNotice",
    "KeptSums",
    "budgets_of",
    "leases_of",
    "notices_of",
    "resets_of",
    "rule_of",
    "so_far",
    "spans_of_attempts",
    "sums_in",
    "values_in",
    "wrongly_leased",
]

# What does not depend on what is spent: a reset may have taken off what was at risk and then was not billed.
SPENT = "(CASE WHEN cost + at_risk > credited THEN cost + at_risk - credited ELSE 0 END)"
"""What is spent of a row of sums."""

_decode = msgspec.json.Decoder(Rule).decode
_MODEL = "coalesce(requested_model, model)"


class Kept(NamedTuple):
    """A budget as the ledger keeps it; times are Unix microseconds, here and below, and money is nano-dollars."""

    rule: Rule
    since: int
    """Attempts that started before do not count."""
    is_active: bool
    """False once it was removed."""
    changed_at: int


class Counted(NamedTuple):
    """The attempts that count towards a budget, whenever they started, or towards one of its values."""

    rule: Rule
    value: str | None = None

    def conditions(self, dialect: Dialect) -> Iterator[Sql]:
        """Yield the conditions on the rows of a table of attempts."""
        scope = self.rule.scope
        yield Sql("NOT byok")
        for column, pattern in (("gateway", scope.gateway), (_MODEL, scope.model), ("operation", scope.operation)):
            if pattern is not None:
                yield _like(dialect, Sql(column), pattern)
        for key, pattern in scope.tags.items():
            yield _like(dialect, dialect.tag_value(key), pattern)
        if self.value is not None:
            found = _value(self.rule, dialect)
            yield Sql(f"{found.text} = ?", (*found.parameters, self.value))


class KeptSums(NamedTuple):
    """The sums of one value and span, and how many leases, resets and notices there are."""

    value: str
    start: int
    attempts: int
    blocked: int
    unknown_cost_attempts: int
    cost: int
    at_risk: int
    credited: int
    leased: int
    overrun: int
    overruns: int
    leases: int = 0
    resets: int = 0
    notices: int = 0


class KeptLease(NamedTuple):
    """What a process may spend without asking."""

    value: str
    start: int
    process: str
    amount: int
    renewed_at: int


class KeptNotice(NamedTuple):
    """A threshold that was passed, in parts per million of the limit."""

    value: str
    start: int
    threshold: int
    claimed_at: int
    sent_at: int | None


def budgets_of(reader: LedgerReader, name: str | None = None, *, with_removed: bool) -> list[Kept]:
    """Return the budgets of a ledger by name, or the one of a name."""
    conditions = [Sql("name = ?", (name,))] if name is not None else []
    if not with_removed:
        conditions.append(Sql("is_active"))
    condition = where(conditions)
    statement = f"""
SELECT name, definition, counts_from, is_active, changed_at FROM pixelmeter_budgets {condition.text} ORDER BY name
"""
    at = reader.dialect.microseconds
    return [
        Kept(rule_of(name, definition), at(since), bool(is_active), at(changed))
        for name, definition, since, is_active, changed in reader.rows(statement, condition.parameters)
    ]


def sums_in(
    reader: LedgerReader,
    budget: str,
    *,
    start: int | None = None,
    but_for: int | None = None,
    value: str | None = None,
    limit: int | None = None,
) -> list[KeptSums]:
    """Return the sums of a span, what is used most first; of all spans `but_for` one, the latest first, without it."""
    condition = _of(reader.dialect, budget, start, value, but_for=but_for)
    same = "of.budget = sums.budget AND of.value = sums.value AND of.starts_at = sums.starts_at"
    counts = ", ".join(
        f"(SELECT count(*) FROM pixelmeter_budget_{table} AS of WHERE {same})"
        for table in ("leases", "resets", "notices")
    )
    ends = _limited(limit)
    statement = f"""
SELECT value, starts_at, {", ".join(SUMS)}, credited, leased, overrun, overruns, {counts}
FROM pixelmeter_budget_sums AS sums {condition.text}
ORDER BY starts_at DESC, {SPENT} DESC, leased DESC, value{ends.text}
"""
    rows = reader.rows(statement, (*condition.parameters, *ends.parameters))
    at = reader.dialect.microseconds
    return [KeptSums(value, at(begun), *map(int, rest)) for value, begun, *rest in rows]


def values_in(reader: LedgerReader, budget: str, start: int, limit: int) -> tuple[int, int]:
    """Return how many values a budget has in a span, and how many of them have spent the limit."""
    condition = _of(reader.dialect, budget, start, None)
    statement = f"""
SELECT count(*), coalesce(sum(CASE WHEN {SPENT} >= ? THEN 1 ELSE 0 END), 0)
FROM pixelmeter_budget_sums {condition.text}
"""
    [(values, used_up)] = reader.rows(statement, (limit, *condition.parameters))
    return int(values), int(used_up)


def leases_of(reader: LedgerReader, budget: str, value: str | None = None, limit: int | None = None) -> list[KeptLease]:
    """Return what each process has of a budget, of its latest spans first."""
    columns = "value, starts_at, process, sum(amount), max(renewed_at)"
    at = reader.dialect.microseconds
    return [
        KeptLease(value, at(start), process, int(amount), at(renewed))
        for value, start, process, amount, renewed in _rows(
            reader, "leases", columns, budget, value, "process", limit, sums=True
        )
    ]


def notices_of(
    reader: LedgerReader, budget: str, value: str | None = None, limit: int | None = None
) -> list[KeptNotice]:
    """Return the thresholds that were passed, of the latest spans first."""
    columns = "value, starts_at, threshold, claimed_at, sent_at"
    at = reader.dialect.microseconds
    return [
        KeptNotice(value, at(start), int(threshold), at(claimed), None if sent is None else at(sent))
        for value, start, threshold, claimed, sent in _rows(
            reader, "notices", columns, budget, value, "threshold", limit
        )
    ]


def resets_of(reader: LedgerReader, budgets: Collection[str], value: str | None = None) -> list[Reset]:
    """Return the resets of budgets, in the order in which they were made."""
    if not budgets:
        return []
    of = Sql(f"budget IN ({', '.join('?' * len(budgets))})", tuple(budgets))
    condition = where([of] if value is None else [of, Sql("value = ?", (value,))])
    statement = f"""
SELECT number, budget, value, starts_at, amount, made_at, made_by, why
FROM pixelmeter_budget_resets {condition.text} ORDER BY number
"""
    at = reader.dialect.microseconds
    return [
        Reset(int(number), budget, value, at(start), int(amount), at(made), by, why)
        for number, budget, value, start, amount, made, by, why in reader.rows(statement, condition.parameters)
    ]


def spans_of_attempts(reader: LedgerReader, rule: Rule, since: int) -> Iterator[Span]:
    """Yield the spans since a moment that have attempts; more than one where a clock is ahead of ours."""
    start: int | None = since
    while start is not None:
        condition = where(started_in(moment_of(start), None, reader.dialect))
        statement = f"SELECT min(started_at) FROM pixelmeter_attempts {condition.text}"
        [(first,)] = reader.rows(statement, condition.parameters)
        if first is None:
            return
        span = rule.span_of(reader.dialect.microseconds(first))
        yield span
        start = span.end


def so_far(reader: LedgerReader, rule: Rule, span: Span) -> list[Sums]:
    """Return the sums of a span over the rows of its attempts."""
    dialect = reader.dialect
    value = _value(rule, dialect)
    end = None if span.end is None else moment_of(span.end)
    condition = where([*started_in(moment_of(span.start), end, dialect), *Counted(rule).conditions(dialect)])
    statement = f"""
SELECT value, sum(1 - blocked), sum(blocked),
  sum(CASE WHEN cost IS NULL AND blocked = 0 THEN 1 ELSE 0 END), coalesce(sum(cost), 0), coalesce(sum(at_risk), 0)
FROM (
  SELECT {value.text} AS value, cost, at_risk, CASE WHEN outcome = 'blocked' THEN 1 ELSE 0 END AS blocked
  FROM {spend(reader)} {condition.text}
) AS found
GROUP BY value
"""
    rows = reader.rows(statement, (*value.parameters, *condition.parameters))
    return [Sums(rule.name, name, span.start, *map(int, amounts)) for name, *amounts in rows]


def wrongly_leased(reader: LedgerReader) -> list[str]:
    """Return the budgets of which the leases of some value and span are not what the sums say of them."""
    rows = reader.rows("""
SELECT DISTINCT budget FROM (
  SELECT budget, value, starts_at, leased FROM pixelmeter_budget_sums
  UNION ALL SELECT budget, value, starts_at, -amount FROM pixelmeter_budget_leases
) AS found
WHERE budget IN (SELECT name FROM pixelmeter_budgets WHERE is_active)
GROUP BY budget, value, starts_at HAVING sum(leased) <> 0
""")
    return sorted(name for (name,) in rows)


def rule_of(name: str, definition: str) -> Rule:
    """Return the budget that a row defines; LedgerError where this pixelmeter cannot read it."""
    try:
        return _decode(definition)
    except (msgspec.MsgspecError, ValueError) as error:
        raise LedgerError(
            f"the budget {name[:100]!r} of the ledger cannot be read ({str(error)[:200]}): "
            "upgrade pixelmeter, or remove it with `pixelmeter budgets remove`"
        ) from None


def _rows(
    reader: LedgerReader,
    table: str,
    columns: str,
    budget: str,
    value: str | None,
    order: str,
    limit: int | None,
    *,
    sums: bool = False,
) -> list[Sequence[Any]]:
    condition = _of(reader.dialect, budget, None, value)
    statement = f"SELECT {columns} FROM pixelmeter_budget_{table} {condition.text}"
    if sums:
        statement += f" GROUP BY starts_at, value, {order}"
    ends = _limited(limit)
    statement += f" ORDER BY starts_at DESC, value, {order}{ends.text}"
    return reader.rows(statement, (*condition.parameters, *ends.parameters))


def _limited(limit: int | None) -> Sql:
    return Sql("") if limit is None else Sql(" LIMIT ?", (limit,))


def _of(dialect: Dialect, budget: str, start: int | None, value: str | None, *, but_for: int | None = None) -> Sql:
    conditions = [Sql("budget = ?", (budget,))]
    if but_for is not None:
        conditions.append(Sql("starts_at <> ?", (dialect.moment(moment_of(but_for)),)))
    if start is not None:
        conditions.append(Sql("starts_at = ?", (dialect.moment(moment_of(start)),)))
    if value is not None:
        conditions.append(Sql("value = ?", (value,)))
    return where(conditions)


def _value(rule: Rule, dialect: Dialect) -> Sql:
    """Return under which value of a budget an attempt counts."""
    if rule.each is None:
        return Sql("''")
    if rule.each.startswith("tag:"):
        tag = dialect.tag_value(rule.each.removeprefix("tag:"))
        return Sql(f"coalesce({tag.text}, '')", tag.parameters)
    return Sql(_MODEL if rule.each == "model" else rule.each)


def _like(dialect: Dialect, value: Sql, pattern: str) -> Sql:
    if "*" in pattern:
        return dialect.glob(value, pattern)
    return Sql(f"{value.text} = ?", (*value.parameters, pattern))
