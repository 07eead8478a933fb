"""Whether a ledger has changed, told without asking what it has."""

from __future__ import annotations

import contextlib
import os

from pixelmeter.ledger.reader import LedgerReader

__all__ = ["state_of"]

# The header of the index of SQLite's log counts commits and says where the last one ended.
_INDEX_HEADER = 96


def state_of(reader: LedgerReader) -> str:
    """Return text that is another one once the ledger has more; where files tell it, after each commit.

    What is asked next is of this state or a later one.
    """
    statement = reader.dialect.state
    if statement is not None:
        return str(reader.rows(statement)[0][0])
    # The files may be ahead of what has been asked so far.
    reader.refresh()
    path = reader.path
    found = [_file(f"{path}{ending}") for ending in ("", "-wal")]
    with contextlib.suppress(OSError), open(f"{path}-shm", "rb") as index:
        found.append(index.read(_INDEX_HEADER).hex())
    return " ".join(found)


def _file(path: str) -> str:
    try:
        about = os.stat(path)
    except OSError:
        return "none"
    return f"{about.st_ino} {about.st_size} {about.st_mtime_ns}"
