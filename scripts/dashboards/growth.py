"""PromQL for what a counter grew by, where a single event matters, and for money that ends of jobs move."""

from __future__ import annotations

from pixelmeter.core.metrics import metric
from scripts.dashboards.pace import Pace

__all__ = ["grown", "grown_with_jobs", "rate_with_jobs"]

# A correction is of money that went long ago, and may be of a month at once: no pace should know of it.
_UP, _DOWN = (f'kind="job", direction="{direction}"' for direction in ("up", "down"))


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


def grown_with_jobs(name: str, adjustments: str, window: str, pace: Pace) -> str:
    """Return series to be added up: the growth of a counter of money, what ends of jobs added, and what they took."""
    up, down = (grown(adjustments, window, pace, matchers) for matchers in (_UP, _DOWN))
    return f"{grown(name, window, pace)}\n  or\n{up}\n  or\n  -1 * (\n{down}\n  )"


def rate_with_jobs(name: str, adjustments: str, window: str) -> str:
    """Return the same as rates, without what series are born with."""
    return (
        f"  rate({name}[{window}])\n"
        "  or\n"
        f"  rate({adjustments}{{{_UP}}}[{window}])\n"
        "  or\n"
        f"  -1 * rate({adjustments}{{{_DOWN}}}[{window}])"
    )
