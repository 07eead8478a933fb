"""The spool of one process: appended to by every thread, read and cleared away by one."""

from __future__ import annotations

import errno
import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Literal

import msgspec

from pixelmeter.core.attempts.jobs import Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files, Ids
from pixelmeter.settings import SPOOL_LIMIT
from pixelmeter.spool.frames import INTENT, JOB_END, OUTCOME, FrameKind, encode
from pixelmeter.spool.names import mark_name, refused_name
from pixelmeter.spool.room import Room, SpoolFull, surely_held
from pixelmeter.spool.segment import CLOSED, Segment, SpoolCounts

__all__ = ["Durability", "Spool"]

Durability = Literal["process", "sync"]
"""What an outcome survives once `Spool.outcome` has returned: the end of the process, or a power cut as well."""


class Spool:
    """Keeps attempts in files of a folder; nothing is opened before the first of them.

    `intent` and `outcome` are for any thread, signal handler or finalizer: they take no lock, wait for nothing but
    the one write, and never raise. `overflow`, `take`, `segments`, `sealed`, `carry`, `set_aside`, `reopen`, `sync`,
    `seal`, `remove`, `settle`, `measure` and `unmark` are for the one thread that drains.

    A folder holds `limit` bytes at most that the ledger does not have. Beyond that no attempt begins to be kept: its
    outcome is dropped, unless there is room again by then. One that has begun is kept to its end.
    """

    def __init__(
        self,
        folder: str,
        files: Files,
        ids: Ids,
        *,
        segment_bytes: int = 8 * 1024 * 1024,
        memory_frames: int = 10_000,
        limit: int = SPOOL_LIMIT,
        durability: Durability = "process",
        note: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """`note` takes what the disk refused, attempts that no frame can hold, and that the limit is reached."""
        self._folder = folder
        self._files = files
        self._ids = ids
        self._segment_bytes = segment_bytes
        self._memory_frames = memory_frames
        self.limit = limit
        """Bytes."""
        self._full = SpoolFull(limit)
        self.on_drop: Callable[[str], bool] = lambda dropped: False
        """Takes the id of a record that is dropped; tells whether it has spent of a lease. Then the folder gets a mark:
        should this process die, its leases are kept."""
        self._synced = durability == "sync"
        self._tell = note
        self._start()

    def _start(self) -> None:
        # Filled with setdefault, so that threads that open at once agree: whoever adopts a process takes all of it.
        self._process: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._segments: list[Segment] = []
        self._active: Segment | None = None
        self._overflow: deque[Record] = deque()
        self._aside: dict[str, tuple[str, int]] = {}
        self._room = Room(self.limit)
        self._begun: dict[str, bool] = {}
        self._mark: Segment | None = None
        self._frames = 0
        self._missed_intents = 0
        self._dropped = 0
        self._dropped_cost = 0
        self._last_error: str | None = None
        # Taken only to count a loss. A finalizer may spool in the middle of that, in the same thread.
        self._losing = threading.RLock()

    def intent(self, attempt: Attempt) -> None:
        """Append the attempt as it would read if the process died now."""
        frame = self._encode(INTENT, attempt)
        if frame is not None and len(frame) > self._room.left and not self._has_room(frame):
            self._begun[attempt.id] = False
            frame = None
        if frame is None or self._append(frame) is None:
            self._missed_intents += 1

    def outcome(self, record: Record) -> None:
        """Append an attempt as it went, or the end of a job; where the disk refuses, keep it in memory for `take`."""
        frame = self._encode(_kind(record), record)
        if frame is None:
            self._drop(record)
            return
        has_begun = self._has_begun(record)
        if len(frame) > self._room.left and not has_begun and not self._has_room(frame):
            self._drop(record)
            self._note(self._full)
            return
        segment = self._append(frame)
        if segment is None:
            if len(self._overflow) < self._memory_frames:
                self._overflow.append(record)
            else:
                self._drop(record)
        elif self._synced and not self._force(segment):
            # What a failed sync leaves on the disk nobody knows, so it goes to another file once more.
            again = self._append(frame)
            if again is not None:
                self._force(again)

    def carry(self, attempt: Attempt) -> Segment | None:
        """Append the intent of a sealed segment to the present one, and return that; None when the disk refuses."""
        frame = self._encode(INTENT, attempt)
        return None if frame is None else self._append(frame)

    def set_aside(self, records: Iterable[Record], reason: str) -> None:
        """Put records that the ledger refuses into a file of their own; they are on the disk once this returns.

        The file is named after the reason and is not kept open, so anybody may try again meanwhile. Raises OSError.
        """
        self._files.make_folder(self._folder)
        name, descriptor, size = self._extend(reason)
        try:
            for record in records:
                frame = encode(_kind(record), record)
                if self._files.append(descriptor, frame) < len(frame):
                    raise OSError(errno.ENOSPC, "the disk took a part of a frame")
                size += len(frame)
            self._files.sync(descriptor)
        finally:
            self._files.close(descriptor)
        self._aside[reason] = name, size

    def overflow(self) -> int:
        """Return how many outcomes wait in memory."""
        return len(self._overflow)

    def take(self) -> Record:
        """Remove the oldest outcome from memory; only as often as `overflow` says."""
        return self._overflow.popleft()

    def segments(self) -> Sequence[Segment]:
        """Return the files, oldest first."""
        return tuple(self._segments)

    def sealed(self, segment: Segment) -> bool:
        """Return whether nothing more will be appended to the segment."""
        return segment is not self._active and not segment.writers

    def seal(self) -> None:
        """Let the next append begin a new segment."""
        self._active = None

    def reopen(self) -> None:
        """Open the files anew that somebody has closed; those that another process has by now are its own."""
        for segment in self.segments():
            with self._noted():
                if not segment.reopen(self._path(segment.name)):
                    self._retire(segment)
                    self._segments.remove(segment)

    def sync(self) -> bool:
        """Force what was appended to the disk; return False when that failed somewhere.

        To be called about once a second: it bounds what a power cut can take. It also begins a new segment where the
        present one was deleted by somebody.
        """
        active = self._active
        with self._noted():
            if active is not None and not self._files.exists(self._path(active.name)):
                self._retire(active)
        forced = [self._force(segment) for segment in self.segments()]
        return all(forced)

    def remove(self, segment: Segment) -> None:
        """Delete a sealed segment; one that cannot be deleted is left to whoever adopts it."""
        self._segments.remove(segment)
        self._remeasure()
        self._discard(segment)

    def settle(self, positions: Mapping[str, int]) -> None:
        """Take note how far the ledger has segments, by their names."""
        for segment in self.segments():
            segment.settled = positions.get(segment.name, segment.settled)
        self._remeasure()

    def measure(self, others: int) -> None:
        """Take note how many bytes other processes have in the folder that the ledger does not have."""
        self._room.measure(sum(segment.size - segment.settled for segment in self.segments()), others)

    def unmark(self) -> Callable[[], None] | None:
        """Forget the mark of this process, so that what is dropped from now on makes another one.

        What is returned deletes it, once nothing depends on it any more; None where there is none.
        """
        mark, self._mark = self._mark, None
        return None if mark is None else partial(self._discard, mark)

    def forget(self) -> None:
        """Leave everything to the parent process, in a forked child before anything else; or to whoever adopts it."""
        for segment in [*self._segments, *([] if self._mark is None else [self._mark])]:
            with suppress(OSError):
                segment.close()
        self._start()

    @property
    def process(self) -> str | None:
        """What the names of this process's files begin with; None before the first of them."""
        return self._process.get("id")

    def identity(self) -> str:
        """Return what the names of this process's files begin with, also before there is one."""
        return self._process.setdefault("id", self._ids.new())

    def claim(self) -> str:
        """Return the same, once there is a file: whoever finds this process dead ends what it had of the ledger."""
        if not self._segments:
            self._open()
        return self.identity()

    @property
    def dropped(self) -> int:
        """Outcomes lost since the start: the spool had its limit, or neither the disk nor the memory had room."""
        return self._dropped

    @property
    def used(self) -> float:
        """Which part of its limit the folder holds."""
        return self._room.held / self.limit

    def status(self) -> SpoolCounts:
        """Return a snapshot of the counters."""
        segments = self.segments()
        return {
            "frames": self._frames,
            "segments": len(segments),
            "bytes": sum(segment.size for segment in segments),
            "overflow": len(self._overflow),
            "missed_intents": self._missed_intents,
            "dropped": self._dropped,
            "dropped_cost": self._dropped_cost,
            "held": self._room.held,
            "limit": self.limit,
            "last_error": self._last_error,
        }

    def _encode(self, kind: FrameKind, record: Record) -> bytes | None:
        try:
            return encode(kind, record)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            self._note(error)
            return None

    def _append(self, frame: bytes) -> Segment | None:
        is_again = False
        while True:
            segment = self._active or self._open()
            if segment is None:
                return None
            # Announce the write, then look again: a segment that is still the active one now is not closed under us.
            segment.writers.append(None)
            try:
                if segment is not self._active:
                    continue
                taken = segment.append(frame)
            except OSError as error:
                if error.errno in CLOSED and not is_again:
                    is_again = True
                    self._retire(segment)
                    continue
                self._refused(segment, error)
                return None
            finally:
                segment.writers.pop()
            self._room.left -= taken
            if segment.size >= self._segment_bytes:
                self._retire(segment)
            if taken < len(frame):
                self._refused(segment, OSError(errno.ENOSPC, "the disk took a part of a frame"))
                return None
            self._frames += 1
            return segment

    def _has_begun(self, record: Record) -> bool:
        """Return whether the disk may have an intent of a record that has ended."""
        return isinstance(record, Attempt) and record.outcome != "blocked" and self._begun.pop(record.id, True)

    def _has_room(self, frame: bytes) -> bool:
        """Return whether the folder may take a frame; the first one who asks has to look."""
        if self._room.others is None:
            others = 0
            with self._noted():
                others = surely_held(self._files.sizes(self._folder), without=self.process)
            self.measure(others)
        return len(frame) <= self._room.left

    def _remeasure(self) -> None:
        if self._room.others is not None:
            self.measure(self._room.others)

    def _open(self) -> Segment | None:
        # The folder may be deleted, or the empty file adopted by another process, before we are done. That is nobody's
        # failure, and it does not happen twice.
        errors: list[OSError] = []
        while len(errors) < 2:
            try:
                self._files.make_folder(self._folder)
                name = f"{self._next_name()}.spool"
                segment = Segment(name, self._files, self._path(name))
            except OSError as error:
                errors.append(error)
                if not self._segments:
                    # Whoever has taken the empty file ends, a moment later, what the process of its name has leased.
                    self._process.pop("id", None)
                continue
            self._segments.append(segment)
            self._active = segment
            return segment
        for each in errors:
            self._note(each)
        return None

    def _extend(self, reason: str) -> tuple[str, int, int]:
        """Return the name, descriptor and size of the file that takes what is refused for a reason."""
        name, size = self._aside.get(reason, ("", self._segment_bytes))
        descriptor = self._files.extend(self._path(name)) if size < self._segment_bytes else None
        if descriptor is None:
            # Full, or somebody else is at it.
            name, size = refused_name(self._next_name(), reason), 0
            descriptor = self._files.create(self._path(name))
        return name, descriptor, size

    def _next_name(self) -> str:
        return f"{self.identity()}-{next(self._numbers):06}"

    def _drop(self, record: Record) -> None:
        with self._losing:
            self._dropped += 1
            self._dropped_cost += (record.cost if isinstance(record, Attempt) else record.reported_cost) or 0
        if self.on_drop(record.id) and self._mark is None:
            with self._noted():
                name = mark_name(self._next_name())
                self._mark = Segment(name, self._files, self._path(name))

    def _refused(self, segment: Segment, error: OSError) -> None:
        self._note(error)
        if segment.size:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        if self._active is segment:
            self._active = None

    def _force(self, segment: Segment) -> bool:
        size = segment.size
        if segment.synced >= size or segment.failed:
            return not segment.failed
        try:
            self._files.sync(segment.descriptor)
        except OSError as error:
            # A second sync of the same file would succeed without having written anything.
            segment.failed = True
            self._note(error)
            self._retire(segment)
            return False
        segment.synced = size
        return True

    def _discard(self, segment: Segment) -> None:
        with self._noted():
            segment.discard(self._path(segment.name))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    @contextmanager
    def _noted(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        # An OSError's own text has the path in it.
        self._last_error = f"{type(error).__name__}: {error.strerror if isinstance(error, OSError) else error}"
        self._tell(error)


def _kind(record: Record) -> FrameKind:
    return OUTCOME if isinstance(record, Attempt) else JOB_END
