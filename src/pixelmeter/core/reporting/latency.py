"""Latency buckets that add up: each is 10 % wider than the one below, so a percentile is within 5 % of the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping

_GROWTH = math.log(1.1)
_FIRST = 1000  # microseconds; whatever is faster shares bucket 0


def bucket(duration: int) -> int:
    """Return the bucket of a duration in microseconds."""
    if duration <= _FIRST:
        return 0
    return int(math.log(duration / _FIRST) / _GROWTH) + 1


def seconds(index: int) -> float:
    """Return the middle (geometric) of a bucket."""
    if index <= 0:
        return _FIRST / 1e6
    return _FIRST * math.exp(_GROWTH * (index - 0.5)) / 1e6


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return how many seconds at least `share` (0 to 1) of the durations took at most; None without any."""
    if len(counts) == 1:
        [(index, number)] = counts.items()
        return seconds(index) if number else None
    total = sum(counts.values())
    if not total:
        return None
    seen = 0
    for index in sorted(counts):
        seen += counts[index]
        if seen and seen >= share * total:
            return seconds(index)
    raise AssertionError("the ranks add up to the total")
