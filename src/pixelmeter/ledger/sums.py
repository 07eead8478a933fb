"""The sums that a ledger keeps beside its attempts: what is added to them, and the totals read back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.counting import AdjustmentKey, AdjustmentTally, Key, Tally, adjustment_tallies, key_of
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.ledger.queries import started_in, where
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.rollups import Row, rolled_up

__all__ = [
    "ADJUSTMENT_TOTALS_COLUMNS",
    "ADJUSTMENT_TOTALS_KEY",
    "DURATIONS",
    "TOTALS_COLUMNS",
    "TOTALS_KEY",
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
_SUMMED = [f"coalesce({name}, 0)" for name in TOTALS_COLUMNS[len(TOTALS_KEY) :]]
_QUERY = f"SELECT {', '.join((*TOTALS_KEY, *_SUMMED))} FROM pixelmeter_totals ORDER BY number"
_ADJUSTED = f"SELECT {', '.join(ADJUSTMENT_TOTALS_COLUMNS)} FROM pixelmeter_adjustment_totals ORDER BY number"
# Attempts that agree in these have the same labels.
_labelled = attrgetter(
    "gateway", "operation", "model", "outcome", "status", "error_type", "error_code", "cost_source", "cost_reason",
    "size", "quality",
)  # fmt: skip


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


_KEY_WIDTH = len(TOTALS_KEY)
_COST, _TOKENS = map(TOTALS_COLUMNS.index, ("cost_usd", "input_text_tokens"))
_MONEY = ADJUSTMENT_TOTALS_COLUMNS.index("cost_up_usd")
_adjustment_key: Callable[[AdjustmentTally], tuple[Any, ...]] = attrgetter(*ADJUSTMENT_TOTALS_KEY)
_before_money = attrgetter(*ADJUSTMENT_TOTALS_COLUMNS[:_MONEY])
_before_cost = attrgetter(*TOTALS_COLUMNS[:_COST])
_tokens = attrgetter(*TOTALS_COLUMNS[_TOKENS : -len(DURATIONS)])


class Delta(NamedTuple):
    """What attempts and adjustments add to the sums of a ledger: one entry for each row that changes."""

    hourly: Sequence[Row]
    tag_daily: Sequence[Row]
    wide: Collection[str]
    """The tags that turn out to be wide, which are to be marked as such in the same transaction."""
    totals: Sequence[Total]
    adjusted: Sequence[AdjustmentTally]


def delta_of(attempts: Sequence[Attempt], changes: Sequence[Change] = (), wide: Collection[str] = ()) -> Delta:
    """Return what attempts and changes of attempts add to the sums, but for the tags that are known to be wide.

    Each attempt is counted once, so their ids must not repeat. A change counts in the hour of its attempt: what the
    attempt was is taken from one row of each rollup, and what it is now added to another. Totals never fall, so they
    stay as they are, and adjustments have totals of their own.
    """
    return Delta(*rolled_up(attempts, changes, wide), _totals(attempts), _adjusted(changes))


def read_totals(reader: LedgerReader) -> list[Total]:
    """Return all totals, in the order in which their combinations of labels came to be."""
    found: dict[tuple[Any, ...], Sequence[Any]] = {}
    for row in reader.rows(_QUERY):
        key = tuple(row[:_KEY_WIDTH])
        known = found.setdefault(key, row)
        if known is not row:
            # What was added since the last merge has a row of its own.
            found[key] = (*key, *map(int.__add__, known[_KEY_WIDTH:], row[_KEY_WIDTH:]))
    return [_total(row) for row in found.values()]


def last_attempt(reader: LedgerReader, before: datetime | None = None) -> int | None:
    """Return the Unix time in microseconds at which the latest attempt was sent, if need be before a moment.

    None where there is none.
    """
    condition = where(started_in(None, before, reader.dialect))
    latest = reader.rows(f"SELECT max(started_at) FROM pixelmeter_attempts {condition.text}", condition.parameters)[0][
        0
    ]
    return None if latest is None else reader.dialect.microseconds(latest)


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
