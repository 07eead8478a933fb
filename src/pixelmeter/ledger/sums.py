"""The sums that a ledger keeps beside its attempts: what is added to them, and the totals read back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, NANO_PER_USD, Attempt
from pixelmeter.core.counting import Key, Tally, key_of
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.ledger.reader import LedgerReader

__all__ = [
    "DAILY_COLUMNS",
    "DURATIONS",
    "TOTALS_COLUMNS",
    "TOTALS_KEY",
    "DaySums",
    "Delta",
    "Total",
    "delta_of",
    "last_attempt",
    "read_totals",
]

TOTALS_KEY = Key._fields
"""What metrics are told apart by; one row of totals is one combination."""
DURATIONS = (
    *(f"up_to_{bound:g}_s".replace(".", "_") for bound in DURATION_BUCKETS),
    f"over_{DURATION_BUCKETS[-1]:g}_s",
)
"""A column for each bucket of `core.metrics.DURATION_BUCKETS`, and one for what takes longer."""

TOTALS_COLUMNS = (
    *TOTALS_KEY, "attempts", "retries", "images", "cost_usd", "cost_nano", "at_risk_usd", "at_risk_nano",
    "unknown_cost_attempts", "duration_s", "duration_us", "input_text_tokens", "cached_input_tokens",
    "input_image_tokens", "output_text_tokens", "output_image_tokens", *DURATIONS,
)  # fmt: skip
"""The columns of a `Total.row`, in order, which is that of the table."""

_BOUNDS = [round(bound * 1e6) for bound in DURATION_BUCKETS]
_MICROSECONDS = 1_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_QUERY = f"SELECT {', '.join(TOTALS_COLUMNS)} FROM pixelmeter_totals ORDER BY number"
# Attempts that agree in these have the same labels.
_labelled = attrgetter(
    "gateway", "operation", "model", "outcome", "status", "error_type", "error_code", "cost_source", "cost_reason",
    "size", "quality",
)  # fmt: skip


@dataclass(slots=True)
class DaySums:
    """What is added to one row of the day rollup: its key, then its sums, in the order of the table's columns."""

    day: str
    """The UTC day, such as "2026-05-17"."""
    gateway: str
    provider: str
    operation: str
    model: str
    outcome: str
    latency_bucket: int
    attempts: int = 0
    calls: int = 0
    images: int = 0
    cost: int = 0
    fee: int = 0
    at_risk: int = 0
    unknown_cost_attempts: int = 0
    duration: int = 0

    def row(self) -> tuple[Any, ...]:
        """Return the values of DAILY_COLUMNS."""
        found: tuple[Any, ...] = _day_row(self)
        return found


DAILY_COLUMNS = tuple(one.name for one in fields(DaySums))
"""The columns of a `DaySums.row`, in order, which is that of the table."""

_day_row = attrgetter(*DAILY_COLUMNS)


@dataclass(slots=True)
class Total(Tally):
    """The sums of one combination of labels; money in nano-dollars, time in microseconds."""

    durations: list[int] = field(default_factory=lambda: [0] * len(DURATIONS))
    """Attempts by the buckets of `core.metrics.DURATION_BUCKETS`, each counted once, and those that took longer."""

    def row(self) -> tuple[Any, ...]:
        """Return the values of TOTALS_COLUMNS, money and time split into two columns each."""
        return (
            *_before_cost(self),
            *divmod(self.cost, NANO_PER_USD),
            *divmod(self.at_risk, NANO_PER_USD),
            self.unknown_cost_attempts,
            *divmod(self.duration, _MICROSECONDS),
            *_tokens(self),
            *self.durations,
        )


_COST, _TOKENS = map(TOTALS_COLUMNS.index, ("cost_usd", "input_text_tokens"))
_before_cost = attrgetter(*TOTALS_COLUMNS[:_COST])
_tokens = attrgetter(*TOTALS_COLUMNS[_TOKENS : -len(DURATIONS)])


class Delta(NamedTuple):
    """What a group of attempts adds to the sums of a ledger: one entry for each row that changes."""

    daily: Sequence[DaySums]
    totals: Sequence[Total]


def delta_of(attempts: Sequence[Attempt]) -> Delta:
    """Return what attempts add to the sums; each is counted once, so their ids must not repeat."""
    return Delta(_daily(attempts), _totals(attempts))


def read_totals(reader: LedgerReader) -> list[Total]:
    """Return all totals, in the order in which their combinations of labels came to be."""
    return [_total(row) for row in reader.rows(_QUERY)]


def last_attempt(reader: LedgerReader) -> int | None:
    """Return the Unix time in microseconds at which the latest attempt was sent; None in an empty ledger."""
    latest = reader.rows("SELECT max(started_at) FROM pixelmeter_attempts")[0][0]
    return None if latest is None else reader.dialect.microseconds(latest)


def _daily(attempts: Iterable[Attempt]) -> list[DaySums]:
    found: dict[tuple[object, ...], DaySums] = {}
    for one in attempts:
        day = one.started_at // MICROSECONDS_PER_DAY
        provider = one.provider or ""
        latency = bucket(one.duration)
        key = (day, one.gateway, provider, one.operation, one.model, one.outcome, latency)
        sums = found.get(key)
        if sums is None:
            # As text: where the clock is stopped for a test, a date is of a class that JSON does not know.
            text = date.fromordinal(_EPOCH_DAY + day).isoformat()
            sums = found[key] = DaySums(text, one.gateway, provider, one.operation, one.model, one.outcome, latency)
        # Written out, because a tenth of a writer's CPU is spent here.
        sums.attempts += 1
        if not one.attempt:
            sums.calls += 1
        if one.images:
            sums.images += one.images
        if one.cost is None:
            sums.unknown_cost_attempts += 1
        else:
            sums.cost += one.cost
        if one.fee:
            sums.fee += one.fee
        if one.at_risk:
            sums.at_risk += one.at_risk
        sums.duration += one.duration
    return list(found.values())


def _totals(attempts: Iterable[Attempt]) -> list[Total]:
    found: dict[Key, Total] = {}
    # Labels are worked out once for attempts that are alike, those of known and those of unknown cost.
    of_known_cost: dict[tuple[object, ...], Total] = {}
    of_unknown_cost: dict[tuple[object, ...], Total] = {}
    for one in attempts:
        alike = of_unknown_cost if one.cost is None else of_known_cost
        labelled = _labelled(one)
        total = alike.get(labelled)
        if total is None:
            key = key_of(one)
            total = found.get(key)
            if total is None:
                total = found[key] = Total(*key)
            alike[labelled] = total
        total.add(one)
        total.durations[bisect_left(_BOUNDS, one.duration)] += 1
    return list(found.values())


def _total(row: Sequence[Any]) -> Total:
    # By position: a scrape does this for every row, and names are looked up one by one.
    dollars, nano, at_risk_dollars, at_risk_nano, unknown, seconds, microseconds = row[_COST:_TOKENS]
    values: tuple[Any, ...] = (
        *row[:_COST],
        dollars * NANO_PER_USD + nano,
        at_risk_dollars * NANO_PER_USD + at_risk_nano,
        unknown,
        seconds * _MICROSECONDS + microseconds,
        *row[_TOKENS : -len(DURATIONS)],
        list(row[-len(DURATIONS) :]),
    )
    return Total(*values)
