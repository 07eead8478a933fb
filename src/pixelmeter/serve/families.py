"""Counts as prometheus_client's metric families; here, and nowhere before, money becomes a float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.metrics import metric
from pixelmeter.serve.counts import HISTOGRAM, Histogram
from pixelmeter.sinks.series import Labels

__all__ = ["counter", "gauge", "histogram", "of_counts"]

_BOUNDS = [*(str(bound) for bound in metric(HISTOGRAM).buckets), "+Inf"]


def of_counts(counters: Mapping[str, Mapping[Labels, int]], histograms: Mapping[Labels, Histogram]) -> Iterator[Family]:
    """Yield the families of counters and histograms."""
    for name, values in counters.items():
        yield counter(name, values)
    yield histogram(HISTOGRAM, histograms)


def counter(name: str, values: Mapping[Labels, int]) -> Family:
    """Return a counter of the catalogue; those in US dollars are given in nano-dollars."""
    described = metric(name)
    unit = NANO_PER_USD if "_usd_" in name else 1
    family = CounterMetricFamily(name, described.help, labels=described.labels)
    for labels, value in values.items():
        family.add_metric(labels, value / unit)
    return family


def histogram(name: str, values: Mapping[Labels, Histogram]) -> Family:
    """Return a histogram of the catalogue, in seconds."""
    described = metric(name)
    family = HistogramMetricFamily(name, described.help, labels=described.labels)
    for labels, value in values.items():
        buckets = list(zip(_BOUNDS, accumulate(value.buckets), strict=True))
        family.add_metric(labels, buckets, value.duration / 1e6)
    return family


def gauge(name: str, value: float, labels: Labels = ()) -> Family:
    """Return a gauge of the catalogue with one sample."""
    described = metric(name)
    family = GaugeMetricFamily(name, described.help, labels=described.labels)
    family.add_metric(labels, value)
    return family
