"""Hooks for forks, for the exit of the process, and for objects that are garbage-collected."""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from pixelmeter.errors import LedgerError

__all__ = [
    "Forking",
    "Lock",
    "Torn",
    "Watch",
    "abandon",
    "are_coming",
    "at_exit",
    "catch_up",
    "check",
    "is_child",
    "keep",
    "opening",
    "refuse_torn",
    "register",
    "thread_of_ours",
    "watch",
]

_OPENING_SECONDS = 10.0
_FORK_SECONDS = 0.25
_WARNS_OF_FORKS = sys.version_info >= (3, 12)
_FORK_WARNING = re.compile(r"This process \(pid=\d+\) is multi-threaded, use of fork", re.IGNORECASE)
_NO_FORK_WARNING = ("ignore", _FORK_WARNING, DeprecationWarning, None, 0)


class Torn(LedgerError):
    """This process cannot write to the ledger: it was forked at a bad moment, or has closed what the ledger needs."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"this process {what}, so it cannot write to the ledger: "
            "what it meters waits in its spool, and when it has ended the next process takes it in"
        )


class Lock(Protocol):
    """What `threading` calls a lock."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class Forking(Protocol):
    """An object whose state belongs to one process."""

    def locks(self) -> Sequence[Lock]:
        """Return what a fork should hold, in this order."""
        ...

    def forget(self) -> None:
        """Drop what belongs to the parent process: called in its child, so it takes no lock and logs nothing."""
        ...


_pid = os.getpid()
# How many seconds a fork waits for the locks of each.
_all: weakref.WeakKeyDictionary[Forking, float] = weakref.WeakKeyDictionary()
_hooked = False
_at_exit: set[Callable[[], object]] = set()
_held: list[list[Lock]] = []
# Held while a writer thread imports the database libraries, and by a fork: a child forked in the middle of that would
# have modules that never get ready. Reentrant for a signal handler that forks.
_opening = threading.RLock()
# They may import something, and a fork without hooks does not wait for them.
_ours: set[int] = set()
# By process: of two threads of a child that ask at once one waits for the other, and neither for one of the parent.
_noticing: dict[int, threading.RLock] = {}
# Whether a thread of the parent was importing something when C forked: this process waits for that thread for ever.
_torn = False
# What a fork left behind. Never closed or collected: a connection of the parent must not be ended by its child.
_inherited: list[object] = []


def register(each: Forking, patience: float = _FORK_SECONDS) -> None:
    """Call `forget` of the object in a forked child; the object is referred to weakly.

    A fork waits for the locks of all that have the same patience (seconds) as long as that, and then goes ahead.
    """
    global _hooked
    if not _hooked:
        _hooked = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
            )
    _all[each] = patience


def at_exit(do: Callable[[], object]) -> None:
    """Have something done when the interpreter ends; once, however often this is asked for."""
    if do not in _at_exit:
        _at_exit.add(do)
        # They are called in the reverse order: this one once the other has ended.
        atexit.register(_end_as_interrupted)
        atexit.register(do)


def _end_as_interrupted() -> None:
    """Have a program that Ctrl-C ends be seen to end by SIGINT, as if nothing had been done since.

    Python forgets that as soon as a text is compiled and run, which imports of the database libraries do.
    """
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")


def check() -> None:
    """Have everything that is registered forget, where this process is a child that has not done so yet."""
    if os.getpid() != _pid:
        _notice()


def is_child() -> bool:
    """Return whether this process is a child in which nothing has forgotten yet."""
    return os.getpid() != _pid


def keep(what: object) -> None:
    """Keep an object of the parent alive and untouched for as long as this process lives."""
    _inherited.append(what)


