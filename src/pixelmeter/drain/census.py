"""What lies in a spool folder, and how far the ledger says that it has read it; nothing of it is taken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pixelmeter.core.attempts.jobs import Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files
from pixelmeter.spool import INTENT, FrameReader, sorted_out
from pixelmeter.spool.frames import scan

__all__ = ["Census", "Mismatches", "census", "count_refused", "mismatches"]

# Of a file that the ledger is far behind with, the first attempts are enough.
_READ = 1 << 20


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


class Mismatches(NamedTuple):
    """Spool files that do not fit to how far a ledger says that it has read them."""

    gone: Sequence[str]
    """Files that the ledger has read in part, and that are not there."""
    shorter: Sequence[str]
    """Files of which the ledger has read more than there is."""
    late: Sequence[str]
    """Files of living processes with attempts that ended long ago, and that the ledger has not read."""


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


def mismatches(files: Files, folder: str, positions: Mapping[str, int], *, long_ago: int) -> Mismatches:
    """Compare the positions of a ledger, in bytes, with a folder; `long_ago` is a Unix time in microseconds.

    Raises OSError where the folder cannot be listed.
    """
    names = [name for names in sorted_out(files.list(folder)).spooled.values() for name in names]
    shorter: list[str] = []
    late: list[str] = []
    for name in names:
        position = positions.get(name, 0)
        try:
            with open(os.path.join(folder, name), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(position)
                data = file.read(_READ)
            if size < position:
                shorter.append(name)
            elif _holds_an_older_outcome(data, position, long_ago) and _is_living(files, folder, name):
                late.append(name)
        except OSError:
            # It has gone meanwhile, or is not ours; the census says so.
            continue
    present = set(names)
    return Mismatches([name for name in positions if name not in present], shorter, late)


def _look(files: Files, folder: str, name: str, ids: set[str], unreadable: list[str]) -> bool:
    """Add the attempts of a file, or say why they cannot be read; False where somebody has the file."""
    try:
        descriptor = files.adopt(f"{folder}/{name}")
        if descriptor is None:
            return False
        try:
            reader = FrameReader(files, descriptor)
            ids.update(_ids(reader))
        finally:
            files.close(descriptor)
        if reader.foreign or (reader.damaged and not reader.frames):
            unreadable.append(name)
    except OSError as error:
        unreadable.append(f"{name} ({error.strerror})")
    return True


def _ids(reader: FrameReader) -> Iterator[str]:
    while frames := reader.read(final=True):
        for frame in frames:
            yield frame.record.id


def _holds_an_older_outcome(data: bytes, position: int, long_ago: int) -> bool:
    frames = scan(data, position, final=False).frames
    return any(frame.kind != INTENT and _ended_at(frame.record) < long_ago for frame in frames)


def _ended_at(record: Record) -> int:
    return record.started_at + record.duration if isinstance(record, Attempt) else record.heard_at


def _is_living(files: Files, folder: str, name: str) -> bool:
    descriptor = files.adopt(os.path.join(folder, name))
    if descriptor is None:
        return True
    files.close(descriptor)
    return False
