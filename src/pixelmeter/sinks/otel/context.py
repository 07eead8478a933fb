"""Leaving a context that was made current."""

from __future__ import annotations

from contextlib import suppress
from contextvars import Token

from opentelemetry.context import Context

__all__ = ["leave"]


def leave(token: Token[Context]) -> None:
    """Make current again what was before; in another context, where a generator may be closed, there is nothing to do.

    Not `detach`, which logs a traceback for that.
    """
    with suppress(ValueError, RuntimeError):
        token.var.reset(token)
