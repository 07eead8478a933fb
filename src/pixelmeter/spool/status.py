"""The counters of a spool."""

from __future__ import annotations

import msgspec

__all__ = ["SpoolStatus"]


class SpoolStatus(msgspec.Struct, frozen=True):
    """What a spool holds and what it could not hold."""

    frames: int
    """Frames appended since the start."""
    segments: int
    """Files not yet removed."""
    bytes: int
    """Bytes in those files."""
    overflow: int
    """Outcomes in memory because the disk refused them; they go to the ledger, but not through a kill."""
    missed_intents: int
    """Intents that the disk refused: a kill would leave no trace of those calls."""
    dropped: int
    """Outcomes lost: neither the disk nor the memory had room."""
    dropped_cost: int
    """Nano-dollars of those whose cost was known."""
    last_error: str | None
