"""What the totals of a ledger say in series: exact, and within a budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pixelmeter.core.metrics import METRICS
from pixelmeter.ledger.sums import Total
from pixelmeter.sinks.series import DEFAULT_LIMIT, START, Labels, Series, label

__all__ = ["COUNTERS", "HISTOGRAM", "Counts", "Histogram"]

HISTOGRAM = "pixelmeter_request_duration_seconds"
_METRICS = {metric.name: metric for metric in METRICS if "ledger" in metric.origins}
COUNTERS = tuple(metric.name for metric in _METRICS.values() if metric.kind == "counter")
"""The counters of the catalogue that a ledger can tell."""

_START = [(name, rest) for name, rest in START if name in _METRICS]


class Histogram:
    """Attempts by bucket, each in one of them, and their microseconds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(_METRICS[HISTOGRAM].buckets) + 1)
        self.duration = 0

    def add(self, buckets: Sequence[int], duration: int) -> None:
        """Add what other attempts took."""
        self.buckets = [old + new for old, new in zip(self.buckets, buckets, strict=True)]
        self.duration += duration


class Counts:
    """Remembers which series there are, so that what was counted in one is counted there as long as this lives.

    Given the totals in the order in which they came to be, another one after it gives names the same room.
    """

    def __init__(self, max_series: int = DEFAULT_LIMIT) -> None:
        """Raises ConfigError where so few series are too few."""
        self._series = Series(list(_METRICS.values()), max_series)
        self._named: dict[Labels, tuple[str, str]] = {}
        self._placed: dict[tuple[str, Labels], Labels] = {}

    def of(self, totals: Iterable[Total]) -> tuple[Mapping[str, Mapping[Labels, int]], Mapping[Labels, Histogram]]:
        """Return the counters by name and labels, and the histograms; money is in nano-dollars."""
        started: set[Labels] = set()
        counters: dict[str, dict[Labels, int]] = {name: {} for name in COUNTERS}
        histograms: dict[Labels, Histogram] = {}
        for total in totals:
            gateway, model = self._names(total)
            call = (gateway, total.operation, model)
            if call not in started:
                started.add(call)
                for name, rest in _START:
                    if name != HISTOGRAM:
                        counters[name].setdefault(self._place(name, (*call, *rest)), 0)
                    else:
                        histograms.setdefault(self._place(name, (*call, *rest)), Histogram())
            for name, labels, number in _counted(total, call):
                placed = self._place(name, labels)
                if number:
                    counters[name][placed] = counters[name].get(placed, 0) + number
            placed = self._place(HISTOGRAM, (*call, total.outcome))
            histograms.setdefault(placed, Histogram()).add(total.durations, total.duration)
        return counters, histograms

    def _names(self, total: Total) -> tuple[str, str]:
        # Kept for each combination: a name that gets room later must not take along what was counted without one.
        key = (
            total.gateway, total.operation, total.model, total.outcome, total.error_type, total.cost_source,
            total.cost_reason, total.size, total.quality,
        )  # fmt: skip
        named = self._named.get(key)
        if named is None:
            priced = total.cost_source != "none"
            named = self._series.names(total.gateway, total.operation, total.model, priced=priced)
            self._named[key] = named
        return named

    def _place(self, name: str, labels: Labels) -> Labels:
        placed = self._placed.get((name, labels))
        if placed is None:
            asked = tuple(label(text) for text in labels)
            placed = self._placed[name, labels] = self._series.place(_METRICS[name], asked)
        return placed


def _counted(total: Total, call: Labels) -> Iterator[tuple[str, Labels, int]]:
    """Yield the counters that a total is part of, those that may yet grow from 0 too.

    So who has room follows from the combinations alone, and not from when an exporter saw which number.
    """
    yield "pixelmeter_requests_total", (*call, total.outcome, total.error_type), total.attempts
    for name, rest, number in (
        ("pixelmeter_retries_total", (), total.retries),
        ("pixelmeter_cost_usd_total", (total.cost_source,), total.cost),
        ("pixelmeter_at_risk_usd_total", (), total.at_risk),
        ("pixelmeter_unknown_cost_requests_total", (total.cost_reason,), total.unknown_cost_attempts),
    ):
        # These have room from the start, or are of a combination that always counts them.
        if number:
            yield name, (*call, *rest), number
    yield "pixelmeter_images_total", (*call, total.size, total.quality), total.images
    gateway, _, model = call
    for direction, modality, number in (
        ("input", "text", total.input_text_tokens),
        ("input", "cached_text", total.cached_input_tokens),
        ("input", "image", total.input_image_tokens),
        ("output", "text", total.output_text_tokens),
        ("output", "image", total.output_image_tokens),
    ):
        yield "pixelmeter_tokens_total", (gateway, model, direction, modality), number
