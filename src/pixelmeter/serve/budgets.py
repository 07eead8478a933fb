"""The budgets of a ledger as gauges: how far each is used up in its present span."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.budgets.state import State
from pixelmeter.core.labels import OTHER
from pixelmeter.core.metrics import METRICS
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.reports.budgets import Overview, overviews
from pixelmeter.sinks.series import label

__all__ = ["OF_BUDGETS", "BudgetGauges", "Standing", "standings"]

OF_BUDGETS = tuple(metric for metric in METRICS if metric.name.startswith("pixelmeter_budget_"))
"""What is shown of each budget."""

_OVERRUN = "SELECT coalesce(sum(overrun), 0) FROM pixelmeter_budget_sums WHERE budget = ? AND starts_at = ?"


class Standing(NamedTuple):
    """A budget in its present span."""

    name: str
    state: State
    """Of the value that is used most, where the budget has one each."""
    over: int
    """How many values have spent the limit."""
    overrun: int
    """Nano-dollars, of all values."""


def standings(reader: LedgerReader, at: int) -> list[Standing]:
    """Return the budgets of a ledger as of a Unix time in microseconds, by name."""
    return [_standing(reader, one, at) for one in overviews(reader, at, values=1)]


class BudgetGauges:
    """Remembers which budgets have series of their own: the first that came, as many as there is room for.

    All others are `budget="other"`, which shows the one of them that is used most.
    """

    def __init__(self, room: int) -> None:
        """`room` is a number of series."""
        self._most = max(room // len(OF_BUDGETS) - 1, 0)
        self._named: set[str] = set()

    def families(self, found: Iterable[Standing]) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        shown: dict[str, list[Standing]] = {}
        for one in found:
            shown.setdefault(self._label(one.name), []).append(one)
        of_each = [(name, dict(_numbers(these))) for name, these in shown.items()]
        for metric in OF_BUDGETS:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for name, numbers in of_each:
                if metric.name in numbers:
                    family.add_metric((name,), numbers[metric.name])
            yield family

    def _label(self, name: str) -> str:
        named = label(name)
        if named not in self._named:
            if named == OTHER or len(self._named) >= self._most:
                return OTHER
            self._named.add(named)
        return named


def _standing(reader: LedgerReader, one: Overview, at: int) -> Standing:
    dialect = reader.dialect
    [(overrun,)] = reader.rows(_OVERRUN, (one.rule.name, dialect.moment(moment_of(one.span.start))))
    # One that has a value each has none before anything counts.
    state = one.states[0] if one.states else State(rule=one.rule, value="", span=one.span, at=at)
    return Standing(one.rule.name, state, one.used_up, int(overrun))


def _numbers(these: Sequence[Standing]) -> Iterator[tuple[str, float]]:
    """Yield what is shown of a budget, or of several as one; what is not known is left out."""
    state = max((one.state for one in these), key=_use)
    is_known = state.known_spent is not None
    numbers = {
        "limit_usd": state.limit / NANO_PER_USD,
        "spent_usd": state.spent / NANO_PER_USD if is_known else None,
        "reserved_usd": state.reserved / NANO_PER_USD,
        "used_ratio": state.used if is_known else None,
        "forecast_usd": state.forecast / NANO_PER_USD if is_known and state.forecast is not None else None,
        "overrun_usd": sum(one.overrun for one in these) / NANO_PER_USD,
        "values_over": sum(one.over for one in these),
        "reset_timestamp_seconds": None if state.span.end is None else state.span.end / 1e6,
    }
    for name, number in numbers.items():
        if number is not None:
            yield f"pixelmeter_budget_{name}", number


def _use(state: State) -> tuple[float, int]:
    return (-1 if state.used is None else state.used, state.spent)
