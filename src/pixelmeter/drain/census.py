"""What lies in a spool folder, looked at without taking any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pixelmeter.core.ports import Files
from pixelmeter.drain.estate import spooled
from pixelmeter.spool import Reader

__all__ = ["Census", "census"]


@dataclass(frozen=True, slots=True)
class Census:
    """The spool files of a folder by what is to become of them."""

    living: int
    """Files of processes that live."""
    left: int
    """Files of dead processes, which the next one that opens the ledger takes in."""
    waiting: int
    """Attempts in the files that are left; some may be in the ledger already."""
    unreadable: Sequence[str]
    """Files of another format version, without any frame, or closed to this user, each with the reason if known."""


def census(files: Files, folder: str) -> Census:
    """Return what lies in the folder; raise OSError when it cannot be listed.

    A file that is left is locked while it is read, so for that moment nobody else takes it in.
    """
    living = left = waiting = 0
    unreadable: list[str] = []
    for names in spooled(files, folder).values():
        ids: set[str] = set()
        for name in names:
            try:
                descriptor = files.adopt(f"{folder}/{name}")
                if descriptor is None:
                    living += 1
                    continue
                left += 1
                try:
                    reader = Reader(files, descriptor)
                    ids.update(_ids(reader))
                finally:
                    files.close(descriptor)
                if reader.foreign or (reader.damaged and not reader.frames):
                    unreadable.append(name)
            except OSError as error:
                unreadable.append(f"{name} ({error.strerror})")
        waiting += len(ids)
    return Census(living, left, waiting, unreadable)


def _ids(reader: Reader) -> Iterator[str]:
    while frames := reader.read(final=True):
        for frame in frames:
            yield frame.attempt.id
