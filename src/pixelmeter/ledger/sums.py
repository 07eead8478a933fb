"""The sums that a ledger keeps beside its attempts: what is added to them, and the totals read back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, NANO_PER_USD, Attempt
from pixelmeter.core.counting import AdjustmentKey, AdjustmentTally, Key, Tally, adjustment_tallies, key_of
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.ledger.reader import LedgerReader

__all__ = [
    "ADJUSTMENT_TOTALS_COLUMNS",
    "ADJUSTMENT_TOTALS_KEY",
    "DAILY_COLUMNS",
    "DURATIONS",
    "TOTALS_COLUMNS",
    "TOTALS_KEY",
    "DaySums",
    "Delta",
    "Total",
    "adjustment_row",
    "delta_of",
    "last_attempt",
    "read_adjustment_totals",
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

ADJUSTMENT_TOTALS_KEY = AdjustmentKey._fields
"""What counters of adjustments are told apart by."""
ADJUSTMENT_TOTALS_COLUMNS = (
    *ADJUSTMENT_TOTALS_KEY, "adjustments", "jobs", "images", "cost_up_usd", "cost_up_nano", "cost_down_usd",
    "cost_down_nano", "at_risk_up_usd", "at_risk_up_nano", "at_risk_down_usd", "at_risk_down_nano",
)  # fmt: skip
"""The columns of an `adjustment_row`, in order, which is that of the table."""

_BOUNDS = [round(bound * 1e6) for bound in DURATION_BUCKETS]
_MICROSECONDS = 1_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_QUERY = f"SELECT {', '.join(TOTALS_COLUMNS)} FROM pixelmeter_totals ORDER BY number"
_ADJUSTED = f"SELECT {', '.join(ADJUSTMENT_TOTALS_COLUMNS)} FROM pixelmeter_adjustment_totals ORDER BY number"
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
    """Attempts by the buckets of `core.metrics.DURATION_BUCKETS`, each counted once, and those that took longer.

    Those that a budget refused are in none: nothing was sent.
    """

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
_MONEY = ADJUSTMENT_TOTALS_COLUMNS.index("cost_up_usd")
_adjustment_key: Callable[[AdjustmentTally], tuple[Any, ...]] = attrgetter(*ADJUSTMENT_TOTALS_KEY)
_before_money = attrgetter(*ADJUSTMENT_TOTALS_COLUMNS[:_MONEY])
_before_cost = attrgetter(*TOTALS_COLUMNS[:_COST])
_tokens = attrgetter(*TOTALS_COLUMNS[_TOKENS : -len(DURATIONS)])


class Delta(NamedTuple):
    """What attempts and adjustments add to the sums of a ledger: one entry for each row that changes."""

    daily: Sequence[DaySums]
    totals: Sequence[Total]
    adjusted: Sequence[AdjustmentTally]


def delta_of(attempts: Sequence[Attempt], changes: Sequence[Change] = ()) -> Delta:
    """Return what attempts and changes of attempts add to the sums.

    Each attempt is counted once, so their ids must not repeat. A change counts on the day of its attempt: what the
    attempt was is taken from one row of the day rollup, and what it is now added to another. Totals never fall, so they
    stay as they are, and adjustments have totals of their own.
    """
    days: _Days = {}
    for attempt in attempts:
        _add_to_day(days, attempt, 1)
    for change in changes:
        _add_to_day(days, change.before, -1)
        _add_to_day(days, change.after, 1)
    return Delta(list(days.values()), _totals(attempts), _adjusted(changes))


def read_totals(reader: LedgerReader) -> list[Total]:
    """Return all totals, in the order in which their combinations of labels came to be."""
    return [_total(row) for row in reader.rows(_QUERY)]


def last_attempt(reader: LedgerReader) -> int | None:
    """Return the Unix time in microseconds at which the latest attempt was sent; None in an empty ledger."""
    latest = reader.rows("SELECT max(started_at) FROM pixelmeter_attempts")[0][0]
    return None if latest is None else reader.dialect.microseconds(latest)


_Days = dict[tuple[object, ...], DaySums]


def _add_to_day(days: _Days, one: Attempt, sign: int) -> None:
    day = one.started_at // MICROSECONDS_PER_DAY
    provider = one.provider or ""
    latency = bucket(one.duration)
    key = (day, one.gateway, provider, one.operation, one.model, one.outcome, latency)
    sums = days.get(key)
    if sums is None:
        # As text: where the clock is stopped for a test, a date is of a class that JSON does not know.
        text = date.fromordinal(_EPOCH_DAY + day).isoformat()
        sums = days[key] = DaySums(text, one.gateway, provider, one.operation, one.model, one.outcome, latency)
    # Written out, because a tenth of a writer's CPU is spent here.
    sums.attempts += sign
    if not one.attempt and one.outcome != "blocked":
        sums.calls += sign
    if one.images:
        sums.images += sign * one.images
    if one.cost is None:
        sums.unknown_cost_attempts += sign
    else:
        sums.cost += sign * one.cost
    if one.fee:
        sums.fee += sign * one.fee
    if one.at_risk:
        sums.at_risk += sign * one.at_risk
    sums.duration += sign * one.duration


def _adjusted(changes: Iterable[Change]) -> list[AdjustmentTally]:
    found: dict[tuple[Any, ...], AdjustmentTally] = {}
    for change in changes:
        for tally in adjustment_tallies(change):
            key = _adjustment_key(tally)
            found.setdefault(key, AdjustmentTally(*key)).add(tally)
    return list(found.values())


def adjustment_row(tally: AdjustmentTally) -> tuple[Any, ...]:
    """Return the values of ADJUSTMENT_TOTALS_COLUMNS, money split into two columns each."""
    return (
        *_before_money(tally),
        *divmod(tally.cost_up, NANO_PER_USD),
        *divmod(tally.cost_down, NANO_PER_USD),
        *divmod(tally.at_risk_up, NANO_PER_USD),
        *divmod(tally.at_risk_down, NANO_PER_USD),
    )


def read_adjustment_totals(reader: LedgerReader) -> list[AdjustmentTally]:
    """Return what adjustments have added and taken since the ledger began, in the order in which their keys came."""
    return [_adjustment_tally(row) for row in reader.rows(_ADJUSTED)]


def _adjustment_tally(row: Sequence[Any]) -> AdjustmentTally:
    known, money = row[:_MONEY], row[_MONEY:]
    amounts = (dollars * NANO_PER_USD + nano for dollars, nano in zip(money[::2], money[1::2], strict=True))
    return AdjustmentTally(*known, *amounts)


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
        if one.outcome != "blocked":
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
