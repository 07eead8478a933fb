"""A ledger of the last days, for a page to show."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

__all__ = ["HOSTILE", "HOUR", "attempt", "write"]

HOUR = 3_600_000_000
"""In microseconds."""
HOSTILE = "<img src=x onerror=alert(1)>\"'`&amp;{{7*7}}"


def attempt(hours_ago: float, **fields: Any) -> Attempt:
    """Return an attempt that began so long ago."""
    return make_attempt(started_at=time.time_ns() // 1000 - int(hours_ago * HOUR), **fields)


def write(url: str, *attempts: Attempt) -> None:
    """Write attempts into a ledger, which is made if need be."""
    with closing(open_writer(url)) as writer:
        writer.write(list(attempts), {}, [])
