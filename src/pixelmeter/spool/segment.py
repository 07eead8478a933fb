"""The files of a spool, and what is told of them."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["Segment", "SpoolCounts"]


class SpoolCounts(TypedDict):
    """The spool: the files in which attempts wait for the ledger."""

    frames: int
    """Records written since the start of the process, two for each attempt."""
    segments: int
    """Files of this process that are not removed yet."""
    bytes: int
    """Bytes in those files."""
    overflow: int
    """Attempts kept in memory because the disk refused them: they reach the ledger unless the process is killed."""
    missed_intents: int
    """Attempts of which nothing was on disk before they were sent: the disk refused it, or the spool was full."""
    dropped: int
    """Attempts lost: the spool was full, or neither disk nor memory had room."""
    dropped_cost: int
    """Nano-dollars of those whose cost was known."""
    held: int
    """Bytes in the spool folder that are not in the ledger, of all processes, as far as this one knows."""
    limit: int
    """How many there may be (`PIXELMETER_SPOOL_LIMIT`)."""
    last_error: str | None
    """The last error of the disk; None where there was none."""


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
