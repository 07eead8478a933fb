"""Starts metering when Python starts, where the environment has `PIXELMETER_AUTO=1`."""

import os

__all__ = ["start"]


def start() -> None:
    """Meter the image calls of this process, if the environment says so; never raises, never prints."""
    if os.environ.get("PIXELMETER_AUTO") != "1":
        return
    try:
        import pixelmeter.auto

        pixelmeter.auto.start()
    except Exception:
        # Without pixelmeter, or with one that is broken, every Python of this environment still has to start.
        return
