"""The ledger's totals as metric families, exact and within a budget of series, read when somebody scrapes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime, time
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from pixelmeter._version import __version__
from pixelmeter.core.counting import ADJUSTMENT_COUNTS, COUNTS, AdjustmentTally, Key
from pixelmeter.core.metrics import METRICS, metric
from pixelmeter.core.ports import Clock
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.adjusting import OpenJobs, open_jobs_by_gateway
from pixelmeter.ledger.connecting import connect_arguments
from pixelmeter.ledger.partitions import Months, months_of
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import Total, last_attempt, read_adjustment_totals, read_totals
from pixelmeter.prices import CHECKED_ON
from pixelmeter.serve.budgets import OF_BUDGETS, BudgetGauges, Standing, standings
from pixelmeter.serve.reconciliations import OF_RECONCILIATIONS, ReconciliationGauges, newest
from pixelmeter.serve.tags import OF_TAGS, TagGauges, TagReading, TagSpend, checked
from pixelmeter.sinks.series import DEFAULT_LIMIT, START, Labels, Series, label, set_aside

__all__ = ["HISTOGRAM", "Counts", "LedgerCollector", "counter", "of_counts"]

HISTOGRAM = "pixelmeter_request_duration_seconds"

_FRESH = 1_000_000
_PATIENCE = 5.0
_METRICS = {metric.name: metric for metric in METRICS if "ledger" in metric.origins}
_COUNTERS = [metric.name for metric in _METRICS.values() if metric.kind == "counter"]
_COUNTS = [count for count in COUNTS if count.kind == "counter" and count.metric in _METRICS]
_UNITS = {count.metric: count.unit for count in (*_COUNTS, *ADJUSTMENT_COUNTS)}
_OF_JOBS = [_METRICS[name] for name in ("pixelmeter_jobs_open", "pixelmeter_oldest_job_seconds")]
_OF_ADJUSTMENTS = [_METRICS[name] for name in dict.fromkeys(count.metric for count in ADJUSTMENT_COUNTS)]
_ADJUSTED_ONLY = {each.name for each in _OF_ADJUSTMENTS} - {count.metric for count in _COUNTS}
_OTHERS = {*(each.name for each in (*_OF_JOBS, *OF_BUDGETS, *OF_RECONCILIATIONS, *OF_TAGS)), *_ADJUSTED_ONLY}
_OF_TOTALS = [each for each in _METRICS.values() if each.name not in _OTHERS]
# Shares of the room that is left. Each has its own, because the ledger does not say which row of totals came before
# which row of adjustments, and what gets room must not depend on when a scrape saw them.
_ADJUSTMENTS_SHARE = 0.1
_JOBS_SHARE = 0.02
_BUDGETS_SHARE = 0.05
_RECONCILIATIONS_SHARE = 0.01
# Only where tags are named.
_TAGS_SHARE = 0.2
# Each combination of labels has series of these, even while they are 0.
_GROWING = ("pixelmeter_requests_total", "pixelmeter_images_total", "pixelmeter_tokens_total")
_START = [(name, rest) for name, rest in START if name in _METRICS]
_key = attrgetter(*Key._fields)
# What stands in a key behind gateway, operation and model.
_rest_of_key = attrgetter(*Key._fields[3:])
_numbers = attrgetter(*(count.number for count in _COUNTS))
_BOUNDS = [*(str(bound) for bound in metric(HISTOGRAM).buckets), "+Inf"]
_log = logging.getLogger("pixelmeter")


class LedgerCollector(Collector):
    """Reads the totals in one transaction; scrapes within a second of each other share one reading.

    A ledger that cannot be read is `pixelmeter_ledger_up` 0, without the families that come from it: a counter that is
    absent goes on where it was, one that is 0 would look as if it had begun anew. So is one that does not answer within
    `patience` seconds; scrapes then wait for the one reading that is under way.
    """

    def __init__(
        self,
        url: str | Address,
        *,
        clock: Clock,
        tags: Sequence[str] = (),
        max_series: int = DEFAULT_LIMIT,
        patience: float = _PATIENCE,
    ) -> None:
        """Opens nothing; `tags` are those by which spend is shown too.

        ConfigError for a URL, a tag or a number of series that cannot be used, and for a missing driver.
        """
        self._address = read_address(url)
        if self._address.dialect == "postgresql":
            connect_arguments(self._address)
        self._clock = clock
        tags = checked(tags)
        self._tags = TagReading(self._address, tags, clock)
        self._counts = Counts(max_series, tags)
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
            return [_gauge("pixelmeter_ledger_up", 0), *_always()]
        return reading.result()

    def _shared(self) -> Future[Sequence[Family]]:
        with self._lock:
            reading = self._reading
            if reading is None or (reading.done() and self._clock.monotonic() - self._read_at >= _FRESH):
                reading = Future[Sequence[Family]]()
                # A daemon thread: it cannot be ended while the database hangs, and the process must not wait for it.
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
            found = self._ask()
        except LedgerError as error:
            self._say(str(error))
            return [_gauge("pixelmeter_ledger_up", 0), *_always()]
        self._say(found.trouble)
        families = [_gauge("pixelmeter_ledger_up", 1), *_always()]
        families += of_counts(*self._counts.of(found.totals, found.adjusted))
        families += self._counts.open_jobs(found.totals, found.open_jobs, self._clock.now())
        families += self._counts.budgets(found.budgets)
        families += self._counts.reconciliations(found.reconciliations)
        families += self._counts.tags(found.by_tag)
        if found.latest is not None:
            families.append(_gauge("pixelmeter_ledger_last_attempt_timestamp_seconds", found.latest / 1e6))
        if found.months is not None:
            families.append(_gauge("pixelmeter_ledger_months_ahead", found.months.ahead))
            families.append(_gauge("pixelmeter_ledger_attempts_without_month", found.months.without))
        return families

    def _ask(self) -> _Found:
        # Opened for each reading: since the last one the file may have been replaced, or its schema upgraded.
        with reading_ledger(self._address) as reader:
            found = _Found(
                read_totals(reader),
                read_adjustment_totals(reader),
                open_jobs_by_gateway(reader),
                last_attempt(reader),
                newest(reader),
                months_of(reader, self._clock.now()),
            )
            try:
                found = found._replace(budgets=standings(reader, self._clock.now()))
            except LedgerError as error:
                # A budget that a newer pixelmeter has defined keeps nobody from the counters.
                found = found._replace(trouble=str(error))
        by_tag, trouble = self._tags.latest()
        return found._replace(by_tag=by_tag, trouble=found.trouble or trouble)

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
        _gauge("pixelmeter_price_book_timestamp_seconds", checked),
        _gauge("pixelmeter_build_info", 1, (__version__,)),
    ]


class _Found(NamedTuple):
    """What a ledger says at one moment."""

    totals: Sequence[Total]
    adjusted: Sequence[AdjustmentTally]
    open_jobs: Sequence[OpenJobs]
    latest: int | None
    """When the latest attempt was sent: Unix time in microseconds."""
    reconciliations: Sequence[Reconciliation]
    months: Months | None
    """How far the partitions of the ledger reach, where it has any."""
    budgets: Sequence[Standing] = ()
    by_tag: Sequence[TagSpend] = ()
    trouble: str | None = None
    """Why nothing is known of budgets or of a tag."""


class _Histogram:
    """Attempts by bucket, each counted in one of them, and the sum of their durations in microseconds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(_METRICS[HISTOGRAM].buckets) + 1)
        self.duration = 0

    def add(self, buckets: Sequence[int], duration: int) -> None:
        """Add what other attempts took."""
        self.buckets = [old + new for old, new in zip(self.buckets, buckets, strict=True)]
        self.duration += duration


