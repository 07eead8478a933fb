"""Files that come with pixelmeter, and small ones that users write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["UnreadableFile", "asset_dir", "read_text"]

LARGEST = 4_000_000
"""Bytes of a file that is still read."""

# Opening a pipe must not wait for its other end.
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class UnreadableFile(Exception):
    """Why a file is not read; the text does not name the file."""


def asset_dir(name: str) -> Path:
    """Return the folder `name`: inside the package when it is installed, at the top of a checkout otherwise."""
    # Where a checkout is reached through a link, what lies beside it is where the link leads.
    here = Path(__file__).resolve()
    packaged = here.parent / name
    return packaged if packaged.is_dir() else here.parents[2] / name


def read_text(path: str | os.PathLike[str]) -> str:
    """Return what a regular file of UTF-8 text holds, its line ends as newlines, without a byte order mark."""
    try:
        data = _read(path)
    except (OSError, ValueError) as error:
        # A path with a NUL character is a ValueError.
        raise UnreadableFile(getattr(error, "strerror", None) or str(error)) from None
    if len(data) > LARGEST:
        raise UnreadableFile(f"it is larger than {LARGEST // 1_000_000} MB")
    if data.startswith(_UTF_16):
        raise UnreadableFile("it is UTF-16: save it as UTF-8")
    try:
        # Not "utf-8-sig": a codec must be imported, which not every user id may do.
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"it is not UTF-8 text, at byte {error.start} in line {line}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read(path: str | os.PathLike[str]) -> bytes:
    descriptor = os.open(path, _OPEN)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableFile("it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
