"""Which rows of the ledger a question is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Table

from pixelmeter.ledger.expressions import matches, tag_value
from pixelmeter.ledger.schema import ATTEMPTS

__all__ = ["EVERYTHING", "Filters", "started_in"]


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

    def conditions(self, table: Table, dialect: str) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on the rows of a table."""
        for name in ("gateway", "operation", "outcome", "status", "call_id"):
            value = getattr(self, name)
            if value is not None:
                yield table.c[name] == value
        if self.model is not None:
            yield matches(table.c.model, self.model)
        for key, text in self.tags.items():
            yield tag_value(key, dialect) == text


EVERYTHING = Filters()
"""No condition at all."""


def started_in(since: datetime | None, until: datetime | None) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on attempts that started in [since, until); None leaves a side open."""
    if since is not None:
        yield ATTEMPTS.c.started_at >= since.astimezone(UTC)
    if until is not None:
        yield ATTEMPTS.c.started_at < until.astimezone(UTC)
