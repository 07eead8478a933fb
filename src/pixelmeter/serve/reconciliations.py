"""Reconciliations as gauges: how far a gateway's own report and the ledger agree, in the latest month."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.labels import OTHER
from pixelmeter.core.metrics import METRICS
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.statements import latest_reconciliations
from pixelmeter.sinks.series import label

__all__ = ["OF_RECONCILIATIONS", "ReconciliationGauges", "newest"]

OF_RECONCILIATIONS = tuple(metric for metric in METRICS if metric.name.startswith("pixelmeter_reconciliation_"))
"""What is shown of each reconciliation."""

_OTHERS = (OTHER, OTHER)
_PARTS = 1_000_000


def newest(reader: LedgerReader) -> list[Reconciliation]:
    """Return the reconciliation of the latest month of each gateway and source."""
    found: dict[tuple[str, str], Reconciliation] = {}
    for one in latest_reconciliations(reader):
        found.setdefault((one.gateway, one.source), one)
    return list(found.values())


class ReconciliationGauges:
    """Remembers which gateways and sources have series of their own: the first that came, as many as there is room for.

    All others are one, which shows the one of them that is worst covered.
    """

    def __init__(self, room: int) -> None:
        """`room` is a number of series."""
        self._most = max(room // len(OF_RECONCILIATIONS) - 1, 0)
        self._named: set[tuple[str, str]] = set()

    def families(self, found: Iterable[Reconciliation]) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        shown: dict[tuple[str, str], Reconciliation] = {}
        for one in found:
            named = self._labels(one)
            shown[named] = max(shown.get(named, one), one, key=_doubt)
        of_each = [(labels, dict(_numbers(one))) for labels, one in shown.items()]
        for metric in OF_RECONCILIATIONS:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, numbers in of_each:
                if metric.name in numbers:
                    family.add_metric(labels, numbers[metric.name])
            yield family

    def _labels(self, one: Reconciliation) -> tuple[str, str]:
        named = label(one.gateway), label(one.source)
        if named not in self._named:
            if OTHER in named or len(self._named) >= self._most:
                return _OTHERS
            self._named.add(named)
        return named


def _numbers(one: Reconciliation) -> Iterator[tuple[str, float]]:
    """Yield what is shown of a reconciliation; what is not known is left out."""
    numbers = {
        "coverage_ratio": None if one.coverage is None else one.coverage / _PARTS,
        "charged_usd": one.theirs / NANO_PER_USD,
        "drift_usd": one.drift / NANO_PER_USD,
        "timestamp_seconds": one.run_at / 1e6,
    }
    for name, number in numbers.items():
        if number is not None:
            yield f"pixelmeter_reconciliation_{name}", number


def _doubt(one: Reconciliation) -> int:
    return one.theirs - one.matched
