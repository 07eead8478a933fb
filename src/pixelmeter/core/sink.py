"""What a sink is told: of attempts, and of how the ledger is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt

__all__ = ["AdjustmentSink", "Health", "Sink"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the thread that writes to the ledger did in one run, and what is left. Times are in microseconds."""

    backend: str
    """`sqlite` or `postgresql`."""
    writes: tuple[tuple[int, int], ...]
    """Each transaction of the run: how many rows, and how long it took."""
    failed: bool
    """Whether the run ended with an error of the ledger."""
    waiting: int
    """Attempts that ended and are not in the ledger yet."""
    lag: int
    """How long the oldest of them has been waiting, in microseconds; 0 where none is."""
    dropped: int
    """Attempts lost since the start of the process: the spool was full, or neither disk nor memory had room."""
    spool_used: float = 0.0
    """How full the spool folder is, as a part of its limit; above 1 attempts are lost."""
    failures: Mapping[str, int]
    """Failures of pixelmeter itself since the start of the process, by place."""


class Sink(Protocol):
    """An object that is told of each attempt of this process, for `Meter(sinks=[...])`.

    `begin` and `record` run on the caller's thread or event loop, so they must not wait. An exception that a sink
    raises never reaches the caller: it is logged, and counted in `Meter.status` under the name of the sink's class.
    """

    def begin(self, intent: Attempt) -> Callable[[], None] | None:
        """Take note of an attempt before it is sent.

        Return None, or a function that is called once the first answer has arrived or sending has failed. The attempt
        has no trace id yet: a span that a sink makes current here gives it one.
        """
        ...

    def record(self, attempt: Attempt) -> None:
        """Take an attempt that has ended. One that a budget refused (`blocked`) was never sent and had no `begin`."""
        ...

    def observe(self, health: Health) -> None:
        """Take note of how the ledger is doing; called after each run of the thread that writes to it.

        While that thread hangs, the caller's thread does it when a call begins or ends, at most once in five seconds.
        """
        ...


@runtime_checkable
class AdjustmentSink(Protocol):
    """A sink that is also told of later facts about attempts (adjustments), such as the end of a job."""

    def adjust(self, change: Change) -> None:
        """Take an adjustment that this process has written to the ledger; called on the thread that wrote it."""
        ...
