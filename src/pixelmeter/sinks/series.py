"""Which label sets a view may show: a budget of series, so that names from outside cannot mint more and more of them.

Names (gateways and models) get series of their own first come, first served, as long as there is room; after that
`model="other"`, then `gateway="other"` as well. Room for the last of these is set aside from the start, so that there
always is a place to count an attempt in.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import get_args

from pixelmeter.core.attempts.billing import UNKNOWN
from pixelmeter.core.attempts.record import OUTCOMES
from pixelmeter.core.labels import ENDINGS, OTHER, Direction, Modality
from pixelmeter.core.metrics import Metric
from pixelmeter.core.text import bounded
from pixelmeter.errors import ConfigError

__all__ = [
    "DEFAULT_LIMIT", "START", "START_OF_JOBS", "Labels", "Series", "label", "series_per_label_set", "set_aside",
]  # fmt: skip

Labels = tuple[str, ...]

DEFAULT_LIMIT = 2000
"""Series of one process, as its exposition shows them."""

START: tuple[tuple[str, Labels], ...] = (
    ("pixelmeter_requests_total", ("success", "")),
    ("pixelmeter_requests_total", ("error", "server")),
    ("pixelmeter_requests_total", ("error", "connection")),
    ("pixelmeter_requests_total", ("timeout", "timeout")),
    ("pixelmeter_requests_total", ("throttled", "throttled")),
    ("pixelmeter_requests_total", ("rejected", "invalid_request")),
    ("pixelmeter_requests_total", ("rejected", "moderation")),
    ("pixelmeter_retries_total", ()),
    ("pixelmeter_request_duration_seconds", ("success",)),
    ("pixelmeter_time_to_first_byte_seconds", ()),
    ("pixelmeter_cost_usd_total", ("reported",)),
    ("pixelmeter_cost_usd_total", ("priced",)),
    ("pixelmeter_at_risk_usd_total", ()),
    ("pixelmeter_unknown_cost_requests_total", ("no_price",)),
)
"""The series that start at 0 as soon as a gateway, operation and model are seen, by the labels after those three.

