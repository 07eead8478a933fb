"""What a live view of the attempts is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt

__all__ = ["AdjustmentSink", "Health", "Sink"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the writer did in one run, and how things stand after it. Times are in microseconds."""

    backend: str
    """`sqlite` or `postgresql`."""
    writes: tuple[tuple[int, int], ...]
    """Rows and duration of each transaction of the run."""
    failed: bool
    """Whether the run ended with the ledger saying no."""
    waiting: int
    """Attempts that ended and are not in the ledger yet."""
    lag: int
    """How long the oldest of them has been waiting."""
    dropped: int
    """Attempts lost since the start: the spool had its limit, or neither the disk nor the memory had room."""
    spool_used: float = 0.0
    """Which part of its limit the spool folder holds of what is not in the ledger; above 1 attempts are lost."""
    failures: Mapping[str, int]
    """Our own failures since the start, by place."""


class Sink(Protocol):
    """A live view of the attempts. What it raises is counted in `Failures`, and goes no further.

    `begin` and `record` run on the caller's thread or event loop, so they must not wait.
    """

    def begin(self, intent: Attempt) -> Callable[[], None] | None:
        """Take note of an attempt that is about to leave; what is returned is called once its transport has answered.

        The attempt has no trace id yet: a span that a sink makes current here gives it one.
        """
        ...

    def record(self, attempt: Attempt) -> None:
        """Take an attempt that has ended. One that a budget refused (`blocked`) did not leave: it had no `begin`."""
        ...

    def observe(self, health: Health) -> None:
        """Take note of how the ledger is doing; called on the writer's thread after each of its runs.

        Where that thread hangs, a call that begins or ends does it, once in five seconds.
        """
        ...


@runtime_checkable
class AdjustmentSink(Protocol):
    """A sink that also counts what later facts change of attempts."""

    def adjust(self, change: Change) -> None:
        """Take an adjustment that this process has committed; called on the writer's thread after its run."""
        ...
