"""How long the windows of rules are: as written, or shorter by one factor, for a test that cannot wait an hour."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["UNHURRIED", "Pace"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Pace:
    """Turns the durations of the rules into those that are used."""

    speed: int = 1
    """What durations are divided by."""

    def __call__(self, duration: str) -> str:
        """Return a Prometheus duration of one unit ("5m"), divided by `speed`; less than a second becomes one."""
        found = re.fullmatch(r"(\d+)([smhdw])", duration)
        if found is None:
            raise ValueError(f"{duration!r} is not a number and a unit")
        if self.speed == 1:
            return duration
        return f"{max(1, int(found[1]) * _SECONDS[found[2]] // self.speed)}s"


UNHURRIED = Pace()
"""Durations as they are written."""
