"""Look at the attempts a test makes, instead of keeping them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pixelmeter.capturing import CAPTURES
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.outgoing import Outgoing

__all__ = ["capture_calls"]


class _Capture:
    """Lets every attempt go, and keeps those that have ended."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def admit(self, intent: Attempt, outgoing: Outgoing) -> None:
        """Raise nothing."""

    def take(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


@contextmanager
def capture_calls() -> Generator[list[Attempt]]:
    """Collect the attempts of every meter of this process; nothing is written while the block runs.

        with capture_calls() as attempts:
            my_function_that_makes_images()
        assert 10_000_000 == sum(attempt.cost for attempt in attempts)   # nano-dollars

    Costs are in nano-dollars (1e-9 USD), None where they are not known. An attempt is in the list once it has ended.
    """
    capture = _Capture()
    CAPTURES.append(capture)
    try:
        yield capture.attempts
    finally:
        CAPTURES.remove(capture)
