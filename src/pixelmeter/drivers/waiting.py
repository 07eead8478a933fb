"""Waiting for a lease of a budget before a request is sent: in a thread, or without blocking an event loop."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pixelmeter.budgets.spender import Ask

if TYPE_CHECKING:
    import asyncio

__all__ = ["through", "through_async"]

_T = TypeVar("_T")
_NAP = 0.005


def through(steps: Generator[Ask, None, _T]) -> _T:
    """Take steps to their end, wait where they ask for it, and return what they return."""
    try:
        while True:
            ask = next(steps)
            try:
                ask.over.wait(ask.patience)
            except BaseException:
                # Whatever it is, it is the caller's: not thrown into the steps, which would take errors for their own.
                steps.close()
                raise
    except StopIteration as end:
        found: _T = end.value
        return found


async def through_async(steps: Generator[Ask, None, _T]) -> _T:
    """Async twin of `through`."""
    try:
        while True:
            ask = next(steps)
            try:
                await _over(ask)
            except BaseException:
                steps.close()
                raise
    except StopIteration as end:
        found: _T = end.value
        return found


async def _over(ask: Ask) -> None:
    """Return once there is an answer, or when its time is up."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # Another event loop, such as trio's: what all of them have in common is how to sleep.
        import anyio

        for _ in range(round(ask.patience / _NAP)):
            if ask.over.is_set():
                return
            await anyio.sleep(_NAP)
        return
    answered = asyncio.Event()
    ask.then(partial(_set, loop, answered))
    # Not `wait_for`, which before Python 3.12 loses a cancellation that comes with the answer.
    timer = loop.call_later(ask.patience, answered.set)
    try:
        await answered.wait()
    finally:
        timer.cancel()


def _set(loop: asyncio.AbstractEventLoop, answered: asyncio.Event) -> None:
    # The loop may be closed by now.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(answered.set)
