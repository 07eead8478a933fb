"""PromQL for what a counter grew by, where a single event matters."""

from __future__ import annotations

from pixelmeter.core.metrics import metric
from pixelmeter.monitoring.pace import Pace

__all__ = ["grown"]


def grown(name: str, window: str, pace: Pace, matchers: str = "") -> str:
    """Return an expression for the growth of each series of a counter in a window, its first increase included.

    `increase` sees only what changes between two samples, so it misses the event that a series is born with. A series
    that had no sample in the window before is young, and all that it shows happened since. That is not so where the
    exporter is new or its ledger was away: its counters are sums of the whole ledger.
    """
    length = pace(window)
    series = f"{name}{{{matchers}}}" if matchers else name
    born = f"({series} > 0 unless last_over_time({series}[{length}] offset {length}))"
    if "ledger" in metric(name).origins:
        up = "pixelmeter_ledger_up"
        back = f"({up} unless max_over_time({up}[{length}] offset {length}) > 0)"
        born = f"({born}\n  unless on (job, instance) {back})"
    return f"  {born}\n  or\n  increase({series}[{length}]) > 0"
