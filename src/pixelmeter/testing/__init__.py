"""What tests of programs that use pixelmeter need: a gateway to call that costs nothing, and attempts to look at."""

from __future__ import annotations

import importlib
import typing

# Imported when they are first used: pytest imports this package in every project, for the plugin.
if typing.TYPE_CHECKING:
    from pixelmeter.testing.capture import capture_calls
    from pixelmeter.testing.handle import Gateway
    from pixelmeter.testing.image_calls import ImageCalls
else:
    _LATE = {
        "Gateway": "pixelmeter.testing.handle",
        "ImageCalls": "pixelmeter.testing.image_calls",
        "capture_calls": "pixelmeter.testing.capture",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
        return found


__all__ = ["Gateway", "ImageCalls", "capture_calls"]
