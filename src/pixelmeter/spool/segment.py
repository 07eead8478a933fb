"""The files of a spool, and what is told of them."""

from __future__ import annotations

import errno
from typing import TypedDict

from pixelmeter.core.ports import Files

__all__ = ["CLOSED", "Segment", "SpoolCounts"]

CLOSED = (errno.EBADF, errno.ESPIPE)
"""What an append to a file fails with that somebody has closed: its number may be that of a pipe or a socket."""
_FROM_HERE = 1
_NONE = -1


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
    """A file that is open, locked, and appended to until it is sealed.

    A program may close whatever is open, as daemons do, and its own files have the numbers then: they are left alone.
    """

    __slots__ = ("_files", "_identity", "descriptor", "failed", "name", "settled", "size", "synced", "writers")

    def __init__(self, name: str, files: Files, path: str) -> None:
        """Create the file. Raises OSError."""
        self.name = name
        self._files = files
        self.descriptor = files.create(path)
        self._identity = files.identity(self.descriptor)
        self.size = 0
        self.settled = 0
        """Up to where the ledger has it."""
        self.synced = 0
        self.failed = False
        """A sync of it failed, so what of it is on the disk nobody knows."""
        self.writers: list[None] = []
        """One for each thread that is appending just now."""

    def append(self, frame: bytes) -> int:
        """Append, and return how many bytes were taken; OSError, one of CLOSED, where somebody has closed the file."""
        descriptor, files = self.descriptor, self._files
        # What another thread has just appended may not be counted yet.
        if files.seek(descriptor, 0, _FROM_HERE) != self.size and not self.is_open():
            raise OSError(errno.EBADF, "somebody has closed it")
        taken = files.append(descriptor, frame)
        self.size += taken
        return taken

    def is_open(self) -> bool:
        """Return whether the descriptor is still one of this file."""
        try:
            return self._files.identity(self.descriptor) == self._identity
        except OSError:
            return False

    def reopen(self, path: str) -> bool:
        """Have the file open, also where somebody has closed it; False where another process has it. Raises OSError."""
        if self.is_open():
            return True
        self._files.let_go(self.descriptor, self._identity)
        self.descriptor = _NONE
        descriptor = self._files.extend(path)
        if descriptor is not None:
            self.descriptor = descriptor
        return descriptor is not None

    def close(self) -> None:
        """Close the file. Raises OSError."""
        if self.is_open():
            self._files.close(self.descriptor)
        else:
            self._files.let_go(self.descriptor, self._identity)

    def discard(self, path: str) -> None:
        """Delete the file and close it. Raises OSError."""
        if self.is_open():
            self._files.discard(path, self.descriptor)
        else:
            self._files.let_go(self.descriptor, self._identity)
            self._files.remove(path)
