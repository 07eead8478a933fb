"""Tells when a module of a given name has been imported, and leaves its loader and its spec as they are."""

from __future__ import annotations

import _thread
import sys

# Loaded at the start of every process that is metered without code: nothing is imported here that need not be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["ImportHook"]


class ImportHook:
    """A finder that finds nothing of its own: it has `then` called with a module that has just been executed.

    For all other names it costs one look into a set. What `then` raises is dropped.
    """

    def __init__(self, names: Collection[str], then: Callable[[ModuleType], object]) -> None:
        self._names = frozenset(names)
        self._then = then
        # A finder of somebody else may ask all finders again, this one included.
        self._asking: set[tuple[int, str]] = set()

    def install(self) -> None:
        """Watch imports from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Watch no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the finders after this one find for a name that is watched, else nothing."""
        if name not in self._names:
            return None
        asked = _thread.get_ident(), name
        if asked in self._asking:
            return None
        self._asking.add(asked)
        try:
            spec = self._found(name, path, target)
        finally:
            self._asking.discard(asked)
        if spec is not None:
            self._follow(spec)
        return spec

    def _found(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        finders: list[Any] = list(sys.meta_path)
        if self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _follow(self, spec: ModuleSpec) -> None:
        """Put a copy of the loader into the spec: one that puts the loader back, and tells when it has executed."""
        loader: Any = spec.loader
        # A loader of old need not execute, and what Python itself was built with is nobody's library.
        if not hasattr(loader, "exec_module") or getattr(loader, "__module__", None) == "_frozen_importlib":
            return
        execution = _Execution(loader, self._then)
        follower: Any = _Standing(loader, execution)
        try:
            copied: Any = loader if isinstance(loader, type) else _copied(loader)
            if copied is not loader:
                copied.exec_module = execution
                follower = copied
        except Exception:  # one that has slots, or was written in C
            pass
        spec.loader = follower


class _Standing:
    """Stands for a loader that cannot be copied, such as a class that is its own loader, until it executes."""

    def __init__(self, loader: Any, execution: _Execution) -> None:
        self._loader = loader
        self.exec_module = execution

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self._loader,)


def _itself(loader: Any) -> Any:
    return loader


def _copied(loader: Any) -> Any:
    import copy

    try:
        return copy.copy(loader)
    except Exception:
        # One that hands on whatever it lacks (ddtrace's), and has nothing to hand it on to before it is filled.
        copied: Any = object.__new__(loader.__class__)
        copied.__dict__.update(loader.__dict__)
        return copied


class _Execution:
    """Stands for `exec_module` of a copy of a loader."""

    def __init__(self, loader: Any, then: Callable[[ModuleType], object]) -> None:
        self._loader = loader
        self._then = then

    def __call__(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        try:
            # Some modules put another object in their own place.
            self._then(sys.modules.get(module.__name__, module))
        except Exception:
            return

    def __reduce__(self) -> tuple[Any, ...]:
        # A spec that was only asked for may be sent elsewhere: there it loads as if nobody had watched.
        return getattr, (self._loader, "exec_module")
