"""Server-sent events, split at any byte, with their images cut short."""

from __future__ import annotations

from collections.abc import Callable

from pixelmeter.core.skim import Skim

_DATA = b"data:"


class EventStream:
    """Feed the bytes of a text/event-stream; every event's skimmed data goes to `on_event`, complete events only.

    Lines may end in LF, CR or CRLF.
    """

    __slots__ = ("_after_return", "_data", "_has_data", "_in_data", "_on_event", "_prefix", "_skipping")

    def __init__(self, on_event: Callable[[bytes], None]) -> None:
        self._on_event = on_event
        self._data = Skim()
        self._has_data = False
        self._prefix = b""  # what came of the line before its field is known
        self._in_data = False
        self._skipping = False
        self._after_return = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        at, end = 0, len(chunk)
        if self._after_return and at < end:
            self._after_return = False
            if chunk[at : at + 1] == b"\n":
                at += 1
        while at < end:
            feed_end = chunk.find(b"\n", at)
            return_end = chunk.find(b"\r", at, feed_end if feed_end >= 0 else end)
            stop = return_end if return_end >= 0 else feed_end
            self._part(chunk[at : stop if stop >= 0 else end])
            if stop < 0:
                return
            self._end_line()
            at = stop + 1
            if stop == return_end:
                if at == end:
                    self._after_return = True
                elif chunk[at : at + 1] == b"\n":
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
