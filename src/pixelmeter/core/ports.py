"""Interfaces to the machine: clock, ids and files, so that tests can replace them.

`pixelmeter.system` holds the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Distrusted(PermissionError):
    """Others could have a hand in a file or folder; the text says how, and what to do."""


class Clock(Protocol):
    """The time of day, and a monotonic clock to measure with."""

    def now(self) -> int:
        """Return the Unix time in microseconds."""
        ...

    def monotonic(self) -> int:
        """Return microseconds since an arbitrary moment."""
        ...


class Ids(Protocol):
    """A source of ids."""

    def new(self) -> str:
        """Return a new UUIDv7, 36 characters, ordered by time."""
        ...


class Files(Protocol):
    """The file operations of the spool; each one that fails raises OSError."""

    def make_folder(self, path: str) -> None:
        """Create the folder and its parents, readable by this user only (0700); then as `check_folder`."""
        ...

    def check_folder(self, path: str) -> None:
        """Raise Distrusted where others could take files out of the folder."""
        ...

    def list(self, folder: str) -> Sequence[str]:
        """Return the names in a folder, sorted; a folder that is not there has none."""
        ...

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Return how many bytes each file of a folder has, by its name."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether there is something of this name."""
        ...

    def create(self, path: str) -> int:
        """Create a new file (0600, never through a link), open to append and locked by us; return its descriptor."""
        ...

    def adopt(self, path: str) -> int | None:
        """Open an existing file of this user and lock it; None when its owner still lives, or when it is gone.

        Those of other users are Distrusted, unless this is root.
        """
        ...

    def extend(self, path: str) -> int | None:
        """As `adopt`, open to append."""
        ...

    def append(self, descriptor: int, data: bytes) -> int:
        """Append in one system call; return how many bytes were taken."""
        ...

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        ...

    def sync(self, descriptor: int) -> None:
        """Force what was appended to the disk."""
        ...

    def close(self, descriptor: int) -> None:
        """Close, and with the last descriptor of the file release its lock."""
        ...

    def remove(self, path: str) -> None:
        """Delete the file."""
        ...

    def discard(self, path: str, descriptor: int) -> None:
        """Delete a file that is locked by us and close it; nobody finds it without its lock where that can be."""
        ...

    def seek(self, descriptor: int, offset: int, whence: int, /) -> int:
        """As `os.lseek`: offset 0 from where it is (whence 1) tells how far was appended through the descriptor."""
        ...

    def identity(self, descriptor: int) -> tuple[int, int]:
        """Return what only this file of the machine has, whatever its name."""
        ...

    def let_go(self, descriptor: int, identity: tuple[int, int]) -> None:
        """Close what was opened beside a descriptor of the file with this identity, which somebody has closed."""
        ...
