"""What is exported: the columns of each table, under the names and in the units that `pixelmeter calls` has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from pixelmeter.core.attempts.adjustment import Adjustment
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.listing import OF_PROGRAMS
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.text import exact_usd
from pixelmeter.ledger import exports
from pixelmeter.ledger.exports import Source

__all__ = ["ADJUSTMENTS", "ATTEMPTS", "TABLES", "Column", "Kind", "Table", "TableName", "as_text"]

TableName = Literal["attempts", "adjustments"]
Kind = Literal["text", "name", "integer", "money", "seconds", "moment", "flag", "tags", "json"]
"""A `name` is text of which there are few, money is integer nano-dollars, seconds and moments integer microseconds."""

_MICROSECONDS_PER_SECOND = 1_000_000
# All other text names one of a few things.
_TEXTS = {"id", "call_id", "attempt_id", "request_id", "trace_id", "job_id", "reported_text", "why"}
_KINDS: dict[str, Kind] = {
    "started_at": "moment",
    "made_at": "moment",
    "byok": "flag",
    "tags": "tags",
    "priced_parts": "json",
}


class Column(NamedTuple):
    """A column of an export."""

    name: str
    kind: Kind
    is_known: bool
    """Whether every row has a value."""


class Table(NamedTuple):
    """A table of the ledger as it is exported; its columns are those of its source, in the same order."""

    name: TableName
    source: Source
    columns: tuple[Column, ...]

    def place(self, name: str) -> int:
        """Return where in a row a column of the ledger is."""
        return self.source.columns.index(name)


def _column(name: str) -> Column:
    field = name.removesuffix("_before")
    annotated = str((Adjustment.__annotations__ | Attempt.__annotations__)[field])
    named = "job_duration_seconds" if field == "job_duration" else OF_PROGRAMS.get(field, field)
    if name != field:
        named = f"{name}{named.removeprefix(field)}"
    is_known = "None" not in annotated
    if field in _KINDS:
        return Column(named, _KINDS[field], is_known)
    if named.endswith("_usd"):
        return Column(named, "money", is_known)
    if named.endswith("_seconds"):
        return Column(named, "seconds", is_known)
    if annotated.startswith("Integer"):
        return Column(named, "integer", is_known)
    return Column(named, "text" if field in _TEXTS else "name", is_known)


def _table(name: TableName, source: Source) -> Table:
    return Table(name, source, tuple(map(_column, source.columns)))


ATTEMPTS = _table("attempts", exports.ATTEMPTS)
"""One row an attempt, as it is now."""
ADJUSTMENTS = _table("adjustments", exports.ADJUSTMENTS)
"""One row an adjustment: who changed what of which attempt, when and why."""
TABLES: dict[TableName, Table] = {"attempts": ATTEMPTS, "adjustments": ADJUSTMENTS}


def as_text(kind: Kind) -> Callable[[Any], str]:
    """Return what makes the text of a value: exact USD, seconds with their microseconds, ISO 8601 in UTC."""
    return _TEXTS_OF.get(kind, str)


def _moment(microseconds: int) -> str:
    return f"{moment_of(microseconds).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _seconds(microseconds: int) -> str:
    return repr(microseconds / _MICROSECONDS_PER_SECOND)


def _flag(value: bool) -> str:
    return "true" if value else "false"


_TEXTS_OF: dict[Kind, Callable[[Any], str]] = {
    "money": exact_usd,
    "moment": _moment,
    "seconds": _seconds,
    "flag": _flag,
}
