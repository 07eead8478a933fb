"""Panels of reconciliations: how far gateways' own reports and the ledger agree."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.panel import NOW, column, timeseries
from scripts.dashboards.grafana.query import Json, ranged, series
from scripts.dashboards.grafana.shared import EXPORTER_ONLY, gauges

__all__ = ["coverage", "reconciliations"]


def reconciliations() -> Json:
    """Return what the latest reconciliation of each report came to."""
    shown = {
        "Charged": "charged_usd",
        "Covered": "coverage_ratio",
        "Drift": "drift_usd",
        "Reconciled": "timestamp_seconds",
    }
    return gauges(
        "Reconciliations",
        "The latest month of each gateway's report. Covered is which part of what it charged belongs to attempts of the"
        " ledger; drift is by how much the ledger is above the report for what both have. The exporter reports this,"
        " programs do not.",
        prefix="pixelmeter_reconciliation_",
        by={"gateway": "Gateway", "source": "Report"},
        shown=shown,
        columns=(
            column("Charged", unit="currencyUSD", decimals=4),
            column("Covered", unit="percentunit", decimals=1),
            column("Drift", unit="currencyUSD", decimals=4),
            column("Reconciled", unit="dateTimeAsIso"),
        ),
        sort="Charged",
    )


def coverage(thresholds: Thresholds) -> Json:
    """Return how much of what gateways charged the ledger has, over time."""
    return timeseries(
        "Covered by the ledger",
        "Which part of what a gateway charged in the latest reconciled month belongs to attempts of the ledger. The"
        " line is where the alert begins. The exporter reports this, programs do not.",
        ranged(
            f"min by (gateway, source) ({series('pixelmeter_reconciliation_coverage_ratio')})", "{{gateway}} {{source}}"
        ),
        unit="percentunit",
        steps=((None, "red"), (thresholds.coverage_ratio, "transparent")),
        at_least=1,
        empty=EXPORTER_ONLY,
        sums=NOW,
    )
