"""What the ledger is asked: which attempts a question is about, their tags, and what has no price.

Ranges are half-open, [since, until). Every value is a parameter, every name in SQL is one of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from pixelmeter.core.reporting.report import ERRORS
from pixelmeter.ledger.dialect import RETRIED, ROUTED, Dialect, Sql
from pixelmeter.ledger.measures import UNESTIMATED
from pixelmeter.ledger.reader import LedgerReader

__all__ = [
    "EVERYTHING",
    "Condition",
    "Filters",
    "TagUse",
    "Unpriced",
    "ever_unpriced",
    "names_in_use",
    "newest_tags",
    "routed_at_least",
    "spend",
    "started_in",
    "summed_in",
    "tag_keys",
    "unpriced",
    "where",
]

_MOST_DAYS = 400
_OF_ROLLUP: Mapping[str, str] = {
    "no-model": "model = ''",
    "sent": "outcome <> 'blocked'",
    "errors": f"outcome IN ({', '.join(repr(outcome) for outcome in ERRORS)})",
    "failures": "outcome <> 'success'",
}
_CONDITIONS: Mapping[str, str] = {
    **_OF_ROLLUP,
    "first": "attempt = 0 AND outcome <> 'blocked'",
    "retries": RETRIED,
    "known-cost": "cost IS NOT NULL",
    "unknown-cost": "cost IS NULL",
    "at-risk": "at_risk IS NOT NULL",
    "unestimated": f"({UNESTIMATED})",
    "routed": f"({ROUTED})",
}


class Condition(Protocol):
    """Which attempts something else is about, such as a budget."""

    def conditions(self, dialect: Dialect) -> Iterator[Sql]:
        """Yield the conditions on the rows of a table of attempts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which attempts to look at; None asks for nothing."""

    model: str | None = None
    """A shell pattern such as "openai/*"."""
    exact_model: str | None = None
    """The name of one model, in which no character is special."""
    gateway: str | None = None
    operation: str | None = None
    outcome: str | None = None
    billing: str | None = None
    status: int | None = None
    call_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    untagged: Sequence[str] = ()
    """Keys of tags that an attempt must not have a value of."""
    only: Sequence[str] = ()
    """Names of `core.reporting.report.ONLY`, all of which must hold."""
    counted: Condition | None = None
    """Only what this is about, such as `pixelmeter.ledger.budget_reading.Counted`."""

    @property
    def rolled_up(self) -> bool:
        """Whether the day rollup has all that is asked for."""
        return self == self.coarse

    @property
    def coarse(self) -> Filters:
        """The same without what the day rollup cannot tell."""
        of_rollup = [name for name in self.only if name in _OF_ROLLUP]
        return Filters(
            model=self.model,
            exact_model=self.exact_model,
            gateway=self.gateway,
            operation=self.operation,
            outcome=self.outcome,
            only=tuple(of_rollup),
        )

    @property
    def only_tags(self) -> bool:
        """Whether nothing but tags is asked for."""
        return self == Filters(tags=self.tags)

    def conditions(self, dialect: Dialect) -> Iterator[Sql]:
        """Yield the conditions on the rows of a table."""
        for name in ("gateway", "operation", "outcome", "billing", "status", "call_id"):
            value = getattr(self, name)
            if value is not None:
                yield Sql(f"{name} = ?", (value,))
        if self.exact_model is not None:
            yield Sql("model = ?", (self.exact_model,))
        if self.model is not None:
            yield dialect.like("model", self.model)
        for key, text in self.tags.items():
            value = dialect.tag_value(key)
            yield Sql(f"{value.text} = ?", (*value.parameters, text))
        for key in self.untagged:
            value = dialect.tag_value(key)
            yield Sql(f"coalesce({value.text}, '') = ''", value.parameters)
        for name in self.only:
            yield Sql(_CONDITIONS[name])
        if self.counted is not None:
            yield from self.counted.conditions(dialect)


EVERYTHING = Filters()
"""No condition at all."""

_NAMES = "SELECT DISTINCT gateway, model FROM pixelmeter_totals"


class Unpriced(NamedTuple):
    """A model of a gateway that has no price, and how many attempts lack it."""

    gateway: str
    model: str
    attempts: int


class TagUse(NamedTuple):
    """A key of tags, how many attempts have it, and how many values it has."""

    tag: str
    attempts: int
    values: int


def unpriced(reader: LedgerReader, since: datetime, until: datetime, filters: Filters = EVERYTHING) -> list[Unpriced]:
    """Return the models that have no price, the most frequent first."""
    condition = where(
        [
            *started_in(since, until, reader.dialect),
            Sql("cost IS NULL AND cost_reason = 'no_price'"),
            *filters.conditions(reader.dialect),
        ]
    )
    statement = f"SELECT gateway, model, count(*) FROM {spend(reader)} {condition.text} GROUP BY gateway, model"
    found = [Unpriced(*row) for row in reader.rows(statement, condition.parameters)]
    return sorted(found, key=lambda one: (-one.attempts, one.model, one.gateway))


def ever_unpriced(reader: LedgerReader, filters: Filters = EVERYTHING) -> list[Unpriced]:
    """Return the models that have had no price at some time, the most frequent first: totals have no days."""
    known = Filters(
        model=filters.model, exact_model=filters.exact_model, gateway=filters.gateway, operation=filters.operation
    )
    condition = where([Sql("cost_reason = 'no_price'"), *known.conditions(reader.dialect)])
    statement = f"SELECT gateway, model, sum(attempts) FROM pixelmeter_totals {condition.text} GROUP BY gateway, model"
    found = [
        Unpriced(gateway, model, int(number)) for gateway, model, number in reader.rows(statement, condition.parameters)
    ]
    return sorted(found, key=lambda one: (-one.attempts, one.model, one.gateway))


def tag_keys(reader: LedgerReader, since: datetime, until: datetime, filters: Filters = EVERYTHING) -> list[TagUse]:
    """Return each key of the tags in a range, the most frequent first."""
    condition = where([*started_in(since, until, reader.dialect), *filters.conditions(reader.dialect)])
    statement = (
        "SELECT member.key, count(*), count(DISTINCT member.value)"
        f" FROM (SELECT tags FROM {spend(reader)} {condition.text}) AS found,"
        f" {reader.dialect.tag_members}(found.tags) AS member"
        " GROUP BY member.key"
    )
    found = [TagUse(*row) for row in reader.rows(statement, condition.parameters)]
    # Here, because each database has an order of letters of its own.
    return sorted(found, key=lambda one: (-one.attempts, one.tag))


def newest_tags(reader: LedgerReader, since: datetime, until: datetime, *, limit: int) -> list[TagUse]:
    """Return the keys of the tags of so many attempts, the newest of a range; the most frequent first."""
    condition = where(started_in(since, until, reader.dialect))
    newest = f"SELECT tags FROM pixelmeter_attempts {condition.text} ORDER BY started_at DESC LIMIT ?"
    statement = (
        "SELECT member.key, count(*), count(DISTINCT member.value)"
        f" FROM ({newest}) AS found, {reader.dialect.tag_members}(found.tags) AS member GROUP BY member.key"
    )
    found = [TagUse(*row) for row in reader.rows(statement, (*condition.parameters, limit))]
    return sorted(found, key=lambda one: (-one.attempts, one.tag))


def names_in_use(reader: LedgerReader) -> list[tuple[str, str]]:
    """Return the gateways and models that totals are told apart by."""
    return [(str(gateway), str(model)) for gateway, model in reader.rows(_NAMES)]


def routed_at_least(reader: LedgerReader, since: datetime, until: datetime, number: int) -> bool:
    """Return whether a range has so many attempts whose gateway said something of its choice of a model."""
    condition = where([*started_in(since, until, reader.dialect), Sql(f"({ROUTED})")])
    statement = f"SELECT count(*) FROM (SELECT 1 FROM pixelmeter_attempts {condition.text} LIMIT ?) AS found"
    [(found,)] = reader.rows(statement, (*condition.parameters, number))
    return int(found) >= number


def spend(reader: LedgerReader) -> str:
    """Return the relation that has the attempts as they are now, in their columns.

    Without any adjustment that is their table, which takes up to a fifth less time to read.
    """
    return "pixelmeter_spend" if reader.rows("SELECT 1 FROM pixelmeter_adjustments LIMIT 1") else "pixelmeter_attempts"


def started_in(since: datetime | None, until: datetime | None, dialect: Dialect) -> Iterator[Sql]:
    """Yield the conditions on attempts that started in [since, until); None leaves a side open."""
    if since is not None:
        yield Sql("started_at >= ?", (dialect.moment(since),))
    if until is not None:
        yield Sql("started_at < ?", (dialect.moment(until),))


def summed_in(column: str, since: datetime, until: datetime, dialect: Dialect, *, is_of_value: bool = False) -> Sql:
    """Return the condition on the "day" or "hour" of rows of sums that it lies in [since, until).

    Of one value of a tag the days are named one by one. The index has the day before the value, so a range of days
    would read all their values.
    """
    if column == "hour":
        return Sql("hour >= ? AND hour < ?", (dialect.moment(since), dialect.moment(until)))
    number = (until - since).days
    if is_of_value and number <= _MOST_DAYS:
        days = (since + timedelta(days=each) for each in range(number))
        return Sql(f"day IN ({', '.join('?' * number)})", tuple(dialect.midnight(day.date()) for day in days))
    return Sql("day >= ? AND day < ?", (dialect.midnight(since.date()), dialect.midnight(until.date())))


def where(conditions: Iterable[Sql]) -> Sql:
    """Return the WHERE clause of conditions that must all hold; nothing where there are none."""
    every = list(conditions)
    if not every:
        return Sql("", ())
    return Sql(
        f"WHERE {' AND '.join(one.text for one in every)}", tuple(value for one in every for value in one.parameters)
    )
