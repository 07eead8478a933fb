"""Attempts on disk until the ledger has them. Knows files only; `pixelmeter.drain` takes them to the ledger."""

from __future__ import annotations

from pixelmeter.spool.frames import INTENT, JOB_END, LARGEST_FRAME, OUTCOME, Frame, FrameKind, FrameReader
from pixelmeter.spool.names import Named, is_mark, sorted_out
from pixelmeter.spool.room import held
from pixelmeter.spool.segment import Segment, SpoolCounts
from pixelmeter.spool.spool import Durability, Spool

__all__ = [
    "INTENT",
    "JOB_END",
    "LARGEST_FRAME",
    "OUTCOME",
    "Durability",
    "Frame",
    "FrameKind",
    "FrameReader",
    "Named",
    "Segment",
    "Spool",
    "SpoolCounts",
    "held",
    "is_mark",
    "sorted_out",
]
