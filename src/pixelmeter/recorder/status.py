"""What `Meter.status()` tells."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TypedDict

from pixelmeter.core.ports import Files

__all__ = ["DrainCounts", "LeftFiles", "RecorderStatus", "SpoolCounts", "Status", "WriterStatus", "left_files"]


class SpoolCounts(TypedDict):
    """What this process has spooled, and what the disk refused."""

    frames: int
    """Frames appended since the start."""
    segments: int
    """Files not yet removed."""
    bytes: int
    """Bytes in those files."""
    overflow: int
    """Outcomes in memory because the disk refused them; they go to the ledger, but not through a kill."""
    missed_intents: int
    """Intents that the disk refused, or the limit: a kill would leave no trace of those calls."""
    dropped: int
    """Outcomes lost: the folder had its limit, or neither the disk nor the memory had room."""
    dropped_cost: int
    """Nano-dollars of those whose cost was known."""
    held: int
    """Bytes in the spool folder that are not in the ledger, of all processes, as far as this one knows."""
    limit: int
    """How many there may be (`PIXELMETER_SPOOL_LIMIT`)."""
    last_error: str | None


class DrainCounts(TypedDict):
    """What this process has written to the ledger."""

    committed: int
    """Attempts of its own."""
    adopted: int
    """Attempts of dead processes."""
    interrupted: int
    """Those of the adopted that never ended."""
    damaged: int
    """Bytes in spool files that belong to no frame."""
    refused: int
    """Attempts that the ledger refuses; they are kept in files of their own beside the spool."""
    unreadable: tuple[str, ...]
    """Files that the last adoption left in place: of a newer pixelmeter, without any frame, or failing."""
    last_error: str | None


class WriterStatus(TypedDict):
    """How the thread is doing that writes to the ledger."""

    running: bool
    """Whether there is one: not before the first image call, and not after `close`."""
    restarts: int
    """How often it died, and another one took over."""


class LeftFiles(TypedDict):
    """What other processes have in the same spool folder: those that live, and those that died and left it."""

    files: int
    bytes: int


class RecorderStatus(TypedDict):
    """What is kept where, and how its way into the ledger is going."""

    waiting: int
    """Attempts that ended and are not in the ledger, in the spool or in memory; counted up to 100,000."""
    waiting_seconds: float
    """How long the oldest of them has been waiting."""
    writer: WriterStatus
    spool: SpoolCounts
    drain: DrainCounts | None
    """None before the first attempt."""
    ledger_error: str | None
    """What the ledger last said no to, without secrets; None while it takes everything."""


class Status(RecorderStatus):
    """How a meter is doing."""

    database_url: str
    """Without secrets."""
    spool_dir: str
    left: LeftFiles
    failures: Mapping[str, int]
    """Our own failures, by place."""


def left_files(files: Files, folder: str, own: str | None) -> LeftFiles:
    """Return the spool files of others in a folder: those of a process are named `own` and more."""
    sizes: Mapping[str, int] = {}
    with suppress(OSError):
        sizes = files.sizes(folder)
    left = [
        size for name, size in sizes.items() if name.endswith(".spool") and (own is None or not name.startswith(own))
    ]
    return {"files": len(left), "bytes": sum(left)}
