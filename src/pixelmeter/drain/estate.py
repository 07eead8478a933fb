"""What a dead process left in the spool folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pixelmeter.core.ports import Files
from pixelmeter.spool import Frame, Reader

__all__ = ["Estate"]


class Estate:
    """All files of one dead process, read in order as one stream.

    Whoever has locked the oldest of them has them all, so a process may have left more files than can be open at once.
    """

    def __init__(self, files: Files, folder: str, process: str, names: Sequence[str]) -> None:
        """`names` are those of all its files, oldest first."""
        self.process = process
        self.names = names
        self.error: Exception | None = None
        """Why a file could not be read or deleted."""
        self._files = files
        self._folder = folder
        self._oldest: int | None = None
        self._is_complete = True
        self._readers: dict[str, Reader] = {}

    def is_left(self) -> bool:
        """Return whether nobody has any of the files. Raises OSError."""
        for name in self.names:
            descriptor = self._files.adopt(self._path(name))
            if descriptor is None:
                return False
            self._files.close(descriptor)
        return True

    def claim(self) -> bool:
        """Lock the files; False while somebody else has them. Raises OSError."""
        self._oldest = self._files.adopt(self._path(self.names[0]))
        return self._oldest is not None

    def frames(self) -> Iterator[tuple[str, Frame]]:
        """Give the frames that can be read, each with the name of its file."""
        for name in self.names:
            try:
                yield from self._frames(name)
            except Exception as error:
                self.error = error

    @property
    def is_whole(self) -> bool:
        """Whether all of it could be read: else the outcome of an attempt may be where nothing can be told."""
        is_readable = not any(reader.foreign for reader in self._readers.values())
        return self.error is None and self._is_complete and is_readable

    def damaged(self) -> int:
        """Return the bytes that belong to no frame."""
        return sum(reader.damaged for reader in self._readers.values())

    def unreadable(self) -> list[str]:
        """Return the files that only a newer pixelmeter can read, and those with bytes but no frame."""
        found = self._readers.items()
        return [name for name, reader in found if reader.foreign or (reader.damaged and not reader.frames)]

    def finished(self) -> list[str]:
        """Return the files that nobody needs any more once the ledger has what is in them."""
        kept = self.unreadable()
        return [name for name in self.names if name not in kept]

    def remove(self) -> None:
        """Delete those files, oldest first, so that an intent never outlives its outcome."""
        for name in self.finished():
            try:
                if name == self.names[0] and self._oldest is not None:
                    oldest, self._oldest = self._oldest, None
                    self._files.discard(self._path(name), oldest)
                else:
                    self._files.remove(self._path(name))
            except Exception as error:
                self.error = error

    def release(self) -> None:
        """Unlock the files."""
        oldest, self._oldest = self._oldest, None
        if oldest is not None:
            try:
                self._files.close(oldest)
            except Exception as error:
                self.error = error

    def _frames(self, name: str) -> Iterator[tuple[str, Frame]]:
        is_oldest = name == self.names[0]
        descriptor = self._oldest if is_oldest else self._files.adopt(self._path(name))
        if descriptor is None:
            # Somebody looks at it just now.
            self._is_complete = False
            return
        try:
            reader = self._readers[name] = Reader(self._files, descriptor)
            while frames := reader.read(final=True):
                for frame in frames:
                    yield name, frame
        finally:
            if not is_oldest:
                self._files.close(descriptor)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"
