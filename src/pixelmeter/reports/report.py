"""A question about what was spent, answered from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.columns import OF_PROGRAMS, forecast_told, gateway_hint, names, notes, sparkline, sums
from pixelmeter.core.reporting.periods import OpenPeriod, Period, moment_of, range_text, utc_text
from pixelmeter.core.reporting.report import OTHERS, Group, Report, Row, forecast, is_period, summarise
from pixelmeter.core.text import dollars
from pixelmeter.errors import ConfigError, PixelmeterError
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.grouping import cost_by_period, grouped, needs_attempts, widened, within_ledger
from pixelmeter.ledger.queries import EVERYTHING, Filters, TagUse, Unpriced, ever_unpriced, tag_keys, unpriced
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.sums import last_attempt

if TYPE_CHECKING:
    from pixelmeter.core.pricing.book import PriceBook

__all__ = ["Answer", "Question", "Reading", "ask", "expected", "tags_in_use"]

_STROKES = 62
_MANY = 20_000
_WORTH_SAYING = 200_000
_SAMPLE = 10_000
_EMPTY = (
    "The ledger is empty: wrap a client with pixelmeter.instrument(client, meter) and make an image call, "
    "or run `pixelmeter demo` to see one filled."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which attempts are asked about, those that started in [since, until), and how they are summed up."""

    since: datetime
    until: datetime
    zone: tzinfo
    """Whose days, weeks and months are meant."""
    filters: Filters = EVERYTHING
    by: Sequence[str] = ("model",)
    """The dimensions, as `pixelmeter.core.reporting.report.dimensions` returns them."""
    columns: Sequence[str] = OF_PROGRAMS
    """The columns that will be shown: the sums of others need not be worked out."""
    top: int | None = None
    """How many of the most expensive rows there are to be; the others are added up."""
    period: OpenPeriod | None = None
    """The period that goes on, where the range is what is over of it."""

    def __post_init__(self) -> None:
        periods = [name for name in self.by if is_period(name)]
        if periods and "before" in sums(self.columns):
            raise ConfigError(
                f"rows by {periods[0]} have no change, which compares with the whole time before: "
                f"leave {periods[0]} out, or the columns before and change"
            )

    @property
    def before(self) -> tuple[datetime, datetime]:
        """The range that this one is compared with: as long, directly before.

        Of a period that goes on it is the period before, cut where as much of it was over.
        """
        length = self.until - self.since
        if self.period is None:
            # As far as there are years.
            return self.since - min(length, self.since - datetime.min.replace(tzinfo=UTC)), self.since
        return self.period.before, min(self.period.before + length, self.period.start)

    def told(self) -> str:
        """Return the range in words, such as "2026-05-01T00:00:00Z to 2026-06-01T00:00:00Z"."""
        return range_text(self.since, self.until, self.zone)


class Answer(NamedTuple):
    """A report, with what is said below it where it was asked for."""

    report: Report
    history: str | None
    """The cost of each day, week or month of the range, as a line of strokes; None where it has no shape."""
    notes: Sequence[str]
    """What the sums leave out and what can be done about it; of a report without rows, why it has none."""


def ask(reader: LedgerReader, question: Question, *, with_notes: bool) -> Answer:
    """Return the answer of a ledger; history and notes take further queries, so a program that reads it has none."""
    asked, question = question, _within_reach(reader, question)
    report = summarise(
        _groups(reader, question), by=question.by, since=question.since, until=question.until, top=question.top
    )
    if question.period is not None:
        report = replace(report, forecast=forecast(report, question.period.start, question.period.end))
    if not with_notes:
        return Answer(report, None, ())
    if not report.rows:
        return Answer(report, None, [_why_nothing(reader, question)])
    said = list(_notes(reader, question, report))
    if question != asked:
        said.append(f"Of attempts that were pruned whole hours or days are known: this is {question.told()}.")
    return Answer(report, _history(reader, question, report), said)


def _within_reach(reader: LedgerReader, question: Question) -> Question:
    since, until = widened(reader, question.by, question.since, question.until, question.filters)
    return replace(question, since=since, until=until)


def _groups(reader: LedgerReader, question: Question) -> Iterator[Group]:
    yield from grouped(
        reader, question.by, question.since, question.until, question.zone, question.filters, question.columns
    )
    if "before" in sums(question.columns):
        since, until = widened(reader, question.by, *question.before, question.filters)
        for key, found, _ in grouped(reader, question.by, since, until, question.zone, question.filters, ("cost",)):
            yield Group(key, {"before": found.get("cost", 0), "unknown_before": found.get("unknown_cost_attempts", 0)})


class Reading(NamedTuple):
    """What a question has to read one by one, and about how long that takes."""

    attempts: int
    seconds: float


def expected(
    reader: LedgerReader, question: Question, clock: Clock, *, worth_saying: int | None = None
) -> Reading | None:
    """Return what a question reads that no rollup can answer.

    None where that is fewer attempts than `worth_saying`, or without it than anybody waits for.

    Rollups tell how many attempts there are, and the latest ten thousand of them how long they take.
    """
    if question.since >= question.until or not needs_attempts(reader, question.by, question.zone, question.filters):
        return None
    whole = _attempts_in(reader, question.since, question.until)
    if whole < (_WORTH_SAYING if worth_saying is None else worth_saying):
        return None
    latest = last_attempt(reader, before=question.until)
    if latest is None:
        return None
    end = moment_of(latest + 1)
    since, until = within_ledger(reader, question.since, question.until)
    start = max(end - (until - since) * _SAMPLE / whole, since)
    sample = _within_reach(reader, replace(question, since=start, until=end))
    part = _attempts_in(reader, sample.since, sample.until)
    begun = clock.monotonic()
    summarise(_groups(reader, sample), by=sample.by, since=sample.since, until=sample.until)
    return Reading(whole, (clock.monotonic() - begun) / 1e6 * whole / part) if part else None


