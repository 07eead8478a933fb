"""What `Meter.status()` tells."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TypedDict

from pixelmeter.core.ports import Files

__all__ = ["DrainCounts", "LeftFiles", "RecorderStatus", "SpoolCounts", "Status", "WriterStatus", "left_files"]


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


class DrainCounts(TypedDict):
    """What this process has written to the ledger."""

    committed: int
    """Attempts of this process."""
    adopted: int
    """Attempts of processes that died before they could write them."""
    interrupted: int
    """Those of the adopted ones that never ended."""
    damaged: int
    """Bytes in spool files that cannot be read."""
    refused: int
    """Attempts that the ledger refuses; they are kept in files of their own in the spool folder."""
    unreadable: tuple[str, ...]
    """Files of dead processes that were left in place: of a newer pixelmeter, without a record, or with an error."""
    last_error: str | None
    """The last error while attempts were written; None where there was none."""


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
