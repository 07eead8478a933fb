"""What lies in the write-ahead log of a SQLite file, read without SQLite, which would change it or drop it."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

__all__ = ["Wal", "page_size", "read_wal"]

# sqlite.org/fileformat2.html, section 4: the header, and the head of a frame.
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_PAGE_SIZE = struct.Struct(">16xH")


class Wal(NamedTuple):
    """A log of at least one byte."""

    is_valid: bool
    """Whether SQLite would read it; one that it would not read it drops."""
    page_size: int
    commits: int
    """Transactions that end in it, as far as its frames belong together."""


def read_wal(path: str) -> Wal | None:
    """Return what the log of a database file is; None where there is none, or it is empty. Raises OSError."""
    if not os.path.isfile(f"{path}-wal"):
        return None
    try:
        with open(f"{path}-wal", "rb") as file:
            head = file.read(_HEADER.size)
            if not head:
                return None
            if len(head) < _HEADER.size:
                return Wal(False, 0, 0)
            magic, _, size, _, *salts = _HEADER.unpack(head)[:6]
            if magic not in _MAGIC or size < 512 or size & (size - 1) or not _has_its_checksum(head, _MAGIC[magic]):
                return Wal(False, 0, 0)
            commits = 0
            while len(frame := file.read(_FRAME.size)) == _FRAME.size:
                _, ends, *frame_salts, _, _ = _FRAME.unpack(frame)
                # What follows is left from before the log began anew.
                if frame_salts != salts:
                    break
                commits += ends > 0
                file.seek(size, os.SEEK_CUR)
            return Wal(True, size, commits)
    except FileNotFoundError:
        return None


def page_size(path: str) -> int | None:
    """Return the page size of a database file; None where it has none, as an empty file. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(_PAGE_SIZE.size)
    if len(head) < _PAGE_SIZE.size or not head.startswith(b"SQLite format 3\0"):
        return None
    size: int = _PAGE_SIZE.unpack(head)[0]
    return 65536 if size == 1 else size


def _has_its_checksum(head: bytes, order: str) -> bool:
    first = second = 0
    words = struct.unpack(f"{order}6I", head[:24])
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second) == head[24:32]
