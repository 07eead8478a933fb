"""What tests of programs that use pixelmeter need: a gateway to call that costs nothing."""

from __future__ import annotations

from pixelmeter.testing.capture import capture_calls
from pixelmeter.testing.handle import Gateway

__all__ = ["Gateway", "capture_calls"]
