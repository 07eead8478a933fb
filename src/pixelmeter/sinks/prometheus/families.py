"""The metric families of a registry, made from the catalogue and shared by all sinks that feed it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pixelmeter import forks
from pixelmeter.core.health import Health
from pixelmeter.core.metrics import METRICS, Metric
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
        self._families = {metric.name: _family(metric, registry) for metric in metrics}
        self._children: dict[tuple[str, Labels], Any] = {}
        self._started: set[Labels] = set()
        self.lock = threading.RLock()
        """Held by whoever changes values, and by a fork: a child could not get at a lock that is held just then."""
        self.generation = 0
        """How many forks lie between this process and the one that made the families."""
        self.healths: weakref.WeakKeyDictionary[object, Health] = weakref.WeakKeyDictionary()
        """What each sink was told last: its share in the gauges that all of them set."""
        forks.register(self)

    def names(self, gateway: str, operation: str, model: str, *, priced: bool) -> tuple[str, str]:
        """Return the gateway and the model under which to count; what alerts watch of them is there at 0 then."""
        names = self._series.names(gateway, operation, model, priced=priced)
        started = (names[0], operation, names[1])
        if started not in self._started:
            self._started.add(started)
            for name, rest in START:
                self.child(name, (*started, *rest))
        return names

    def child(self, name: str, labels: Labels = ()) -> Any:
        """Return prometheus_client's object for a label set, or for the one that it is counted in for want of room."""
        child = self._children.get((name, labels))
        if child is None:
            family = self._families[name]
            placed = self._series.place(self._metrics[name], tuple(label(text) for text in labels))
            child = family.labels(*placed) if placed else family
            self._children[name, labels] = child
        return child

    def locks(self) -> Sequence[forks.Lock]:
        """Return what a fork should hold."""
        return (self.lock,)

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self.lock = threading.RLock()
        self.generation += 1
        self.healths.clear()


def families_of(registry: CollectorRegistry, max_series: int) -> Families:
    """Return the families of a registry; the first sink that asks makes them, and its `max_series` holds."""
    forks.check()
    with _making.lock:
        families = _of.get(registry)
        if families is None:
            families = _of[registry] = Families(registry, max_series)
        return families


class _Shown:
    """A family as it is shown: without `_created`, which would double the series of counters for little use."""

    def __init__(self, family: Any) -> None:
        self._family = family
        self.describe = family.describe

    def collect(self) -> Iterable[PrometheusMetric]:
        """Return the family with its samples."""
        [shown] = self._family.collect()
        shown.samples = [sample for sample in shown.samples if not sample.name.endswith("_created")]
        return [shown]


def _family(metric: Metric, registry: CollectorRegistry) -> Any:
    from prometheus_client import Counter, Gauge, Histogram

    family: Any
    if metric.kind == "counter":
        family = Counter(metric.name, metric.help, metric.labels, registry=None)
    elif metric.kind == "histogram":
        family = Histogram(metric.name, metric.help, metric.labels, registry=None, buckets=metric.buckets)
    else:
        family = Gauge(metric.name, metric.help, metric.labels, registry=None, multiprocess_mode=metric.merge or "all")
    registry.register(_Shown(family))
    return family


_of: weakref.WeakKeyDictionary[CollectorRegistry, Families] = weakref.WeakKeyDictionary()


class _Making:
    """Who makes families has the lock."""

    def __init__(self) -> None:
        self.forget()
        forks.register(self)

    def forget(self) -> None:
        self.lock = threading.Lock()

    def locks(self) -> Sequence[forks.Lock]:
        return (self.lock,)


_making = _Making()
