"""What a test sees in a ledger, through SQLAlchemy and without the code under test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from pixelmeter.core.latency import bucket
from pixelmeter.core.record import FIELDS, Attempt
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.schema import ATTEMPTS, DAILY

Sums = Mapping[tuple[Any, ...], tuple[int, ...]]


def stored(url: str) -> dict[str, Attempt]:
    """Return every row as the attempt that it was made from, by id."""
    with open_engine(url).connect() as connection:
        rows = connection.execute(select(ATTEMPTS)).mappings().all()
    return {row["id"]: Attempt(**{name: _plain(name, row[name]) for name in FIELDS}) for row in rows}


def _plain(name: str, value: Any) -> Any:
    if name == "started_at":
        moment: datetime = value.replace(tzinfo=value.tzinfo or UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if name == "tags" and isinstance(value, dict):
        return "{" + ",".join(f'"{key}":"{value[key]}"' for key in sorted(value)) + "}"
    return value


def rollup(url: str) -> Sums:
    """Return the day rollup: its sums by its key."""
    width = len(DAILY.primary_key)
    with open_engine(url).connect() as connection:
        rows = connection.execute(select(DAILY)).all()
    return {tuple(row[:width]): tuple(row[width:]) for row in rows}


def recomputed(url: str) -> Sums:
    """Return what the day rollup should be, added up from the rows."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 8)
    for one in stored(url).values():
        day: date = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one.started_at)).date()
        key = (day, one.gateway, one.provider or "", one.operation, one.model, one.outcome, bucket(one.duration))
        added = (
            1,
            int(one.attempt == 0),
            one.images or 0,
            one.cost or 0,
            one.fee or 0,
            one.at_risk or 0,
            int(one.cost is None),
            one.duration,
        )
        sums[key] = [old + new for old, new in zip(sums[key], added, strict=True)]
    return {key: tuple(values) for key, values in sums.items()}