def _attempts_in(reader: LedgerReader, since: datetime, until: datetime) -> int:
    """Return about how many attempts a range has: those that a filter leaves out are read as well."""
    since = since.replace(minute=0, second=0, microsecond=0)
    groups = grouped(reader, ("gateway",), since, until, columns=("attempts",))
    return sum(group.sums["attempts"] for group in groups)


def tags_in_use(reader: LedgerReader, question: Question) -> Sequence[TagUse]:
    """Return the keys of tags that attempts have, the most frequent first."""
    begin = horizon(reader)
    if begin is not None and question.since < begin:
        raise ConfigError(f"attempts before {utc_text(begin)} have been pruned, tags and all: ask for a later time")
    return tag_keys(reader, question.since, question.until, question.filters)


def _why_nothing(reader: LedgerReader, question: Question) -> str:
    if not attempts(reader, limit=1):
        return _EMPTY
    between = question.told().replace(" to ", " and ")
    return f"Nothing fits between {between}: give an earlier --since, or fewer filters."


def _history(reader: LedgerReader, question: Question, report: Report) -> str | None:
    days = (question.until - question.since).days
    period: Period = "day" if days <= _STROKES else "week" if days <= _STROKES * 7 else "month"
    try:
        costs = _costs_of_rows(report, period) or cost_by_period(
            reader, period, question.since, question.until, question.zone, question.filters
        )
    except ConfigError:
        # Its days are not those of the sums, and attempts have been pruned.
        return None
    largest = max((cost for cost in costs.values() if cost is not None), default=0)
    if len(costs) < 2 or largest <= 0:
        return None
    first, *_, last = costs
    return f"By {period}: {first} {sparkline(list(costs.values()))} {last}, at most {dollars(largest)}"


def _costs_of_rows(report: Report, period: Period) -> dict[str, int | None]:
    """Return the known cost of each period that a report has rows of; nothing where it is by no such period."""
    if period not in report.by:
        return {}
    place = report.by.index(period)
    sums: dict[str, Row] = {}
    for row in report.rows:
        amounts = {"cost": row.cost, "unknown_cost_attempts": row.unknown_cost_attempts}
        sums.setdefault(row.key[place] or "", Row(())).add(amounts, {})
    return {} if OTHERS in sums else {name: sums[name].known_cost for name in sorted(sums)}


def _notes(reader: LedgerReader, question: Question, report: Report) -> Sequence[str]:
    said = [forecast_told(report.forecast, question.zone)] if report.forecast is not None else []
    if "before" in sums(question.columns):
        said.append(f"Before: {range_text(*question.before, question.zone)}.")
    return said + _missing(reader, question, report)


def _missing(reader: LedgerReader, question: Question, report: Report) -> list[str]:
    if not report.total.unknown_cost_attempts:
        return notes(report, [])
    if report.total.attempts < _MANY:
        missing = unpriced(reader, question.since, question.until, question.filters)
        said = notes(report, [(one.model, one.attempts) for one in missing])
    else:
        # To count them, all attempts would have to be read.
        missing = ever_unpriced(reader, question.filters)
        said = notes(report, [])
        if missing:
            said.append(f"Some models have had no price at some time: {names(one.model for one in missing)}")
    if missing:
        said += _gateway_hints(missing)
    return said


def _gateway_hints(missing: Iterable[Unpriced]) -> list[str]:
    """Return a sentence for each host that may be a known gateway by another name, as its models are priced there.

    Where profiles or prices cannot be read, there is nothing to say.
    """
    # Imported late: a report of calls that all have a price needs no price book.
    from pixelmeter.gateways import load_profiles
    from pixelmeter.prices import book_of
    from pixelmeter.settings import from_environment
    from pixelmeter.system import SystemClock

    settings = from_environment()
    try:
        profiles = load_profiles(settings.gateways, settings.profiles)
        strange = [one for one in missing if one.gateway not in profiles.ids and profiles.of_host(one.gateway).generic]
        if not strange:
            return []
        book = book_of(settings.prices)
        now = SystemClock().now()
        hosts: dict[str, dict[str, list[str]]] = {}
        for host, model, _ in strange:
            pricing = [
                profile.id
                for profile in profiles.profiles
                if not profile.generic and _has_price(book, profile.id, profile.pass_through, model, now)
            ]
            if pricing:
                hosts.setdefault(host, {})[model] = pricing
    except PixelmeterError:
        return []
    return [gateway_hint(host, models) for host, models in hosts.items()]


def _has_price(book: PriceBook, gateway: str, vendors: tuple[str, ...], model: str, now: int) -> bool:
    from pixelmeter.core.pricing.quote import Consumption

    return book.quote(Consumption(), gateway=gateway, model=model, at=now, vendors=vendors).reason != "no_price"
