"""What lies in a spool folder, looked at without taking any of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pixelmeter.core.ports import Files
from pixelmeter.spool import Reader, sorted_out

__all__ = ["Census", "census", "count_refused"]


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
    """Files of a newer pixelmeter, without any frame, or closed to this user, each with the reason if known."""
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attempts that were set aside because the ledger refuses them, by the reason."""


def census(files: Files, folder: str) -> Census:
    """Return what lies in the folder; raise OSError when it cannot be listed.

    A file that is left is locked while it is read, so for that moment nobody else takes it in.
    """
    living = left = waiting = 0
    unreadable: list[str] = []
    found = sorted_out(files.list(folder))
    for names in found.spooled.values():
        ids: set[str] = set()
        for name in names:
            looked_at = _look(files, folder, name, ids, unreadable)
            living += not looked_at
            left += looked_at
        waiting += len(ids)
    refused = count_refused(files, folder, unreadable)
    return Census(living, left, waiting, unreadable, refused)


def count_refused(files: Files, folder: str, unreadable: list[str]) -> Mapping[str, int]:
    """Return how many attempts were set aside by the reason, and add files that cannot be read; raise OSError."""
    refused: dict[str, int] = {}
    for reason, names in sorted_out(files.list(folder)).refused.items():
        ids: set[str] = set()
        for name in names:
            _look(files, folder, name, ids, unreadable)
        refused[reason.replace("-", " ")] = len(ids)
    return refused


def _look(files: Files, folder: str, name: str, ids: set[str], unreadable: list[str]) -> bool:
    """Add the attempts of a file, or say why they cannot be read; False where somebody has the file."""
    try:
        descriptor = files.adopt(f"{folder}/{name}")
        if descriptor is None:
            return False
        try:
            reader = Reader(files, descriptor)
            ids.update(_ids(reader))
        finally:
            files.close(descriptor)
        if reader.foreign or (reader.damaged and not reader.frames):
            unreadable.append(name)
    except OSError as error:
        unreadable.append(f"{name} ({error.strerror})")
    return True


def _ids(reader: Reader) -> Iterator[str]:
    while frames := reader.read(final=True):
        for frame in frames:
            yield frame.attempt.id
