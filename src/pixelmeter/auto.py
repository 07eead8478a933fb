"""Metering without a line at the calls: every client of httpx, httpx2, aiohttp and urllib3 of this process.

    import pixelmeter.auto

    pixelmeter.auto.start()

`pixelmeter run` and the package `pixelmeter-auto` do that when a program starts. See docs/zero-code.md.
"""

from __future__ import annotations

import os

# The first thing that runs in a process: `typing` is not loaded for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pixelmeter.meter import Meter

__all__ = ["is_on", "start", "stop"]


def start() -> bool:
    """Meter every client of this process from now on, also those that exist already; return whether metering is on.

    One meter is made from the settings of the environment, when the first client is used. Settings that cannot be used
    are logged once, and nothing is metered then. With `PIXELMETER_DISABLED=1` in the environment nothing happens. A
    second time changes nothing. A client that the program instruments itself keeps the meter that it was given.
    """
    if is_disabled():
        return False
    from pixelmeter.drivers import patching

    patching.resume()
    if not patching.is_on():
        patching.patch(patching.LateMeter(_meter))
    return True


def stop(timeout: float = 2.0) -> bool:
    """Stop metering, and wait up to `timeout` seconds until what was metered is in the ledger; return whether all is.

    Calls under way are recorded when they end. `start` may be called again, and reads the settings again.
    """
    from pixelmeter.drivers import patching

    return patching.stop(timeout)


def is_on() -> bool:
    """Return whether the clients of this process are metered without code, whichever way that was started."""
    from pixelmeter.drivers import patching

    return patching.is_on()


def is_disabled() -> bool:
    """Return whether `PIXELMETER_DISABLED` says that no program is to be metered without code."""
    # Not by `pixelmeter.settings`: at the start of a process as little as possible is imported.
    return os.environ.get("PIXELMETER_DISABLED", "").strip().lower() in ("1", "true", "yes", "on")


def _meter() -> Meter:
    from pixelmeter.meter import Meter

    return Meter()
