"""The real clock, identities and files."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Sequence

import uuid_utils


class SystemClock:
    """Unix time to stamp, the performance counter to measure."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        return time.perf_counter_ns() // 1000
