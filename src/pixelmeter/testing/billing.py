"""The billing log: what the gateway will charge, on disk before the first byte of its answer leaves."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Billing", "Entry", "read_log"]

_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attempt as the gateway sees it; a line of the log has these fields and `sequence`."""

    request_id: str
    received_at: int
    """Unix time in microseconds when the head of the request had come."""
    method: str
    path: str
    gateway: str
    operation: str
    """generate, edit, variation, chat_image; job for the poll that finds one completed, which is when it is charged."""
    model: str
    """The model that ran, or would have."""
    images: int
    """Images in the answer."""
    input_images: int
    status: int | None
    """None when no answer is intended."""
    charged_nano: int
    outcome: str
    """What the gateway intends: success, error, throttled, rejected, refused, pending, redirected, challenged, cut, or
    incomplete when the request never came whole."""
    tag: str | None
    retry_count: int
    test_id: str | None


class Billing:
    """Appends entries to a file, one JSON line and one system call each."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.entries: deque[Entry] = deque(maxlen=_KEPT)
        """The latest."""
        self.count = 0
        """How many were written since the start or the last clearing."""
        self.charged_nano = 0
        """What those add up to."""
        self.by_tag: dict[tuple[str, str], tuple[int, int]] = {}
        """Requests and nano-dollars by month (YYYY-MM, UTC) and tag, "" for none."""
        self._sequence = 0
        self._since = 0

    def write(self, entry: Entry) -> None:
        """Append an entry; raise OSError when the file does not take it whole.

        A request that came before the log was emptied is none of what follows.
        """
        if entry.received_at < self._since:
            return
        self._sequence += 1
        line = json.dumps({"sequence": self._sequence, **asdict(entry)}).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError("the billing log did not take a whole line: is the disk full?")
        self.entries.append(entry)
        self.count += 1
        self.charged_nano += entry.charged_nano
        key = (time.strftime("%Y-%m", time.gmtime(entry.received_at // 1_000_000)), entry.tag or "")
        requests, charged = self.by_tag.get(key, (0, 0))
        self.by_tag[key] = (requests + 1, charged + entry.charged_nano)

    def clear(self) -> None:
        """Empty the file; sequence numbers go on."""
        self._since = time.time_ns() // 1000
        os.ftruncate(self._descriptor, 0)
        self.entries.clear()
        self.by_tag.clear()
        self.count = self.charged_nano = 0


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a billing log, oldest first."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
