"""One file of the spool, as its process sees it."""

from __future__ import annotations

__all__ = ["Segment"]


class Segment:
    """A file that is open, locked, and appended to until it is sealed."""

    __slots__ = ("descriptor", "failed", "name", "size", "synced", "writers")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.size = 0
        self.synced = 0
        self.failed = False
        """A sync of it failed, so what of it is on the disk nobody knows."""
        self.writers: list[None] = []
        """One for each thread that is appending just now."""
