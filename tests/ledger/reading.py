"""What a test sees in a ledger, through SQLAlchemy and without the code under test."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Date, DateTime, literal_column, select, text

from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.core.labels import error_type, quality_label, size_label
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.core.reporting.pixels import delivered_pixels
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.rollups import DAILY_KEY, HOURLY_KEY, SUMS, TAG_DAILY_KEY, TAG_SUMS
from pixelmeter.ledger.schema import ADJUSTMENTS, ATTEMPTS
from pixelmeter.ledger.sums import DURATIONS, TOTALS_COLUMNS, TOTALS_KEY

Sums = Mapping[tuple[Any, ...], tuple[int, ...]]


def stored(url: str, without: Collection[str] = ()) -> dict[str, Attempt]:
    """Return every row as the attempt that it was made from, by id; those `without` some ids.

    The schema may be an older one, which lacks columns.
    """
    with open_engine(url).connect() as connection:
        there = connection.execute(select(literal_column("*")).select_from(ATTEMPTS).limit(0)).keys()
        columns = [ATTEMPTS.c[name] for name in FIELDS if name in there]
        rows = connection.execute(select(*columns).where(ATTEMPTS.c.id.not_in(without))).mappings().all()
    return {row["id"]: Attempt(**{name: _plain(name, value) for name, value in row.items()}) for row in rows}


def _plain(name: str, value: Any) -> Any:
    if name == "started_at":
        moment: datetime = value.replace(tzinfo=value.tzinfo or UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if name == "tags" and isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
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
    return _added_up(url, "pixelmeter_daily", DAILY_KEY, SUMS)


def hours(url: str) -> Sums:
    """Return the rollup by hour, likewise."""
    return _added_up(url, "pixelmeter_hourly", HOURLY_KEY, SUMS)


def tag_days(url: str) -> Sums:
    """Return the rollup by tags, likewise."""
    return _added_up(url, "pixelmeter_tag_daily", TAG_DAILY_KEY, TAG_SUMS)


def _added_up(url: str, view: str, keys: Sequence[str], sums: Sequence[str]) -> Sums:
    found: dict[tuple[Any, ...], tuple[int, ...]] = {}
    with open_engine(url).connect() as connection:
        statement = text(f"SELECT {', '.join((*keys, *sums))} FROM {view}")
        for row in connection.execute(statement.columns(day=Date, hour=DateTime(timezone=True))).all():
            key, values = tuple(map(_in_utc, row[: len(keys)])), tuple(value or 0 for value in row[len(keys) :])
            found[key] = tuple(map(int.__add__, found.get(key, (0,) * len(sums)), values))
    return {key: values for key, values in found.items() if any(values)}


def _in_utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def recomputed(url: str) -> Sums:
    """Return what the day rollup should be, added up from the rows and their adjustments."""
    return _recomputed(url, lambda one: [(_moment(one).date(), *_key(one))])


def recomputed_hours(url: str) -> Sums:
    """Return what the rollup by hour should be, likewise."""
    return _recomputed(url, lambda one: [(_moment(one).replace(minute=0, second=0, microsecond=0), *_key(one))])


def recomputed_tag_days(url: str) -> Sums:
    """Return what the rollup by tags should be, likewise, without the tags that are wide."""
    with open_engine(url).connect() as connection:
        wide = set(connection.execute(text("SELECT tag FROM pixelmeter_wide_tags")).scalars())

    def keys(one: Attempt) -> list[tuple[Any, ...]]:
        tags = json.loads(one.tags).items()
        day, latency = _moment(one).date(), bucket(one.duration)
        return [(tag, day, value, latency) for tag, value in tags if value and tag not in wide]

    return _recomputed(url, keys, with_tags=True)


def _moment(one: Attempt) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one.started_at)


def _key(one: Attempt) -> tuple[Any, ...]:
    return (one.gateway, one.provider or "", one.operation, one.model, one.outcome, bucket(one.duration))


def _recomputed(url: str, keys: Callable[[Attempt], list[tuple[Any, ...]]], *, with_tags: bool = False) -> Sums:
    sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    names = TAG_SUMS if with_tags else SUMS
    for one in adjusted(url).values():
        pixels = None if one.cost is None else delivered_pixels(one.images, one.size)
        unestimated = one.cost is None and one.at_risk is None and one.billing in ("unknown", "pending")
        failed = one.outcome != "success"
        added = {
            "attempts": 1,
            "calls": int(one.attempt == 0 and one.outcome != "blocked"),
            "images": one.images or 0,
            "cost": one.cost or 0,
            "fee": one.fee or 0,
            "at_risk": one.at_risk or 0,
            "unknown_cost_attempts": int(one.cost is None),
            "duration": one.duration,
            "unestimated_attempts": int(unestimated),
            "unknown_fee_attempts": int(one.fee is None),
            "priced_images": 0 if one.cost is None else one.images or 0,
            "pixels": pixels or 0,
            "pixel_cost": 0 if pixels is None else one.cost or 0,
            "errors": int(one.outcome in ("error", "timeout", "throttled", "rejected")),
            "blocked": int(one.outcome == "blocked"),
            "failure_cost": one.cost or 0 if failed else 0,
            "unknown_failures": int(failed and one.cost is None),
        }
        for key in keys(one):
            sums[key].update(added)
    found = {key: tuple(counted[name] for name in names) for key, counted in sums.items()}
    return {key: values for key, values in found.items() if any(values)}


def totals(url: str) -> Mapping[tuple[str, ...], Mapping[str, int]]:
    """Return the totals by their key, money and time in one number each, without what is 0."""
    found: dict[tuple[str, ...], Mapping[str, int]] = {}
    columns = TOTALS_COLUMNS[len(TOTALS_KEY) :]
    for key, values in _added_up(url, "pixelmeter_totals", TOTALS_KEY, columns).items():
        sums = dict(zip(columns, values, strict=True))
        for name, whole, rest, unit in (
            ("cost", "cost_usd", "cost_nano", 10**9),
            ("at_risk", "at_risk_usd", "at_risk_nano", 10**9),
            ("duration", "duration_s", "duration_us", 10**6),
        ):
            sums[name] = sums.pop(whole) * unit + sums.pop(rest)
        found[key] = {name: value for name, value in sums.items() if value}
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
