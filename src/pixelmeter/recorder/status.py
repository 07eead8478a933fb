"""What `Meter.status()` tells."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TypedDict

from pixelmeter.core.ports import Files
from pixelmeter.drain import DrainCounts
from pixelmeter.spool import SpoolCounts

__all__ = ["LeftFiles", "RecorderStatus", "Status", "WriterStatus", "left_files"]


class WriterStatus(TypedDict):
    """How the thread is doing that writes to the ledger."""

    running: bool
    """Whether the thread runs: not before the first image call, and not after `close`."""
    restarts: int
    """How often it died and was started again."""


class LeftFiles(TypedDict):
    """What other processes, living and dead, have in the same spool folder."""

    files: int
    """How many files."""
    bytes: int
    """Their size in bytes."""


class RecorderStatus(TypedDict):
    """What waits for the ledger, and what keeps it waiting."""

    waiting: int
    """Attempts that have ended and are not in the ledger yet; counted up to 100,000."""
    waiting_seconds: float
    """How long the oldest of them has been waiting; 0 where none is."""
    writer: WriterStatus
    """The thread that writes to the ledger."""
    spool: SpoolCounts
    """The files in which attempts wait for the ledger."""
    drain: DrainCounts | None
    """What was written to the ledger; None before the first attempt."""
    ledger_error: str | None
    """The last error of the ledger, without secrets; None while it takes everything."""


class Status(RecorderStatus):
    """How a meter is doing, as `Meter.status` returns it: a dict with these keys and those of RecorderStatus."""

    database_url: str
    """The ledger, without its password."""
    spool_dir: str
    """The folder in which attempts wait for the ledger."""
    left: LeftFiles
    """What other processes have in that folder."""
    failures: Mapping[str, int]
    """Failures of pixelmeter itself, by place; none of them has reached a caller."""


def left_files(files: Files, folder: str, own: str | None) -> LeftFiles:
    """Return the spool files of others in a folder: those of a process are named `own` and more."""
    sizes: Mapping[str, int] = {}
    with suppress(OSError):
        sizes = files.sizes(folder)
    left = [
        size for name, size in sizes.items() if name.endswith(".spool") and (own is None or not name.startswith(own))
    ]
    return {"files": len(left), "bytes": sum(left)}
