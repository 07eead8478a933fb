"""The sink that counts attempts in prometheus_client's metrics."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from pixelmeter._version import __version__
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.counting import ADJUSTMENT_COUNTS, COUNTS, adjustment_tallies, observed, tally_of
from pixelmeter.core.sink import Health
from pixelmeter.prices import CHECKED_ON
from pixelmeter.sinks.prometheus.families import Exemplar, Families, families_of
from pixelmeter.sinks.series import DEFAULT_LIMIT, START_OF_JOBS, Labels

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PrometheusSink"]

_WITH_EXEMPLAR = ("pixelmeter_request_duration_seconds", "pixelmeter_cost_usd_total")
_IN_FLIGHT = "pixelmeter_requests_in_flight"
_BACKENDS = ("sqlite", "postgresql")
_PLACES = ("request", "exchange", "headers", "body", "answer", "record", "response", "ledger", "writer")


class PrometheusSink:
    """A sink that counts attempts in Prometheus metrics, and shows how the ledger is doing.

    `registry` is the default one of prometheus_client where none is given. Sinks of one registry share its metrics.
    `max_series` is how many series there are at most; of a registry the first sink decides. Raises ConfigError where
    that is too few, and where the registry already has a metric with a name of ours.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, max_series: int = DEFAULT_LIMIT) -> None:
        from prometheus_client import REGISTRY

        self._families = families_of(REGISTRY if registry is None else registry, max_series)
        # Where each attempt that has left is counted, and whether its trace can be looked up.
        self._flying: dict[str, tuple[Labels, bool]] = {}
        self._generation = self._families.generation
        self._dropped = 0
        self._failures: Mapping[str, int] = {}
        self._show_what_stands()

    def begin(self, intent: Attempt) -> None:
        """Count an attempt as in flight."""
        families = self._families
        with families.lock:
            if self._generation != families.generation:
                self._drop_inherited()
            gateway, _ = families.names(
                intent.gateway, intent.operation, intent.model, priced=intent.at_risk is not None
            )
            labels = (gateway, intent.operation)
            families.child(_IN_FLIGHT, labels).inc()
            self._flying[intent.id] = labels, _is_sampled()

    def record(self, attempt: Attempt) -> None:
        """Count an attempt that has ended."""
        families = self._families
        with families.lock:
            if self._generation != families.generation:
                self._drop_inherited()
            labels, sampled = self._flying.pop(attempt.id, (None, True))
            if labels is not None:
                families.child(_IN_FLIGHT, labels).dec()
            traced = sampled and attempt.trace_id is not None and not families.multiprocess
            _count(attempt, families, {"trace_id": str(attempt.trace_id)} if traced else None)

    def adjust(self, change: Change) -> None:
        """Count what a later fact changed of an attempt."""
        families = self._families
        with families.lock:
            if self._generation != families.generation:
                self._drop_inherited()
            _count_adjustment(change, families)

    def observe(self, health: Health) -> None:
        """Show how the ledger is doing."""
        families = self._families
        backend = (health.backend,)
        with families.lock:
            if self._generation != families.generation:
                self._drop_inherited()
            for rows, duration in health.writes:
                families.child("pixelmeter_ledger_rows_total", backend).inc(rows)
                families.child("pixelmeter_ledger_write_duration_seconds", backend).observe(duration / 1e6)
            if health.failed:
                families.child("pixelmeter_ledger_write_errors_total", backend).inc()
            families.child("pixelmeter_dropped_records_total").inc(_grown(self._dropped, health.dropped))
            for place, failures in health.failures.items():
                grown = _grown(self._failures.get(place, 0), failures)
                families.child("pixelmeter_internal_errors_total", (place,)).inc(grown)
            self._dropped, self._failures = health.dropped, health.failures
            families.healths[self] = health
            healths = list(families.healths.values())
            families.child("pixelmeter_ledger_waiting_records").set(sum(each.waiting for each in healths))
            families.child("pixelmeter_ledger_lag_seconds").set(max(each.lag for each in healths) / 1e6)
            families.child("pixelmeter_spool_used_ratio").set(max(each.spool_used for each in healths))

    def _show_what_stands(self) -> None:
        families = self._families
        checked = datetime.combine(CHECKED_ON, time(), UTC)
        with families.lock:
            families.child("pixelmeter_build_info", (__version__,)).set(1)
            families.child("pixelmeter_price_book_timestamp_seconds").set(checked.timestamp())
            families.child("pixelmeter_dropped_records_total")
            for backend in _BACKENDS:
                families.child("pixelmeter_ledger_rows_total", (backend,))
                families.child("pixelmeter_ledger_write_errors_total", (backend,))
            for place in _PLACES:
                families.child("pixelmeter_internal_errors_total", (place,))

    def _drop_inherited(self) -> None:
        """Forget the parent's attempts in a forked child; the file of a gunicorn worker starts empty anyway."""
        self._generation = self._families.generation
        flying, self._flying = self._flying, {}
        self._dropped = 0
        if not self._families.multiprocess:
            for labels, _ in flying.values():
                self._families.child(_IN_FLIGHT, labels).dec()


def _grown(before: int, now: int) -> int:
    """Return by how much a counter grew, which starts at 0 again after a fork."""
    return now - before if now >= before else now


def _is_sampled() -> bool:
    """Return False where OpenTelemetry says that the current trace is not kept."""
    # Looked up, not imported: if it is not loaded, or another thread is loading it, there is no current span.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if not hasattr(trace, "get_current_span"):
        return True
    context = trace.get_current_span().get_span_context()
    return bool(not context.is_valid or context.trace_flags.sampled)


def _count(attempt: Attempt, families: Families, exemplar: Exemplar) -> None:
    """Add an attempt that has ended; the exemplar goes to its duration and its cost."""
    tally = tally_of(attempt)
    tally.gateway, tally.model = families.names(tally.gateway, tally.operation, tally.model, priced=_is_priced(attempt))
    for count in COUNTS:
        if count.kind == "counter":
            number: int | None = getattr(tally, count.number) or None
        else:
            number = observed(count, attempt)
        if number is None:
            continue
        child, value = families.child(count.metric, count.labels(tally)), number / count.unit
        if count.kind == "gauge":
            child.set(value)
        elif count.kind == "histogram":
            child.observe(value, exemplar if count.metric in _WITH_EXEMPLAR else None)
        else:
            child.inc(value, exemplar if count.metric in _WITH_EXEMPLAR else None)
    if attempt.outcome == "pending":
        for name, rest in START_OF_JOBS:
            families.child(name, (tally.gateway, tally.operation, tally.model, *rest))


def _count_adjustment(change: Change, families: Families) -> None:
    priced = _is_priced(change.before) or _is_priced(change.after)
    for tally in adjustment_tallies(change):
        tally.gateway, tally.model = families.names(tally.gateway, tally.operation, tally.model, priced=priced)
        for count in ADJUSTMENT_COUNTS:
            number: int = getattr(tally, count.number)
            if number:
                families.child(count.metric, count.labels(tally)).inc(number / count.unit)


def _is_priced(attempt: Attempt) -> bool:
    return attempt.price_id is not None or attempt.at_risk is not None