`increase()` does not see the step with which a series is born, and alerts watch these.
"""

START_OF_JOBS: tuple[tuple[str, Labels], ...] = (
    ("pixelmeter_jobs_total", ("success",)),
    ("pixelmeter_adjustments_usd_total", ("job", "up")),
    ("pixelmeter_at_risk_adjustments_usd_total", ("job", "down")),
)
"""Those that start at 0 as soon as a gateway, operation and model have a job, which then ends some time later."""

_TEXT_LIMIT = 100
_OPEN = (OTHER,)
# The values that a label keeps in the series that are set aside. Any other value is counted as the last of these.
_KEPT: Mapping[str, Labels] = {
    "operation": ("generate", "edit", OTHER),
    "outcome": OUTCOMES,
    "error_type": ("", OTHER),
    "cost_source": ("reported", "priced"),
    "direction": get_args(Direction),
    "modality": get_args(Modality),
    "kind": ("requests",),
}
# Where a label of these names has other values than in other metrics.
_KEPT_OF: Mapping[str, Mapping[str, Labels]] = {
    "pixelmeter_jobs_total": {"outcome": ("success", "rejected", "cancelled", "timeout", "error")},
    "pixelmeter_adjustments_usd_total": {"kind": ("job", OTHER), "direction": ("up", "down")},
    "pixelmeter_at_risk_adjustments_usd_total": {"kind": ("job", OTHER), "direction": ("up", "down")},
}
_NAMED = {"gateway", "operation", "model"}
_KEPT_OF_HISTOGRAMS: Mapping[str, Labels] = {**_KEPT, "outcome": ("success", OTHER)}
# Label sets that are set aside whole, under gateway and model "other": alerts may go by the reason.
_KEPT_WHOLE: Mapping[str, Sequence[Labels]] = {
    "pixelmeter_requests_total": ENDINGS,
    "pixelmeter_unknown_cost_requests_total": [(reason,) for reason in UNKNOWN],
}
# Names get at most this share of the room, those without a price at most the second one. The rest is for further label
# sets of names that are shown.
_NAMES_SHARE = 0.75
_UNPRICED_SHARE = 0.5


def label(value: str) -> str:
    """Return the text of a label: printable, at most 100 characters."""
    return bounded(value, _TEXT_LIMIT) or ""


def set_aside(metrics: Sequence[Metric]) -> int:
    """Return for how many series of such metrics there always is room."""
    return Series(metrics, sys.maxsize).used


def series_per_label_set(metric: Metric) -> int:
    """Return how many series one label set takes; a histogram has one a bucket, and `+Inf`, the sum and the count."""
    return len(metric.buckets) + 3 if metric.kind == "histogram" else 1


class Series:
    """The label sets that are shown. Sets are only ever added, so what was counted in one stays there."""

    def __init__(self, metrics: Sequence[Metric], limit: int = DEFAULT_LIMIT, *, taken: int = 0) -> None:
        """Set aside what must always have room; ConfigError where the limit is below that.

        So many of the series up to the limit are `taken` by others.
        """
        self._needs = {metric.name: series_per_label_set(metric) for metric in metrics}
        kinds = {metric.name: metric.kind for metric in metrics}
        self._start = [(name, rest) for name, rest in START if name in kinds]
        self._start_of_other = [(name, rest) for name, rest in self._start if kinds[name] != "histogram"]
        self._limit = limit
        self._names: set[Labels] = set()
        self._placed: set[tuple[str, Labels]] = set()
        self.used = taken
        """Series that are shown or set aside; never more than the limit."""
        for metric in metrics:
            for values in product(*(_kept(metric)[name] for name in metric.labels)):
                self._add(metric.name, values)
            for operation, rest in product(_KEPT["operation"], _KEPT_WHOLE.get(metric.name, ())):
                self._add(metric.name, (OTHER, operation, OTHER, *rest))
        if self.used > limit:
            raise ConfigError(f"max_series is {limit}: use at least {self.used}")
        room = limit - self.used
        self._names_limit = self.used + int(room * _NAMES_SHARE)
        self._unpriced_room = int(room * _UNPRICED_SHARE)
        self._lock = threading.Lock()

    def names(self, gateway: str, operation: str, model: str, *, priced: bool) -> tuple[str, str]:
        """Return the gateway and the model under which to count an attempt.

        `priced` says whether the price book knows the model: names that it does not know get half of the room at most.
        """
        gateway, model = label(gateway), label(model)
        if (gateway, operation, model) in self._names:
            return gateway, model
        with self._lock:
            return self._admit(gateway, operation, model, priced=priced)

    def place(self, metric: Metric, values: Labels) -> Labels:
        """Return the label set in which to count: the one asked for if it has room, else one of those around it."""
        with self._lock:
            for folded in _folds(metric, values):
                if (metric.name, folded) in self._placed:
                    return folded
                if self.used + self._needs[metric.name] <= self._limit:
                    self._add(metric.name, folded)
                    return folded
        raise AssertionError("the last fold is set aside from the start")

    def _admit(self, gateway: str, operation: str, model: str, *, priced: bool) -> tuple[str, str]:
        names, other = (gateway, operation, model), (gateway, operation, OTHER)
        wanted = [(name, (*names, *rest)) for name, rest in self._start]
        # A gateway that is shown also gets counters for those of its models that have no room of their own.
        wanted += [(name, (*other, *rest)) for name, rest in self._start_of_other]
        needed = sum(self._needs[name] for name, _ in set(wanted) - self._placed)
        if self.used + needed <= self._names_limit and (priced or needed <= self._unpriced_room):
            if not priced:
                self._unpriced_room -= needed
            self._names |= {names, other}
            for name, labels in wanted:
                self._add(name, labels)
            return gateway, model
        return (gateway, OTHER) if other in self._names else (OTHER, OTHER)

    def _add(self, name: str, values: Labels) -> None:
        if (name, values) not in self._placed:
            self._placed.add((name, values))
            self.used += self._needs[name]


def _kept(metric: Metric) -> Mapping[str, Labels]:
    kept = _KEPT_OF_HISTOGRAMS if metric.kind == "histogram" else {**_KEPT, **_KEPT_OF.get(metric.name, {})}
    return {name: kept.get(name, _OPEN) for name in metric.labels}


def _folds(metric: Metric, values: Labels) -> Iterator[Labels]:
    yield values
    for folded in ({"model"}, {"model", "gateway"}):
        yield tuple(OTHER if name in folded else value for name, value in zip(metric.labels, values, strict=True))
    kept = _kept(metric)
    for folded in (_NAMED, set(kept)):
        yield tuple(
            kept[name][-1] if name in folded and value not in kept[name] else value
            for name, value in zip(metric.labels, values, strict=True)
        )
