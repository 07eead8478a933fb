"""Methods of objects as Python finds them, whatever has been put in the place of their class's function."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

__all__ = ["bound", "method_of"]


def method_of(owner: object, name: str) -> Any:
    """Return what an object has of its class under a name; AttributeError where that has nothing there."""
    for each in type(owner).__mro__:
        own = vars(each)
        if name in own:
            return bound(own[name], owner)
    raise AttributeError(name)


def bound(attribute: object, owner: object) -> Any:
    """Return an attribute of a class as one of its objects has it.

    Python asks its type how: a static method and an object that is called get no object, a wrapper of wrapt's does.
    """
    if type(attribute) is FunctionType:
        return MethodType(attribute, owner)
    get: Any = getattr(type(attribute), "__get__", None)
    return attribute if get is None else get(attribute, owner, type(owner))
