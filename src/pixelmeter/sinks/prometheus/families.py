"""The metric families of a registry, made from the catalogue and shared by all sinks that feed it."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pixelmeter import lifecycle
from pixelmeter.core.metrics import METRICS, Metric
from pixelmeter.core.sink import Health
from pixelmeter.errors import ConfigError
from pixelmeter.sinks.prometheus.exposition import is_multiprocess
from pixelmeter.sinks.series import START, Labels, Series, label

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as PrometheusMetric

__all__ = ["Exemplar", "Families", "families_of"]

Exemplar = dict[str, str] | None


class Families:
    """Counters, gauges and histograms by their names in the catalogue, each label set within the budget."""

    def __init__(self, registry: CollectorRegistry, max_series: int) -> None:
        self.multiprocess = is_multiprocess()
        """Whether other processes read the values; exemplars do not exist then."""
        metrics = [metric for metric in METRICS if "process" in metric.origins]
        self._metrics = {metric.name: metric for metric in metrics}
        self._series = Series(metrics, max_series)
        self._families = _registered(metrics, registry)
        self._children: dict[tuple[str, Labels], Any] = {}
        self._started: set[Labels] = set()
        self.lock = threading.RLock()
        """Held by whoever changes values, and by a fork: a child could not get at a lock that is held just then."""
        self.generation = 0
        """How many forks lie between this process and the one that made the families."""
        self.healths: weakref.WeakKeyDictionary[object, Health] = weakref.WeakKeyDictionary()
        """The latest health of each sink; the gauges show all of them together."""
        lifecycle.register(self)

    def names(self, gateway: str, operation: str, model: str, *, priced: bool) -> tuple[str, str]:
        """Return the gateway and the model under which to count.

        From then on the series of them that alerts watch exist, at 0.
        """
        names = self._series.names(gateway, operation, model, priced=priced)
        started = (names[0], operation, names[1])
        if started not in self._started:
            self._started.add(started)
            for name, rest in START:
                self.child(name, (*started, *rest))
        return names

    def child(self, name: str, labels: Labels = ()) -> Any:
        """Return prometheus_client's object for a label set, or for a wider one where there is no room for it."""
        child = self._children.get((name, labels))
        if child is None:
            family = self._families[name]
            placed = self._series.place(self._metrics[name], tuple(label(text) for text in labels))
            child = family.labels(*placed) if placed else family
            self._children[name, labels] = child
        return child

    def locks(self) -> Sequence[lifecycle.Lock]:
        """Return what a fork should hold."""
        return (self.lock,)

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self.lock = threading.RLock()
        self.generation += 1
        self.healths.clear()


def families_of(registry: CollectorRegistry, max_series: int) -> Families:
    """Return the families of a registry; the first sink that asks makes them, and its `max_series` holds.

    ConfigError where the registry has a metric of such a name already.
    """
    lifecycle.check()
    with _making.lock:
        families = _of.get(registry)
        if families is None:
            families = _of[registry] = Families(registry, max_series)
        return families


class _Shown:
    """All families as they are shown: without the `_created` series, which would double the number of counters.

    They are one collector, so that a registry takes all of them or none.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self.families: Mapping[str, Any] = {}

    def describe(self) -> Iterable[PrometheusMetric]:
        """Return what the families are called, before they are there."""
        from prometheus_client.metrics_core import Metric as Described

        return [Described(metric.name.removesuffix("_total"), metric.help, metric.kind) for metric in self._metrics]

    def collect(self) -> Iterable[PrometheusMetric]:
        """Return the families with their samples."""
        for family in self.families.values():
            [shown] = family.collect()
            shown.samples = [sample for sample in shown.samples if not sample.name.endswith("_created")]
            yield shown


def _registered(metrics: Sequence[Metric], registry: CollectorRegistry) -> Mapping[str, Any]:
    """Register the families and return them by name; raise ConfigError, leaving nothing registered, if that fails."""
    shown = _Shown(metrics)
    try:
        registry.register(shown)
    except ValueError as error:
        taken = sorted(re.findall(r"\bpixelmeter_\w+", str(error)))
        raise ConfigError(
            f"the Prometheus registry has metrics of pixelmeter's names already ({', '.join(taken[:3])}): give another "
            "one, Meter(registry=CollectorRegistry())"
        ) from None
    try:
        shown.families = {metric.name: _family(metric) for metric in metrics}
    except OSError as error:
        registry.unregister(shown)
        raise ConfigError(
            f"PROMETHEUS_MULTIPROC_DIR cannot be used: {error.filename or 'its files'}: {error.strerror}"
        ) from None
    return shown.families


def _family(metric: Metric) -> Any:
    from prometheus_client import Counter, Gauge, Histogram

    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=None)
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, registry=None, buckets=metric.buckets)
    return Gauge(metric.name, metric.help, metric.labels, registry=None, multiprocess_mode=metric.merge or "all")


_of: weakref.WeakKeyDictionary[CollectorRegistry, Families] = weakref.WeakKeyDictionary()


class _Making:
    """The lock that is held while families are made."""

    def __init__(self) -> None:
        self.forget()
        lifecycle.register(self)

    def forget(self) -> None:
        self.lock = threading.Lock()

    def locks(self) -> Sequence[lifecycle.Lock]:
        return (self.lock,)


_making = _Making()
