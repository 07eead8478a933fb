"""One pass over a spool file."""

from __future__ import annotations

from pixelmeter.core.ports import Files
from pixelmeter.spool.frames import LARGEST_FRAME, Frame, scan

__all__ = ["Reader"]

_CHUNK = 4 * LARGEST_FRAME


class Reader:
    """Gives the frames of a file from its start, each once, over as many calls as it takes."""

    def __init__(self, files: Files, descriptor: int) -> None:
        self._files = files
        self._descriptor = descriptor
        self._position = 0
        self.frames = 0
        self.damaged = 0
        """Bytes so far that belong to no frame."""
        self.foreign = 0
        """Frames so far that only a newer pixelmeter can read."""

    def read(self, *, final: bool) -> list[Frame]:
        """Return the next frames, some hundred at most; [] at the end of the file.

        `final` says that nobody appends any more: a frame cut off at the end is damage then. Raises OSError.
        """
        while True:
            data = self._chunk()
            ended = len(data) < _CHUNK
            found = scan(data, self._position, final=final and ended)
            self._position += found.used
            self.frames += len(found.frames)
            self.damaged += found.damaged
            self.foreign += found.foreign
            if found.frames or ended:
                return found.frames

    def _chunk(self) -> bytes:
        data = b""
        while len(data) < _CHUNK:
            more = self._files.read(self._descriptor, self._position + len(data), _CHUNK - len(data))
            if not more:
                break
            data += more
        return data
