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
    """Meter every client from now on, those that exist included; return whether that is so.

    The meter is one by the environment's settings, made with the first client. Settings that cannot be used are logged,
    once, and nothing is metered. With `PIXELMETER_DISABLED=1` in the environment nothing is done. Doing it twice
    changes nothing. A client that the program instruments itself keeps the meter that it names there.
    """
    if is_disabled():
        return False
    from pixelmeter.drivers import patching

    patching.resume()
    if not patching.is_on():
        patching.patch(patching.LateMeter(_meter))
    return True


def stop(timeout: float = 2.0) -> bool:
    """Stop metering at once, and write what has been metered; return whether all is in the ledger in time (seconds).

    Calls under way are recorded as they end. `start` begins anew, with the settings of then.
    """
    from pixelmeter.drivers import patching

    return patching.stop(timeout)


def is_on() -> bool:
    """Return whether clients of this process are metered without code, by whichever way it was started."""
    from pixelmeter.drivers import patching

    return patching.is_on()


def is_disabled() -> bool:
    """Return whether `PIXELMETER_DISABLED` says that no program is to be metered without code."""
    # Not by `pixelmeter.settings`: at the start of a process as little as possible is imported.
    return os.environ.get("PIXELMETER_DISABLED", "").strip().lower() in ("1", "true", "yes", "on")


def _meter() -> Meter:
    from pixelmeter.meter import Meter

    return Meter()
