"""A bounded memory of what was worked out: programs ask for few kinds of images, again and again.

On the way of a call six things are remembered, each because working it out anew was measured to take five to forty
times as long: the profile of a host, the routes that a request may be of, the rates of a model on a day, the intent of
a request, the end of an attempt, and what a small JSON body asks for (`core.apis.requests`, which the standard library
remembers).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Memo"]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Memo(Generic[_Key, _Value]):
    """Remembers so many values, and begins anew when it is full. Several threads may use it at once."""

    __slots__ = ("_limit", "get", "known")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.known: dict[_Key, _Value] = {}
        self.get = self.known.get
        """Return the value of a key; None where there is none."""

    def keep(self, key: _Key, value: _Value) -> _Value:
        """Remember a value, and return it."""
        if len(self.known) >= self._limit:
            self.known.clear()
        self.known[key] = value
        return value
