"""The tables of sums, and of what is added to them on PostgreSQL. They are asked by the views of `views.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Identity,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

from pixelmeter.ledger.rollups import SUMS, TAG_SUMS
from pixelmeter.ledger.sums import DURATIONS, TOTALS_KEY
from pixelmeter.ledger.types import BIG, METADATA

__all__ = ["DAILY", "DELTAS", "HOURLY", "TAG_DAILY", "TOTALS", "WIDE_TAGS", "store_as_it_is"]

_JSON = Text().with_variant(postgresql.JSON(), "postgresql")

# On SQLite a row is in the index of its key, and nowhere else: there is half as much to write.
_IN_ITS_INDEX: dict[str, Any] = {"sqlite_with_rowid": False}


def _texts(*names: str) -> Iterable[Column[str]]:
    return [Column(name, Text, primary_key=True) for name in names]


def _sums(names: Iterable[str]) -> Iterable[Column[int]]:
    return [Column(name, BIG, nullable=False) for name in names]


def _latency() -> Column[int]:
    return Column("latency_bucket", SmallInteger, primary_key=True, autoincrement=False)


DAILY = Table(
    "pixelmeter_daily_merged",
    METADATA,
    Column("day", Date, primary_key=True),
    *_texts("gateway", "provider", "operation", "model", "outcome"),
    _latency(),
    *_sums(SUMS[:8]),
    # SQLite adds no column to a table without a value for the rows that are there.
    *(Column(name, BIG, nullable=False, server_default=text("0")) for name in SUMS[8:]),
)
"""Sums by UTC day and by latency bucket (`pixelmeter.core.reporting.latency`), so that the rollup is its own histogram.

`provider` is "" where the row has NULL; `calls` counts the attempts numbered 0 that were sent; `cost`, `fee` and
`at_risk` add up what is known, and `unknown_cost_attempts` counts the rows whose cost is NULL.
"""

HOURLY = Table(
    "pixelmeter_hourly_merged",
    METADATA,
    Column("hour", DateTime(timezone=True), primary_key=True),
    *_texts("gateway", "provider", "operation", "model", "outcome"),
    _latency(),
    *_sums(SUMS),
    **_IN_ITS_INDEX,
)
"""The same sums by whole UTC hours."""

TAG_DAILY = Table(
    "pixelmeter_tag_daily_merged",
    METADATA,
    *_texts("tag"),
    Column("day", Date, primary_key=True),
    *_texts("value"),
    _latency(),
    *_sums(TAG_SUMS),
    **_IN_ITS_INDEX,
)
"""Sums by UTC day and by the value of each tag, but for those of WIDE_TAGS."""

WIDE_TAGS = Table(
    "pixelmeter_wide_tags",
    METADATA,
    *_texts("tag"),
    Column("found_at", DateTime(timezone=True), nullable=False),
)
"""The tags that have too many values for a rollup (`pixelmeter.ledger.wide_tags`). Rows stay."""

TOTALS = Table(
    "pixelmeter_totals_merged",
    METADATA,
    Column("number", BIG, Identity(always=True), primary_key=True),
    *(Column(name, Text, nullable=False) for name in TOTALS_KEY),
    *_sums(("attempts", "retries", "images", "cost_usd", "cost_nano", "at_risk_usd", "at_risk_nano")),
    *_sums(("unknown_cost_attempts", "duration_s", "duration_us", "input_text_tokens", "cached_input_tokens")),
    *_sums(("input_image_tokens", "output_text_tokens", "output_image_tokens", *DURATIONS)),
    UniqueConstraint(*TOTALS_KEY, name="pixelmeter_totals_key"),
)
"""Sums since the ledger began, by the labels of metrics (`pixelmeter.core.labels`), from which counters are read.

`number` grows with each new key, so what came first can be told. `cost_reason` is "" where the cost is known, and
`input_text_tokens` are those that were not cached. Money and time are in two columns each, to be added up, because
sums of years may not fit into one of 64 bits. The columns of DURATIONS count attempts: each that was sent is in one.
"""

DELTAS = Table(
    "pixelmeter_deltas",
    METADATA,
    Column("id", BIG, Identity(always=True), primary_key=True),
    Column("hourly", _JSON, nullable=False),
    Column("tag_daily", _JSON, nullable=False),
    Column("totals", _JSON, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("is_apart", Boolean, nullable=False),
)
"""What commits have added to the sums of a PostgreSQL ledger and nobody has merged yet: one row a commit.

The arrays are as `pixelmeter.ledger.deltas` has them. So no commit waits for another one's rows. `is_apart` is true
where merging failed. Nothing is here on SQLite, where one writes at a time.
"""


def store_as_it_is(connection: Connection, schema: str | None) -> None:
    """Have PostgreSQL not compress the deltas: they are gone so soon that it costs more than the room they take."""
    if connection.dialect.name != "postgresql":
        return
    table = DELTAS.name if schema is None else f'"{schema}".{DELTAS.name}'
    for column in DELTAS.columns:
        if column.type is _JSON:
            connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN {column.name} SET STORAGE EXTERNAL")
