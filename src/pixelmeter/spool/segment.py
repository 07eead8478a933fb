"""The files of a spool, and what is told of them."""

from __future__ import annotations

import msgspec

__all__ = ["Segment", "SpoolStatus"]


class SpoolStatus(msgspec.Struct, frozen=True):
    """What a spool holds and what it could not hold; `recorder.status.SpoolCounts` says what each number counts."""

    frames: int
    segments: int
    bytes: int
    overflow: int
    missed_intents: int
    dropped: int
    dropped_cost: int
    held: int
    limit: int
    last_error: str | None


class Segment:
    """A file that is open, locked, and appended to until it is sealed."""

    __slots__ = ("descriptor", "failed", "name", "settled", "size", "synced", "writers")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.size = 0
        self.settled = 0
        """Up to where the ledger has it."""
        self.synced = 0
        self.failed = False
        """A sync of it failed, so what of it is on the disk nobody knows."""
        self.writers: list[None] = []
        """One for each thread that is appending just now."""
