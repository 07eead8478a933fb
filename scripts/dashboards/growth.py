"""PromQL for what a counter grew by, where a single event matters."""

from __future__ import annotations

from pixelmeter.core.metrics import metric
from scripts.dashboards.pace import Pace

__all__ = ["grown"]


def grown(name: str, window: str, pace: Pace, matchers: str = "") -> str:
    """Return an expression for the growth of each series of a counter in a window, its first increase included.

    `increase` sees only what changes between two samples, so it misses the event that a series is born with. A series
    that had no sample in the window before is young, and all that it shows happened since, also where its program has
    ended already. That is not so for a series that an exporter has had since it is new, or since its ledger was away:
    its counters are sums of the whole ledger. What appears in a later scrape is news.
    """
    length = pace(window)
    series = f"{name}{{{matchers}}}" if matchers else name
    born = (
        f"    last_over_time({series}[{length}]) > 0\n"
        "    unless\n"
        f"    last_over_time({series}[{length}] offset {length})"
    )
    if "ledger" in metric(name).origins:
        up = "pixelmeter_ledger_up"
        born += (
            "\n"
            "    unless\n"
            "    (\n"
            f"      count_over_time({series}[{length}])\n"
            "      >= on (job, instance) group_left ()\n"
            f"      sum_over_time({up}[{length}])\n"
            "      unless on (job, instance)\n"
            f"      max_over_time({up}[{length}] offset {length}) > 0\n"
            "    )"
        )
    return f"  (\n{born}\n  )\n  or\n  increase({series}[{length}]) > 0"
