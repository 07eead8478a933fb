"""Which rows of the ledger a question is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pixelmeter.ledger.expressions import Sql, like, moment, tag_value
from pixelmeter.ledger.reader import Dialect

__all__ = ["EVERYTHING", "Filters", "started_in", "where"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which attempts to look at; None asks for nothing."""

    model: str | None = None
    """A shell pattern such as "openai/*"."""
    gateway: str | None = None
    operation: str | None = None
    outcome: str | None = None
    status: int | None = None
    call_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def rolled_up(self) -> bool:
        """Whether the day rollup has all that is asked for."""
        return self.status is None and self.call_id is None and not self.tags

    def conditions(self, dialect: Dialect) -> Iterator[Sql]:
        """Yield the conditions on the rows of a table."""
        for name in ("gateway", "operation", "outcome", "status", "call_id"):
            value = getattr(self, name)
            if value is not None:
                yield Sql(f"{name} = ?", (value,))
        if self.model is not None:
            yield like("model", self.model, dialect)
        for key, text in self.tags.items():
            value = tag_value(key, dialect)
            yield Sql(f"{value.text} = ?", (*value.parameters, text))


EVERYTHING = Filters()
"""No condition at all."""


def started_in(since: datetime | None, until: datetime | None, dialect: Dialect) -> Iterator[Sql]:
    """Yield the conditions on attempts that started in [since, until); None leaves a side open."""
    if since is not None:
        yield Sql("started_at >= ?", (moment(since, dialect),))
    if until is not None:
        yield Sql("started_at < ?", (moment(until, dialect),))


def where(conditions: Iterable[Sql]) -> Sql:
    """Return the WHERE clause of conditions that must all hold; nothing where there are none."""
    every = list(conditions)
    if not every:
        return Sql("", ())
    return Sql(
        f"WHERE {' AND '.join(one.text for one in every)}", tuple(value for one in every for value in one.parameters)
    )