class Counts:
    """Remembers which series there are, so that what was counted in one is counted there as long as this lives.

    Given the totals in the order in which they came to be, another one after it gives names the same room.
    """

    def __init__(self, max_series: int = DEFAULT_LIMIT, tags: Sequence[str] = ()) -> None:
        """Raises ConfigError for a limit that is too low; `tags` are those that need room."""
        adjustments, jobs = set_aside(_OF_ADJUSTMENTS), set_aside(_OF_JOBS)
        budgets, reconciliations = set_aside(OF_BUDGETS), set_aside(OF_RECONCILIATIONS)
        by_tag = set_aside(OF_TAGS) * len(tags)
        taken = adjustments + jobs + budgets + reconciliations + by_tag
        room = max(max_series - taken - set_aside(_OF_TOTALS), 0)
        adjustments += int(room * _ADJUSTMENTS_SHARE)
        jobs += int(room * _JOBS_SHARE)
        budgets += int(room * _BUDGETS_SHARE)
        reconciliations += int(room * _RECONCILIATIONS_SHARE)
        by_tag += int(room * _TAGS_SHARE) if tags else 0
        taken = adjustments + jobs + budgets + reconciliations + by_tag
        self._series = Series(_OF_TOTALS, max_series, taken=taken)
        self._adjusted = Series(_OF_ADJUSTMENTS, adjustments)
        self._jobs = Series(_OF_JOBS, jobs)
        self._budgets = BudgetGauges(budgets)
        self._reconciliations = ReconciliationGauges(reconciliations)
        self._tags = TagGauges(by_tag, tags)
        self._named: dict[Labels, tuple[str, str]] = {}
        self._placed: dict[tuple[Series, str, Labels], Labels] = {}

    def of(
        self, totals: Iterable[Total], adjusted: Iterable[AdjustmentTally] = ()
    ) -> tuple[Mapping[str, Mapping[Labels, int]], Mapping[Labels, _Histogram]]:
        """Return the counters by name and labels, and the histograms; money is in nano-dollars."""
        started: set[Labels] = set()
        counters: dict[str, dict[Labels, int]] = {name: {} for name in _COUNTERS}
        histograms: dict[Labels, _Histogram] = {}
        for total in totals:
            key = _key(total)
            is_new = key not in self._named
            gateway, model = self._names(key, total)
            call = (gateway, total.operation, model)
            if call not in started:
                started.add(call)
                for name, rest in _START:
                    if name != HISTOGRAM:
                        counters[name].setdefault(self._place(name, (*call, *rest)), 0)
                    else:
                        histograms.setdefault(self._place(name, (*call, *rest)), _Histogram())
            for name, labels, number in _counted(total, call, is_new=is_new):
                placed = self._place(name, labels)
                if number:
                    counters[name][placed] = counters[name].get(placed, 0) + number
            if total.outcome != "blocked":
                placed = self._place(HISTOGRAM, (*call, total.outcome))
                histograms.setdefault(placed, _Histogram()).add(total.durations, total.duration)
        for tally in adjusted:
            for count in ADJUSTMENT_COUNTS:
                if tally.kind == "job" or count.number != "jobs":
                    placed = self._place(count.metric, count.labels(tally), self._adjusted)
                    counters[count.metric].setdefault(placed, 0)
                    counters[count.metric][placed] += getattr(tally, count.number)
        return counters, histograms

    def open_jobs(self, totals: Iterable[Total], found: Iterable[OpenJobs], now: int) -> Iterator[Family]:
        """Yield the gauges of jobs that have not ended; `now` is Unix time in microseconds.

        They are 0 for a gateway whose jobs have all ended.
        """
        counts: dict[Labels, float] = {}
        ages: dict[Labels, float] = {}
        none = [OpenJobs(total.gateway, 0, now) for total in totals if total.outcome == "pending"]
        for gateway, jobs, since in [*found, *none]:
            count, age = (self._place(each.name, (gateway,), self._jobs) for each in _OF_JOBS)
            counts[count] = counts.get(count, 0) + jobs
            ages[age] = max(ages.get(age, 0), (now - since) / 1e6)
        for each, values in zip(_OF_JOBS, (counts, ages), strict=True):
            family = GaugeMetricFamily(each.name, each.help, labels=each.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def budgets(self, found: Iterable[Standing]) -> Iterator[Family]:
        """Yield the gauges of budgets."""
        return self._budgets.families(found)

    def reconciliations(self, found: Iterable[Reconciliation]) -> Iterator[Family]:
        """Yield the gauges of reconciliations."""
        return self._reconciliations.families(found)

    def tags(self, found: Iterable[TagSpend]) -> Iterator[Family]:
        """Yield the gauges by the value of a tag."""
        return self._tags.families(found)

    def _names(self, key: Labels, total: Total) -> tuple[str, str]:
        # Remembered for each combination: a name that gets room later must not take over what was counted as "other".
        named = self._named.get(key)
        if named is None:
            priced = total.cost_source != "none"
            named = self._series.names(total.gateway, total.operation, total.model, priced=priced)
            self._named[key] = named
        return named

    def _place(self, name: str, labels: Labels, series: Series | None = None) -> Labels:
        series = series or self._series
        placed = self._placed.get((series, name, labels))
        if placed is None:
            asked = tuple(label(text) for text in labels)
            placed = self._placed[series, name, labels] = series.place(_METRICS[name], asked)
        return placed


def _counted(total: Total, call: Labels, *, is_new: bool) -> Iterator[tuple[str, Labels, int]]:
    """Yield the counters that a total adds to; of a combination that is new also those that are still 0 and may grow.

    So which series get room depends on the combinations alone, and not on what their numbers were at a scrape.
    """
    key = Key(*call, *_rest_of_key(total))
    for count, number in zip(_COUNTS, _numbers(total), strict=True):
        # The others need no series while they are 0: these are there from the start, or never 0 in this combination.
        if number or (is_new and count.metric in _GROWING):
            yield count.metric, count.labels(key), number


def of_counts(
    counters: Mapping[str, Mapping[Labels, int]], histograms: Mapping[Labels, _Histogram]
) -> Iterator[Family]:
    """Yield the families of counters and histograms."""
    for name, values in counters.items():
        yield counter(name, values)
    yield _histogram(HISTOGRAM, histograms)


def counter(name: str, values: Mapping[Labels, int]) -> Family:
    """Return a counter of the catalogue; those in US dollars are given in nano-dollars."""
    described = metric(name)
    family = CounterMetricFamily(name, described.help, labels=described.labels)
    for labels, value in values.items():
        family.add_metric(labels, value / _UNITS[name])
    return family


def _histogram(name: str, values: Mapping[Labels, _Histogram]) -> Family:
    """Return a histogram of the catalogue, in seconds."""
    described = metric(name)
    family = HistogramMetricFamily(name, described.help, labels=described.labels)
    for labels, value in values.items():
        buckets = list(zip(_BOUNDS, accumulate(value.buckets), strict=True))
        family.add_metric(labels, buckets, value.duration / 1e6)
    return family


def _gauge(name: str, value: float, labels: Labels = ()) -> Family:
    """Return a gauge of the catalogue with one sample."""
    described = metric(name)
    family = GaugeMetricFamily(name, described.help, labels=described.labels)
    family.add_metric(labels, value)
    return family
