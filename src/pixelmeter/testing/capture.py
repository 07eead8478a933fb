"""Look at the attempts a test makes, instead of keeping them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.recorder.recorder import CAPTURES

__all__ = ["capture_calls"]


@contextmanager
def capture_calls() -> Generator[list[Attempt]]:
    """Collect the attempts of every meter of this process; nothing is written while the block runs.

    with capture_calls() as attempts:
        my_function_that_makes_images()
    assert 10_000_000 == sum(attempt.cost for attempt in attempts)   # nano-dollars
    """
    attempts: list[Attempt] = []
    CAPTURES.append(attempts)
    try:
        yield attempts
    finally:
        # By identity: two lists that are both empty are equal.
        del CAPTURES[next(index for index, one in enumerate(CAPTURES) if one is attempts)]
