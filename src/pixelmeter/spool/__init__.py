"""Attempts on disk until the ledger has them. Knows files only; `pixelmeter.drain` takes them to the ledger."""

from __future__ import annotations

from pixelmeter.spool.frames import INTENT, JOB_END, OUTCOME, Frame, FrameKind, FrameReader
from pixelmeter.spool.names import Named, sorted_out
from pixelmeter.spool.spool import Durability, Segment, Spool, SpoolStatus

__all__ = [
    "INTENT",
    "JOB_END",
    "OUTCOME",
    "Durability",
    "Frame",
    "FrameKind",
    "FrameReader",
    "Named",
    "Segment",
    "Spool",
    "SpoolStatus",
    "sorted_out",
]
