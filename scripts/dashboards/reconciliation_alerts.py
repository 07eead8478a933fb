"""Alerts on reconciliations: what a gateway charged that the ledger does not have, and amounts that differ."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.rule import Alert, Group

__all__ = ["reconciliation_alerts"]

_BY = "max by (job, gateway, source)"
_DRIFT = f"{_BY} (abs(pixelmeter_reconciliation_drift_usd))"
_CHARGED = f"{_BY} (abs(pixelmeter_reconciliation_charged_usd))"


def reconciliation_alerts(thresholds: Thresholds) -> Group:
    """Return the alerts that concern whoever closes the month."""
    return Group(name="pixelmeter-reconciliations", rules=(_coverage(thresholds), _drift(thresholds)))


def _coverage(thresholds: Thresholds) -> Alert:
    name = "PixelmeterReconciliationCoverage"
    return Alert(
        name=name,
        expression=(
            f"min by (job, gateway, source) (pixelmeter_reconciliation_coverage_ratio) < {thresholds.coverage_ratio:g}"
        ),
        wait="0s",
        severity="warning",
        summary="A gateway charged for what the ledger does not have.",
        description=(
            "{{ $value | humanizePercentage }} of what {{ $labels.gateway }} charged in the latest reconciled month, "
            "by {{ $labels.source }}, belongs to attempts of the ledger."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _drift(thresholds: Thresholds) -> Alert:
    name = "PixelmeterReconciliationDrift"
    return Alert(
        name=name,
        # Cents are no reason to call anybody, whatever part of a small month they are.
        expression=f"{_DRIFT} > {thresholds.drift_ratio:g} * {_CHARGED}\nand\n{_DRIFT} > 1",
        wait="0s",
        severity="warning",
        summary="The ledger and a gateway's report differ in what attempts cost.",
        description=(
            'The ledger and the report {{ $labels.source }} of {{ $labels.gateway }} are {{ $value | printf "%.2f" }} '
            "USD apart for what both have of the latest reconciled month."
        ),
        runbook_url=thresholds.runbook(name),
    )
