"""Attempts on disk until the ledger has them. Knows files only; `pixelmeter.drain` takes them to the ledger."""

from __future__ import annotations

from pixelmeter.spool.frames import INTENT, OUTCOME, Frame, Kind
from pixelmeter.spool.names import Named, sorted_out
from pixelmeter.spool.reader import Reader
from pixelmeter.spool.segment import Segment
from pixelmeter.spool.spool import Durability, Spool
from pixelmeter.spool.status import SpoolStatus

__all__ = [
    "INTENT",
    "OUTCOME",
    "Durability",
    "Frame",
    "Kind",
    "Named",
    "Reader",
    "Segment",
    "Spool",
    "SpoolStatus",
    "sorted_out",
]
