"""How many examples a test of hypothesis draws: a part on a working day, all where PIXELMETER_TEST_STRICT is 1."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

STRICT = os.environ.get("PIXELMETER_TEST_STRICT") == "1"


def examples(number: int) -> int:
    """Return how many of that number this run draws, at least ten."""
    return number if STRICT else min(number, max(10, number // 5))


def load_profile() -> None:
    """Have each test without a number of its own draw `examples(100)`; none is timed, for a machine may be busy."""
    settings.register_profile(
        "pixelmeter", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("pixelmeter")
