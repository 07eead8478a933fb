"""How the way to the ledger is doing, for whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["Health"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the writer did in one run, and how things stand after it. Times are in microseconds."""

    backend: str
    """`sqlite` or `postgresql`."""
    writes: tuple[tuple[int, int], ...]
    """Rows and duration of each transaction of the run."""
    failed: bool
    """Whether the run ended with the ledger saying no."""
    waiting: int
    """Attempts that ended and are not in the ledger yet."""
    lag: int
    """How long the oldest of them has been waiting."""
    dropped: int
    """Attempts lost since the start: neither the disk nor the memory had room."""
    failures: Mapping[str, int]
    """Our own failures since the start, by place."""
