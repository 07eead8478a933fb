"""Our own failures: counted by place, logged once a minute, never raised."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from pixelmeter.core.ports import Clock
from pixelmeter.described import described

__all__ = ["Failures"]

_EVERY = 60_000_000
_log = logging.getLogger("pixelmeter")


class Failures:
    """What went wrong inside pixelmeter while the caller's request went on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._logged: dict[str, int] = {}

    def note(self, place: str, error: BaseException, path: str = "") -> None:
        """Count a failure, and log what may be said of it; `path` is the file or folder of ours that it is about."""
        try:
            self._counts[place] = self._counts.get(place, 0) + 1
            now = self._clock.monotonic()
            logged = self._logged.get(place)
            if logged is None or now - logged >= _EVERY:
                self._logged[place] = now
                _log.warning(
                    "pixelmeter failed in %s: %s (%d so far): %s; requests are not affected, "
                    "`pixelmeter doctor` says more",
                    place,
                    type(error).__name__,
                    self._counts[place],
                    described(error, path) or "nothing more is known",
                )
        except Exception:  # a handler of the host may raise anything
            return

    def lose(self, attempts: int) -> None:
        """Log that attempts go with the process: neither the ledger nor the spool has taken them."""
        with suppress(Exception):
            _log.error(
                "pixelmeter lost %d attempts that neither ledger nor spool took: `pixelmeter doctor` says why", attempts
            )

    def counts(self) -> Mapping[str, int]:
        """Return how often each place failed."""
        return dict(self._counts)
