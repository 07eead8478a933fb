"""Who takes attempts instead of the ledger, while a test looks at them. Imports nothing, so it can stand before all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pixelmeter.core.attempts.record import Attempt
    from pixelmeter.outgoing import Outgoing

__all__ = ["CAPTURES", "Capture"]


class Capture(Protocol):
    """Takes the attempts of every meter of this process."""

    def admit(self, intent: Attempt, outgoing: Outgoing) -> None:
        """Take note of an attempt that is about to leave; whatever it raises keeps it from that.

        What is no `Exception` reaches whoever makes the call.
        """
        ...

    def take(self, attempt: Attempt) -> None:
        """Take an attempt that has ended."""
        ...


CAPTURES: list[Capture] = []
"""While there is one, attempts go there and nowhere else."""
