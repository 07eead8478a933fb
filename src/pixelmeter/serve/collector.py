"""The collector that reads the ledger when it is scraped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from pixelmeter._version import __version__
from pixelmeter.core.ports import Clock
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import open_reader
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.snapshot import Total, last_attempt, read_totals
from pixelmeter.prices import CHECKED_ON
from pixelmeter.serve.counts import Counts
from pixelmeter.serve.families import gauge, of_counts
from pixelmeter.sinks.series import DEFAULT_LIMIT

__all__ = ["LedgerCollector"]

_FRESH = 1_000_000
_log = logging.getLogger("pixelmeter")


class LedgerCollector(Collector):
    """Reads the totals in one transaction; scrapes within a second of each other share one reading.

    A ledger that cannot be read is `pixelmeter_ledger_up` 0, without the families that come from it: a counter that is
    absent goes on where it was, one that is 0 would look as if it had begun anew.
    """

    def __init__(self, url: str, *, clock: Clock, max_series: int = DEFAULT_LIMIT) -> None:
        """Opens nothing; ConfigError for a URL or a number of series that cannot be used."""
        self._url = url
        self._address = read_address(url)
        self._clock = clock
        self._counts = Counts(max_series)
        self._lock = threading.Lock()
        self._read_at: int | None = None
        self._families: Sequence[Family] = ()
        self._error: str | None = None

    def describe(self) -> Iterable[Family]:
        """Return nothing: a registry would scrape to find out."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Return the families, read from the ledger unless that was just done."""
        with self._lock:
            now = self._clock.monotonic()
            if self._read_at is None or now - self._read_at >= _FRESH:
                self._families = self._read()
                self._read_at = self._clock.monotonic()
            return self._families

    def _read(self) -> Sequence[Family]:
        checked = datetime.combine(CHECKED_ON, time(), UTC).timestamp()
        always = [
            gauge("pixelmeter_price_book_timestamp_seconds", checked),
            gauge("pixelmeter_build_info", 1, (__version__,)),
        ]
        try:
            totals, latest = self._ask()
        except LedgerError as error:
            self._say(str(error))
            return [gauge("pixelmeter_ledger_up", 0), *always]
        self._say(None)
        families = [gauge("pixelmeter_ledger_up", 1), *always, *of_counts(*self._counts.of(totals))]
        if latest is not None:
            families.append(gauge("pixelmeter_ledger_last_attempt_timestamp_seconds", latest / 1e6))
        return families

    def _ask(self) -> tuple[Sequence[Total], int | None]:
        # Opened anew each time: the file may be another one by now, and the schema a newer one.
        try:
            with open_reader(self._url).connect() as connection:
                return read_totals(connection), last_attempt(connection)
        except SQLAlchemyError as error:
            raise without_secrets(error, self._address) from None

    def _say(self, error: str | None) -> None:
        """Log a change, once."""
        if error != self._error:
            if error is None:
                _log.warning("%s can be read again", self._address.safe())
            else:
                _log.warning("%s", error)
        self._error = error