def abandon(what: object) -> None:
    """Keep an object alive beyond the end of the interpreter: what it would close then is not its own any more."""
    keep(what)
    with suppress(ImportError, AttributeError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def are_coming() -> bool:
    """Return whether this program is one that forks its workers without hooks soon after it has loaded them: uWSGI."""
    return "uwsgi" in sys.modules


def refuse_torn() -> None:
    """Raise Torn where this process cannot import what it takes to write."""
    if _torn:
        raise Torn("was forked while its parent's writer imported the database library")


@contextmanager
def thread_of_ours() -> Generator[None]:
    """Take note that this thread is ours for the block. What it imports meanwhile would stay half ready in a child."""
    thread = threading.get_ident()
    _ours.add(thread)
    try:
        yield
    finally:
        _ours.discard(thread)


@contextmanager
def opening() -> Generator[None]:
    """Have a fork with hooks wait until the block has imported what it needs, ten seconds at most."""
    with _opening:
        yield


def _notice() -> None:
    with _noticing.setdefault(os.getpid(), threading.RLock()):
        if os.getpid() != _pid:
            # The hooks of others that have not run either.
            uuids: Any = sys.modules.get("uuid_utils")
            if uuids is not None:
                uuids.reseed_rng()
            _look_for_half_imported()
            _forget()


def _forget() -> None:
    global _opening, _pid
    _opening = threading.RLock()
    _held.clear()
    _ours.clear()
    for each in list(_all):
        with suppress(Exception):
            each.forget()
    _pid = os.getpid()


def _look_for_half_imported() -> None:
    global _torn
    with suppress(Exception):
        locks: dict[str, Any] = getattr(sys.modules["_frozen_importlib"], "_module_locks", {})
        _torn = any(_is_half_imported(module, locks) for module in list(sys.modules.values()))


def _is_half_imported(module: object, locks: dict[str, Any]) -> bool:
    spec: Any = getattr(module, "__dict__", {}).get("__spec__")
    if spec is None or not getattr(spec, "_initializing", False):
        return False
    lock = locks.get(spec.name, lambda: None)()
    return getattr(lock, "owner", None) in _ours


def _before_fork() -> None:
    held: list[Lock] = [_opening] if _opening.acquire(timeout=_OPENING_SECONDS) else []
    begun = time.monotonic()
    for each, patience in sorted(_all.items(), key=lambda item: item[1]):
        deadline = begun + patience
        held += [lock for lock in each.locks() if lock.acquire(timeout=max(deadline - time.monotonic(), 0))]
    _held.append(held)


def _after_fork_in_parent() -> None:
    for lock in _held.pop():
        lock.release()
    if _WARNS_OF_FORKS:
        with suppress(Exception):
            _warn_of_others_only()


def _warn_of_others_only() -> None:
    """Let Python, which warns after this of a fork with several threads, do so only where one of them is not ours.

    A child starts ours anew; the program has none of its own, and would be warned of what it does not do.
    """
    # By hand: after `warnings.filterwarnings` whatever the program is warned of once would be shown once more.
    filters: Any = warnings.filters
    if _NO_FORK_WARNING in filters:
        filters.remove(_NO_FORK_WARNING)
    if _other_threads() <= 1:
        filters.insert(0, _NO_FORK_WARNING)


def _other_threads() -> int:
    """Return how many threads are not ours, counted as Python does: on Linux with those of other languages."""
    try:
        count = len(os.listdir("/proc/self/task"))
    except OSError:
        count = threading.active_count()
    return count - len(_ours)


def _after_fork_in_child() -> None:
    if not any(_opening in held for held in _held):
        _look_for_half_imported()
    _forget()


class Watch(weakref.ref[object]):
    """Watches an object until it is collected, or until `let_go`."""

    __slots__ = ("then",)

    then: Callable[[], object]

    def let_go(self) -> None:
        """Stop watching."""
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
    """Run what is due for objects that have been collected."""
    while _gone:
        try:
            watching = _watching.pop(id(_gone.popleft()), None)
        except IndexError:  # another thread took it
            return
        if watching is not None:
            watching.then()
