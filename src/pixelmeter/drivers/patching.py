"""Metering of every client of a process: which libraries, from when on, and by which meter.

A library that is imported later is patched when its first client is made, or when somebody takes a class's `__init__`,
maybe to replace it; one that is there already at once. Before that, no driver is loaded and no meter is made.
"""

from __future__ import annotations

import _thread
import sys

from pixelmeter.drivers.import_hook import ImportHook

# Loaded at the start of every process that is metered without code: nothing is imported here that need not be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType
    from typing import Any

    from pixelmeter.lifecycle import Lock
    from pixelmeter.meter import Meter

__all__ = ["LIBRARIES", "LateMeter", "is_on", "patch", "resume", "stop"]

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "httpx": ("Client", "AsyncClient"),
    "httpx2": ("Client", "AsyncClient"),
    "aiohttp": ("ClientSession",),
    "urllib3": ("HTTPConnectionPool",),
}
"""The libraries that have a driver, and the classes of which an object is made before anything is sent."""

_PATIENCE = 5.0


class _Turn:
    """Steps that threads take one after the other.

    A thread waits five seconds at most: the one that is at it may import something that this one is importing.
    """

    def __init__(self) -> None:
        self._lock: Any = _thread.RLock()
        self._is_registered = False

    def locks(self) -> Sequence[Lock]:
        """Return what a fork waits for."""
        return (self._lock,)

    def forget(self) -> None:
        """Begin anew in a child: what another thread of the parent was at is not done here."""
        self._lock = _thread.RLock()

    def take(self, step: Callable[[], object]) -> None:
        """Take a step once it is this thread's turn."""
        if not self._is_registered:
            from pixelmeter import lifecycle

            self._is_registered = True
            lifecycle.register(self)
        lock = self._lock
        is_mine = lock.acquire(timeout=_PATIENCE)
        try:
            step()
        finally:
            if is_mine:
                lock.release()


class LateMeter(_Turn):
    """A meter that is made when it is first asked for; where that fails it is logged once, and there is none."""

    def __init__(self, make: Callable[[], Meter]) -> None:
        super().__init__()
        self._make = make
        self._meter: Meter | None = None
        self._is_making = self._is_made = False

    def __call__(self) -> Meter | None:
        """Return the meter; None where there is none, and for what is sent while it is made. Raises nothing."""
        if not self._is_made:
            try:
                self.take(self._have_it_made)
            except Exception as error:
                self._give_up(error)
        return self._meter

    def close(self, timeout: float) -> bool:
        """Close the meter, and have a new one made when it is asked for next; return whether all is in the ledger."""
        meter, self._meter, self._is_made = self._meter, None, False
        return meter is None or meter.close(timeout)

    def forget(self) -> None:
        super().forget()
        self._is_making = False

    def _have_it_made(self) -> None:
        if self._is_made or self._is_making:
            return
        self._is_making = True
        try:
            self._meter = self._make()
            self._is_made = True
        except Exception as error:
            self._give_up(error)
        finally:
            self._is_making = False

    def _give_up(self, error: Exception) -> None:
        self._is_made = True
        _say("image calls are not metered", error)


class _Loading(_Turn):
    """Loads drivers, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[str] = set()

    def forget(self) -> None:
        super().forget()
        self.busy.clear()


def patch(source: LateMeter) -> Callable[[], None]:
    """Meter every client from now on by the meter of a source; return what undoes it. Of several, the latest is used.

    A client that somebody instruments keeps the meter that it is instrumented with.
    """
    _sources.append(source)
    _hook.install()
    for library in LIBRARIES:
        if library in sys.modules:
            _apply(library)

    def undo() -> None:
        if source in _sources:
            _sources.remove(source)
        if not _sources:
            _take_back()

    return undo


def is_on() -> bool:
    """Return whether there is a source, and nobody has stopped it."""
    return bool(_sources) and not _is_stopped


def stop(timeout: float) -> bool:
    """Meter nothing from now on, and close the meters; return whether all they had is in the ledger in time."""
    global _is_stopped
    _is_stopped = True
    closed = [source.close(timeout) for source in _sources]
    return all(closed)


def resume() -> None:
    """Go on with the sources that there are."""
    global _is_stopped
    _is_stopped = False


_sources: list[LateMeter] = []
_is_stopped = False
_loading = _Loading()
# By library: what takes its patches back.
_undo: dict[str, Callable[[], object]] = {}
_waiting: list[_FirstObject] = []


def _meter_now() -> Meter | None:
    if _is_stopped:
        return None
    try:
        source = _sources[-1]
    except IndexError:
        return None
    return source()


def _imported(module: ModuleType) -> None:
    """Wait for the first client of a library that has just been imported."""
    library = module.__name__
    if library not in _undo:
        for name in LIBRARIES[library]:
            _FirstObject(getattr(module, name), library)


_hook = ImportHook(LIBRARIES, _imported)


class _FirstObject:
    """Stands for the `__init__` of a class until that is about to be called for the first time.

    It only looks on as Python gets hold of the method: the call itself, and what it raises or warns of, is as ever.
    """

    def __init__(self, kind: Any, library: str) -> None:
        self._original: Any = kind.__dict__["__init__"]
        self._kind = kind
        self.library = library
        if not isinstance(self._original, _FirstObject):
            kind.__init__ = self
            _waiting.append(self)

    def __get__(self, one: object, kind: type | None = None) -> Any:
        # Also of the class alone: whoever takes it there may be about to put something else in its place.
        _apply(self.library)
        if one is not None and _undo.get(self.library) is not _nothing:
            # Now, rather than with its first call, which is more often timed and more often in an event loop.
            _meter_now()
        return self._original.__get__(one, kind)

    def take_back(self) -> None:
        """Put the method back, where nobody has put something else in its place."""
        if self._kind.__dict__.get("__init__") is self:
            self._kind.__init__ = self._original


def _apply(library: str) -> None:
    """Load the driver of a library that is in use, and have it patch the library."""

    def load() -> None:
        if library in _undo or library in _loading.busy or not _sources:
            return
        import importlib

        _loading.busy.add(library)
        try:
            # Where another thread is about to import it, once it is there as a whole.
            importlib.import_module(library)
            driver: Any = importlib.import_module(f"pixelmeter.drivers.{library}")
            _undo[library] = driver.patch(_meter_now)
        except Exception:
            _undo[library] = _nothing  # said once
            raise
        finally:
            _loading.busy.discard(library)
            # Not before: a child that is forked meanwhile has to begin anew.
            _no_longer_wait(library)

    try:
        _loading.take(load)
    except Exception as error:
        _undo.setdefault(library, _nothing)
        _no_longer_wait(library)
        _say(f"image calls over {library} are not metered", error)


def _no_longer_wait(library: str | None = None) -> None:
    for each in [*_waiting]:
        if library is None or each.library == library:
            try:
                _waiting.remove(each)
            except ValueError:  # another thread was faster
                continue
            each.take_back()


def _take_back() -> None:
    def undo() -> None:
        _hook.remove()
        _no_longer_wait()
        while _undo:
            _undo.popitem()[1]()

    _loading.take(undo)


def _nothing() -> None:
    return


def _say(what: str, error: Exception) -> None:
    # By its name: what failed may be the import of that very class.
    is_ours = any(each.__name__ == "PixelmeterError" for each in type(error).__mro__)
    kind = "" if is_ours else f"{type(error).__name__}: "
    try:
        import logging

        logging.getLogger("pixelmeter").error("%s: %s%s", what, kind, error)
    except Exception:  # a handler of the program's
        return
