"""What is to be done once an object has been collected, done later and elsewhere.

A finalizer swallows what a signal handler raises while it runs, and may run in the middle of any other code. So there
is none of ours: that an object is gone is noted without any Python being run, and whoever comes by does what is to do.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable

__all__ = ["Watch", "catch_up", "watch"]


class Watch(weakref.ref[object]):
    """An eye on an object, until the object is gone or this is let go of."""

    __slots__ = ("then",)

    then: Callable[[], object]

    def let_go(self) -> None:
        """Do nothing when the object is collected."""
        _watching.pop(id(self), None)


_watching: dict[int, Watch] = {}
_gone: deque[weakref.ref[object]] = deque()


def watch(thing: object, then: Callable[[], object]) -> Watch:
    """Have something done some time after the object has been collected; it must not hold the object, nor raise."""
    # What is called for an object that is gone is written in C: no signal is handled in it.
    watching = Watch(thing, _gone.append)
    watching.then = then
    _watching[id(watching)] = watching
    return watching


def catch_up() -> None:
    """Do what there is to do."""
    while _gone:
        try:
            watching = _watching.pop(id(_gone.popleft()), None)
        except IndexError:  # another thread took it
            return
        if watching is not None:
            watching.then()
