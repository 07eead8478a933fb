"""What a dead process left in the spool folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from pixelmeter.core.ports import Files
from pixelmeter.core.record import Attempt
from pixelmeter.drain.writer import GROUP, Writer, once
from pixelmeter.spool import OUTCOME, Frame, Reader

__all__ = ["Estate", "spooled"]

_NAME = re.compile(r"(?P<process>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-[0-9]{6,}\.spool")


class _File(NamedTuple):
    name: str
    descriptor: int
    reader: Reader


def spooled(files: Files, folder: str) -> dict[str, list[str]]:
    """Return the names of the spool files by process, in order; raise OSError."""
    found = [match for name in files.list(folder) if (match := _NAME.fullmatch(name))]
    grouped = groupby(found, key=lambda match: match["process"])
    return {process: [match[0] for match in matches] for process, matches in grouped}


class Estate:
    """All files of one dead process, read in order as one stream.

    Whatever interrupts it can be done again by anybody: outcomes come before intents, so an attempt that is in the
    ledger as it ended stays so, and older files go before younger ones, so an intent never outlives its outcome.
    """

    def __init__(self, files: Files, folder: str, process: str) -> None:
        self._files = files
        self._folder = folder
        self._process = process
        self._claimed: list[_File] = []
        self.interrupted = 0
        """Attempts that had no outcome."""
        self.error: OSError | None = None
        """Why a file could not be read or deleted."""

    def claim(self, names: Sequence[str]) -> bool:
        """Lock the files; False, with none of them locked, while the process lives or somebody else is at it.

        Raises OSError.
        """
        for name in names:
            descriptor = self._files.adopt(self._path(name))
            if descriptor is None:
                break
            self._claimed.append(_File(name, descriptor, Reader(self._files, descriptor)))
        # A process that ends lets go of one file after the other, and may have made another since we looked.
        if len(self._claimed) == len(names) and spooled(self._files, self._folder).get(self._process) == names:
            return True
        self.release()
        return False

    def commit(self, writer: Writer) -> int:
        """Hand everything to the ledger and delete what is done with; return how many attempts. Raises LedgerError.

        Where a file cannot be read, nothing is deleted and no attempt is called interrupted: its outcome may be there.
        """
        names = [file.name for file in self._claimed]
        committed = dict(writer.positions(names))
        positions: dict[str, int] = {}
        begun: dict[str, Attempt] = {}
        ended: list[Attempt] = []
        count = 0
        for file, frame in self._frames():
            if frame.kind != OUTCOME:
                begun[frame.attempt.id] = frame.attempt
                continue
            begun.pop(frame.attempt.id, None)
            if frame.end <= committed.get(file.name, 0):
                continue
            ended.append(frame.attempt)
            positions[file.name] = frame.end
            if len(ended) == GROUP:
                writer.write(once(ended), positions, ())
                count += len(ended)
                ended, positions = [], {}
        if self.error is not None or any(file.reader.foreign for file in self._claimed):
            if ended:
                writer.write(once(ended), positions, ())
            return count + len(ended)
        self.interrupted = len(begun)
        rest = once([*ended, *begun.values()])
        while len(rest) > GROUP:
            writer.write(rest[:GROUP], {}, ())
            count += GROUP
            rest = rest[GROUP:]
        kept = self.unreadable()
        writer.write(rest, {}, [name for name in names if name not in kept])
        self._remove(kept)
        return count + len(rest)

    def damaged(self) -> int:
        """Return the bytes that belong to no frame."""
        return sum(file.reader.damaged for file in self._claimed)

    def unreadable(self) -> list[str]:
        """Return the files of another format version, and those with bytes but no frame."""
        readers = ((file.name, file.reader) for file in self._claimed)
        return [name for name, reader in readers if reader.foreign or (reader.damaged and not reader.frames)]

    def release(self) -> None:
        """Unlock the files."""
        while self._claimed:
            try:
                self._files.close(self._claimed.pop().descriptor)
            except OSError as error:
                self.error = error

    def _frames(self) -> Iterator[tuple[_File, Frame]]:
        for file in self._claimed:
            try:
                while frames := file.reader.read(final=True):
                    for frame in frames:
                        yield file, frame
            except OSError as error:
                self.error = error

    def _remove(self, kept: Sequence[str]) -> None:
        for file in self._claimed:
            if file.name in kept:
                continue
            try:
                self._files.remove(self._path(file.name))
            except OSError as error:
                self.error = error

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"
