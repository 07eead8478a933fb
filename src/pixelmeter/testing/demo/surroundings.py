"""An environment in which a demonstration shows the same everywhere, and touches nothing of its user's."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["undisturbed"]

_SETTINGS = ("PIXELMETER_", "OPENAI_", "AIGATEWAY_")
# A proxy has no way to this machine's loopback.
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}


@contextmanager
def undisturbed() -> Generator[None]:
    """Take the settings of pixelmeter and of the clients, and proxies, out of the environment; put them back after."""
    taken = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(_SETTINGS) or name.upper() in _PROXIES
    }
    try:
        yield
    finally:
        os.environ.update(taken)
