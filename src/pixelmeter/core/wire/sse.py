"""Server-sent events, split at any byte, with their images cut short."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable

from pixelmeter.core.wire.skim import Skim, find

_DATA = b"data:"
_PIECE = 65_536


class EventStream:
    """Feed the bytes of a text/event-stream; every event's skimmed data goes to `on_event`, complete events only.

    Lines may end in LF, CR or CRLF; a byte order mark before the first one is left out.
    """

    __slots__ = ("_after_return", "_data", "_has_data", "_in_data", "_mark", "_on_event", "_prefix", "_skipping")

    def __init__(self, on_event: Callable[[bytes], None]) -> None:
        self._on_event = on_event
        self._data = Skim()
        self._has_data = False
        self._prefix = b""  # what came of the line before its field is known
        self._in_data = False
        self._skipping = False
        self._after_return = False
        self._mark: bytes | None = b""  # what may be the begin of a byte order mark; None once that is settled

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        # Lines are copied: where a whole body comes at once, only a piece of it at a time.
        for at in range(0, len(chunk), _PIECE):
            self._feed(chunk[at : at + _PIECE])

    def _feed(self, chunk: bytes) -> None:
        if self._mark is not None:
            chunk = self._mark + chunk
            if len(chunk) < len(BOM_UTF8) and BOM_UTF8.startswith(chunk):
                self._mark = chunk
                return
            self._mark = None
            chunk = chunk.removeprefix(BOM_UTF8)
        at, end = 0, len(chunk)
        if self._after_return and at < end:
            self._after_return = False
            if chunk[at : at + 1] == b"\n":
                at += 1
        # Each is searched for again only once it is passed: a chunk of CRs alone would be searched for LFs at each.
        line_feed = carriage_return = -1
        while at < end:
            if line_feed < at:
                line_feed = find(chunk, b"\n", at)
            if carriage_return < at:
                carriage_return = find(chunk, b"\r", at)
            stop = min(line_feed, carriage_return)
            self._part(chunk[at:stop])
            if stop == end:
                return
            self._end_line()
            at = stop + 1
            if stop == carriage_return:
                if at == end:
                    self._after_return = True
                elif at == line_feed:
                    at += 1

    def _part(self, part: bytes) -> None:
        if not part or self._skipping:
            return
        if self._in_data:
            self._data.feed(part)
            return
        line = self._prefix + part
        if line.startswith(_DATA):
            self._in_data = True
            if self._has_data:
                self._data.feed(b"\n")
            self._has_data = True
            self._prefix = b"data"
            self._data.feed(line[len(_DATA) :])
        elif _DATA.startswith(line):
            self._prefix = line
        else:
            self._prefix = line[:1]
            self._skipping = True

    def _end_line(self) -> None:
        blank = not self._prefix
        self._prefix = b""
        self._in_data = False
        self._skipping = False
        if blank and self._has_data:
            document = self._data.document()
            self._data = Skim()
            self._has_data = False
            if document is not None:
                self._on_event(document)
