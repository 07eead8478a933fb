"""What a test sees in a ledger, through SQLAlchemy and without the code under test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select, text

from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.core.labels import error_type, quality_label, size_label
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.schema import ADJUSTMENTS, ATTEMPTS, DAILY, TOTALS
from pixelmeter.ledger.sums import DURATIONS, TOTALS_KEY

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


def adjusted(url: str) -> dict[str, Attempt]:
    """Return every attempt as it is now: what was written, with the latest of its adjustments laid over it."""
    attempts = stored(url)
    for row in sorted(adjustments(url), key=lambda one: int(one["number"])):
        changed = {name: row[name] for name in ADJUSTABLE}
        attempts[row["attempt_id"]] = msgspec.structs.replace(attempts[row["attempt_id"]], **changed)
    return attempts


def adjustments(url: str) -> list[Mapping[str, Any]]:
    """Return every adjustment."""
    with open_engine(url).connect() as connection:
        return [dict(row) for row in connection.execute(select(ADJUSTMENTS)).mappings()]


def viewed(url: str) -> dict[str, dict[str, Any]]:
    """Return what the view of attempts as they are now has of those fields that may change."""
    columns = ", ".join(("id", *ADJUSTABLE))
    with open_engine(url).connect() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM pixelmeter_spend")).mappings().all()
    return {str(row["id"]): {name: row[name] for name in ADJUSTABLE} for row in rows}


def rollup(url: str) -> Sums:
    """Return the day rollup: its sums by its key, without rows that all attempts have left."""
    width = len(DAILY.primary_key)
    with open_engine(url).connect() as connection:
        rows = connection.execute(select(DAILY)).all()
    return {tuple(row[:width]): tuple(row[width:]) for row in rows if any(row[width:])}


def recomputed(url: str) -> Sums:
    """Return what the day rollup should be, added up from the rows and their adjustments."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 8)
    for one in adjusted(url).values():
        day: date = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one.started_at)).date()
        key = (day, one.gateway, one.provider or "", one.operation, one.model, one.outcome, bucket(one.duration))
        added = (
            1,
            int(one.attempt == 0 and one.outcome != "blocked"),
            one.images or 0,
            one.cost or 0,
            one.fee or 0,
            one.at_risk or 0,
            int(one.cost is None),
            one.duration,
        )
        sums[key] = [old + new for old, new in zip(sums[key], added, strict=True)]
    return {key: tuple(values) for key, values in sums.items()}


def totals(url: str) -> Mapping[tuple[str, ...], Mapping[str, int]]:
    """Return the totals by their key, money and time in one number each, without what is 0."""
    with open_engine(url).connect() as connection:
        rows = connection.execute(select(TOTALS)).mappings().all()
    found: dict[tuple[str, ...], Mapping[str, int]] = {}
    for row in rows:
        sums = {name: row[name] for name in row if name not in ("number", *TOTALS_KEY)}
        for name, whole, rest, unit in (
            ("cost", "cost_usd", "cost_nano", 10**9),
            ("at_risk", "at_risk_usd", "at_risk_nano", 10**9),
            ("duration", "duration_s", "duration_us", 10**6),
        ):
            sums[name] = sums.pop(whole) * unit + sums.pop(rest)
        found[tuple(row[name] for name in TOTALS_KEY)] = {name: value for name, value in sums.items() if value}
    return found


def recomputed_totals(url: str) -> Mapping[tuple[str, ...], Mapping[str, int]]:
    """Return what the totals should be, added up from the rows."""
    sums: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for one in stored(url).values():
        reason = one.cost_reason or "" if one.cost is None else ""
        key = (one.gateway, one.operation, one.model, one.outcome, error_type(one), one.cost_source, reason,
               size_label(one), quality_label(one))  # fmt: skip
        within = [name for bound, name in zip(DURATION_BUCKETS, DURATIONS, strict=False) if one.duration <= bound * 1e6]
        written = one.input_text_tokens or 0
        cached = min(one.cached_input_tokens or 0, written)
        if one.outcome == "blocked":
            sums[key] += Counter({"attempts": 1})
            continue
        sums[key] += Counter(
            {
                "attempts": 1,
                "retries": int(one.attempt > 0),
                "images": one.images or 0,
                "cost": one.cost or 0,
                "at_risk": one.at_risk or 0,
                "unknown_cost_attempts": int(one.cost is None),
                "duration": one.duration,
                "input_text_tokens": written - cached,
                "cached_input_tokens": cached,
                "input_image_tokens": one.input_image_tokens or 0,
                "output_text_tokens": one.output_text_tokens or 0,
                "output_image_tokens": one.output_image_tokens or 0,
                [*within, DURATIONS[-1]][0]: 1,
            }
        )
    return sums
