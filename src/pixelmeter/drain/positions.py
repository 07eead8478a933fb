"""How far a ledger says that it has read the spool files of a folder, beside what lies there; takes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pixelmeter.core.ports import Files
from pixelmeter.spool import OUTCOME, sorted_out
from pixelmeter.spool.frames import scan

__all__ = ["Compared", "compare"]

# Of a file that the ledger is far behind with, the first attempts are enough.
_READ = 1 << 20


class Compared(NamedTuple):
    """What does not fit."""

    gone: Sequence[str]
    """Files that the ledger has read in part, and that are not there."""
    shorter: Sequence[str]
    """Files of which the ledger has read more than there is."""
    late: Sequence[str]
    """Files of living processes with attempts that ended long ago, and that the ledger has not read."""


def compare(files: Files, folder: str, positions: Mapping[str, int], *, long_ago: int) -> Compared:
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
    return Compared([name for name in positions if name not in present], shorter, late)


def _holds_an_older_outcome(data: bytes, position: int, long_ago: int) -> bool:
    frames = scan(data, position, final=False).frames
    return any(
        frame.kind == OUTCOME and frame.attempt.started_at + frame.attempt.duration < long_ago for frame in frames
    )


def _is_living(files: Files, folder: str, name: str) -> bool:
    descriptor = files.adopt(os.path.join(folder, name))
    if descriptor is None:
        return True
    files.close(descriptor)
    return False
