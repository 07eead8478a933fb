"""The collector that reads the ledger when it is scraped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime, time

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from pixelmeter._version import __version__
from pixelmeter.core.ports import Clock
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address, connect_arguments, read_address
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import Total, last_attempt, read_totals
from pixelmeter.prices import CHECKED_ON
from pixelmeter.serve.counts import Counts
from pixelmeter.serve.families import gauge, of_counts
from pixelmeter.sinks.series import DEFAULT_LIMIT

__all__ = ["LedgerCollector"]

_FRESH = 1_000_000
_PATIENCE = 5.0
_log = logging.getLogger("pixelmeter")


class LedgerCollector(Collector):
    """Reads the totals in one transaction; scrapes within a second of each other share one reading.

    A ledger that cannot be read is `pixelmeter_ledger_up` 0, without the families that come from it: a counter that is
    absent goes on where it was, one that is 0 would look as if it had begun anew. So is one that does not answer within
    `patience` seconds; scrapes then wait for the one reading that is under way.
    """

    def __init__(
        self, url: str | Address, *, clock: Clock, max_series: int = DEFAULT_LIMIT, patience: float = _PATIENCE
    ) -> None:
        """Opens nothing; ConfigError for a URL or a number of series that cannot be used, and for a missing driver."""
        self._address = read_address(url)
        if self._address.dialect == "postgresql":
            connect_arguments(self._address)
        self._clock = clock
        self._counts = Counts(max_series)
        self._patience = patience
        self._lock = threading.Lock()
        self._reading: Future[Sequence[Family]] | None = None
        self._read_at = 0
        self._error: str | None = None

    def describe(self) -> Iterable[Family]:
        """Return nothing: a registry would scrape to find out."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Return the families, read from the ledger unless that was just done."""
        reading = self._shared()
        if not wait([reading], self._patience).done:
            self._say(f"the ledger {self._address.safe()} has not answered for {self._patience:g} seconds")
            return [gauge("pixelmeter_ledger_up", 0), *_always()]
        return reading.result()

    def _shared(self) -> Future[Sequence[Family]]:
        with self._lock:
            reading = self._reading
            if reading is None or (reading.done() and self._clock.monotonic() - self._read_at >= _FRESH):
                reading = Future[Sequence[Family]]()
                # A daemon, because nothing can end it while the database hangs: the process must not wait for it.
                threading.Thread(target=self._fulfil, args=(reading,), name="pixelmeter-scrape", daemon=True).start()
                self._reading = reading
            return reading

    def _fulfil(self, reading: Future[Sequence[Family]]) -> None:
        try:
            families = self._read()
        except Exception as error:
            self._read_at = self._clock.monotonic()
            reading.set_exception(error)
        else:
            self._read_at = self._clock.monotonic()
            reading.set_result(families)

    def _read(self) -> Sequence[Family]:
        try:
            totals, latest = self._ask()
        except LedgerError as error:
            self._say(str(error))
            return [gauge("pixelmeter_ledger_up", 0), *_always()]
        self._say(None)
        families = [gauge("pixelmeter_ledger_up", 1), *_always(), *of_counts(*self._counts.of(totals))]
        if latest is not None:
            families.append(gauge("pixelmeter_ledger_last_attempt_timestamp_seconds", latest / 1e6))
        return families

    def _ask(self) -> tuple[Sequence[Total], int | None]:
        # Opened anew each time: the file may be another one by now, and the schema a newer one.
        with reading_ledger(self._address) as reader:
            return read_totals(reader), last_attempt(reader)

    def _say(self, error: str | None) -> None:
        """Log a change, once."""
        with self._lock:
            before, self._error = self._error, error
        if error is None and before is not None:
            _log.warning("%s can be read again", self._address.safe())
        elif error is not None and error != before:
            _log.warning("%s", error)


def _always() -> Sequence[Family]:
    checked = datetime.combine(CHECKED_ON, time(), UTC).timestamp()
    return [
        gauge("pixelmeter_price_book_timestamp_seconds", checked),
        gauge("pixelmeter_build_info", 1, (__version__,)),
    ]
