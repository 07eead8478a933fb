"""Sums of attempts by dimensions, from whatever tells them with the least to read.

Ranges are half-open, [since, until). Every value is a parameter, every name in SQL is one of ours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from itertools import islice
from typing import Any, NamedTuple

from pixelmeter.core.reporting.columns import HISTOGRAM, OF_PROGRAMS, sums
from pixelmeter.core.reporting.periods import Period, name_of, utc_text, windows
from pixelmeter.core.reporting.report import Group, is_period, known, tag_of
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.dialect import RETRIED, ROUTED, Sql
from pixelmeter.ledger.measures import (
    BUCKETS,
    BUCKETS_OF_ATTEMPTS,
    BUCKETS_OF_ROLLUP,
    BUCKETS_OF_TAGS,
    OF_ATTEMPTS,
    OF_RETRIES,
    OF_ROLLUP,
    OF_ROUTED,
    OF_TAGS,
    Sum,
    bucket_of,
    group_of,
    retried,
    selected,
)
from pixelmeter.ledger.pieces import (
    DAY,
    DAYS,
    DAYS_OF_TAGS,
    HOURS,
    Piece,
    Rollup,
    Slot,
    ceiling,
    floor,
    less_to_read,
    pieces,
    slots,
)
from pixelmeter.ledger.queries import EVERYTHING, Filters, spend, started_in, summed_in, where
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.wide_tags import is_rolled_up

__all__ = ["cost_by_period", "grouped", "needs_attempts", "widened", "within_ledger"]

_ROLLED_UP = {"gateway", "provider", "operation", "model", "outcome"}
# What a report says of its sums and orders them by, whatever its columns are.
_ALWAYS = frozenset({"attempts", "blocked", "cost", "at_risk", "unknown_cost_attempts", "unestimated_attempts"})
# The bounds of so many windows are in one statement.
_AT_ONCE = 1000
_EXPRESSIONS = {"trace": "trace_id", "call": "CAST(call_id AS TEXT)"}


def grouped(
    reader: LedgerReader,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
    columns: Collection[str] = OF_PROGRAMS,
) -> Iterator[Group]:
    """Yield sums by dimensions (`pixelmeter.core.reporting.report.DIMENSIONS` or "tag:KEY"), for `summarise` to add up.

    Hours, days, weeks and months are those of `zone`. Only what `columns` are made of is added up
    (`core.reporting.columns.COLUMNS`), and what every report says. Whole UTC days and hours come from rollups where
    they can tell, and whole days of one tag from that of tags; retries and routed attempts, which few columns are
    about, have indexes of their own; all else is read from the attempts. They are as adjustments have made them.
    """
    since, until = within_ledger(reader, since, until)
    begin = horizon(reader)
    parts = slots(since, until, zone, [name for name in by if is_period(name)])
    while some := list(islice(parts, _AT_ONCE)):
        if some[-1].end == until and (begin is None or begin <= until):
            some = _with_all_of_today(reader, some)
        yield from _Question(reader, by, some, filters, _ALWAYS | sums(columns), begin).answer()


def needs_attempts(reader: LedgerReader, by: Sequence[str], zone: tzinfo, filters: Filters) -> bool:
    """Return whether sums by these dimensions come from the attempts, however long the range: no rollup has them."""
    now = datetime.now(UTC)
    some = list(slots(now - 2 * DAY, now, zone, [name for name in by if is_period(name)]))
    return not _Question(reader, by, some, filters, _ALWAYS, None).rollups()


def widened(
    reader: LedgerReader, by: Sequence[str], since: datetime, until: datetime, filters: Filters
) -> tuple[datetime, datetime]:
    """Return a range whose ends do not lie within an hour of which the ledger has sums but no attempts any more.

    Of sums by the value of a tag it is not within a day.
    """
    begin = horizon(reader)
    if begin is None or since >= begin:
        return since, until
    is_of_tag = _Question(reader, by, (), filters, _ALWAYS, begin).tag_of_rollup() is not None
    step = (DAYS_OF_TAGS if is_of_tag else HOURS).step
    return floor(since, step), ceiling(until, step) if until < begin else until


def cost_by_period(
    reader: LedgerReader,
    period: Period,
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
) -> dict[str, int | None]:
    """Return the known nano-dollars of each period of the range, as far as the ledger reaches, in order.

    It is 0 where nothing was spent, and None where attempts were made of which no cost is known.
    """
    since, until = within_ledger(reader, since, until)
    costs = {name_of(window.first, period): 0 for window in windows(since, until, zone, period)}
    missing = dict.fromkeys(costs, 0)
    for key, found, _ in grouped(reader, (period,), since, until, zone, filters, ("cost",)):
        name = key[0] or ""
        costs[name] += found.get("cost", 0)
        missing[name] += found.get("unknown_cost_attempts", 0)
    return {name: known(cost, missing[name]) for name, cost in costs.items()}


class _Source(NamedTuple):
    """Attempts that are added up."""

    relation: str
    used: str
    """What the sums are made of."""
    sums: Mapping[str, Sum]
    bucket: str = "0"
    sent: str = ""
    """How many attempts of a latency bucket were sent; empty where that is not asked for."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of consecutive slots."""

    reader: LedgerReader
    by: Sequence[str]
    slots: Sequence[Slot]
    filters: Filters
    wanted: frozenset[str]
    begin: datetime | None
    """Since when the ledger has the attempts themselves; None where it has all."""

    def answer(self) -> Iterator[Group]:
        """Yield the groups of every source."""
        since, until = self.slots[0].start, self.slots[-1].end
        tag = self.tag_of_rollup()
        rollups = self.rollups()
        found = pieces(since, until, rollups)
        for piece in less_to_read(found) if DAYS_OF_TAGS in rollups else found:
            if piece.rollup is None:
                self._check(piece.start)
            groups = self._of_piece(piece, tag)
            yield from groups if piece.sign > 0 else map(_taken_off, groups)
        if self._asked(OF_RETRIES) or self._asked(OF_ROUTED):
            self._check(since)
        relation = spend(self.reader)
        if retries := self._asked(OF_RETRIES):
            early = retried(relation) if any("twice" in name for name in retries) else ""
            used = ", ".join(filter(None, ["billing, cost, at_risk", early]))
            source = _Source(relation, used, retries)
            yield from self._groups(source, since, until, self._started(since, until, Sql(RETRIED)))
        if routed := self._asked(OF_ROUTED):
            source = _Source(relation, "baseline_cost, route_fee, savings", routed)
            yield from self._groups(source, since, until, self._started(since, until, Sql(f"({ROUTED})")))

    def _check(self, start: datetime) -> None:
        if self.begin is not None and start < self.begin:
            raise ConfigError(
                f"attempts before {utc_text(self.begin)} have been pruned, and this report needs them: ask for a later "
                "time, or for columns and dimensions that sums are kept of (docs/reports.md)"
            )

    def _asked(self, sums: Mapping[str, Sum]) -> Mapping[str, Sum]:
        return {name: one for name, one in sums.items() if name in self.wanted}

    def rollups(self) -> Sequence[Rollup]:
        """Return those that can tell, the coarsest first."""
        others = {name for name in self.by if not is_period(name)}
        if self.tag_of_rollup() is not None:
            rollups, kept = [DAYS_OF_TAGS], OF_TAGS
        elif self.filters.rolled_up and others <= _ROLLED_UP:
            rollups, kept = [DAYS, HOURS], OF_ROLLUP
        else:
            return []
        if not self._asked(OF_ATTEMPTS).keys() <= kept.keys():
            return []
        starts = [slot.start for slot in self.slots[1:]]
        return [one for one in rollups if all(start == floor(start, one.step) for start in starts)]

    def tag_of_rollup(self) -> str | None:
        """Return the one tag that all is about, where the rollup of tags has it."""
        others = {name for name in self.by if not is_period(name)}
        tags = {tag_of(name) for name in others} | self.filters.tags.keys()
        if len(tags) != 1 or not self.filters.only_tags or "" in self.filters.tags.values():
            return None
        (tag,) = tags
        return tag if tag is not None and is_rolled_up(self.reader, tag) else None

    def _of_piece(self, piece: Piece, tag: str | None) -> Iterator[Group]:
        if piece.rollup is None:
            return self._of_attempts(piece)
        if piece.rollup is DAYS_OF_TAGS and tag is not None:
            return self._of_tag(piece, tag)
        return self._of_rollup(piece, piece.rollup, self.by, self.filters.conditions(self.reader.dialect))

    def _of_rollup(self, piece: Piece, rollup: Rollup, by: Sequence[str], conditions: Iterable[Sql]) -> Iterator[Group]:
        is_tag = rollup is DAYS_OF_TAGS
        names = ["value" if is_tag else name for name in by if not is_period(name)]
        # In the order of the index, of which they are the first columns, SQLite needs to sort nothing.
        needed = max((rollup.dimensions.index(name) + 1 for name in names), default=0)
        keys = (rollup.time, *rollup.dimensions[:needed])
        places = [keys.index(name) for name in names]
        dialect = self.reader.dialect
        is_of_value = is_tag and bool(self.filters.tags)
        time = summed_in(rollup.time, piece.start, piece.end, dialect, is_of_value=is_of_value)
        condition = where([time, *conditions])
        sums = self._asked(OF_TAGS if is_tag else OF_ROLLUP)
        buckets = [dialect.joined(BUCKETS_OF_TAGS if is_tag else BUCKETS_OF_ROLLUP)]

        def statement(is_wide: bool) -> str:
            columns = [*keys, *selected(sums, dialect, is_wide=is_wide), *(buckets if HISTOGRAM in self.wanted else ())]
            grouped_by = f"{condition.text} GROUP BY {', '.join(keys)}"
            return f"SELECT {', '.join(columns)} FROM {rollup.relation} {grouped_by}"

        starts = [slot.start for slot in self.slots]
        periods: dict[object, Mapping[Period, str]] = {}
        for width, row in self._rows_by_index(statement, condition.parameters):
            time_of_row = row[0]
            if time_of_row not in periods:
                slot = bisect_right(starts, dialect.time(time_of_row)) - 1
                periods[time_of_row] = self.slots[max(slot, 0)].names
            own = iter([row[place] or None for place in places])
            key = tuple(periods[time_of_row][name] if is_period(name) else next(own) for name in by)
            yield group_of(key, sums, iter(row[len(keys) :]), width, HISTOGRAM in self.wanted)

    def _of_tag(self, piece: Piece, tag: str) -> Iterator[Group]:
        """Yield what the rollup has of a tag; of the attempts without it, all that there is without its values."""
        conditions = [Sql("tag = ?", (tag,))]
        if self.filters.tags:
            conditions.append(Sql("value = ?", (self.filters.tags[tag],)))
        place = self.by.index(f"tag:{tag}") if f"tag:{tag}" in self.by else None
        for group in self._of_rollup(piece, DAYS_OF_TAGS, self.by, conditions):
            yield group
            if place is not None and not self.filters.tags:
                yield _taken_off(group._replace(key=(*group.key[:place], None, *group.key[place + 1 :])))
        if place is not None and not self.filters.tags:
            periods = [name for name in self.by if is_period(name)]
            for group in self._of_rollup(piece, DAYS, periods, ()):
                yield group._replace(key=(*group.key[:place], None, *group.key[place:]))

    def _of_attempts(self, piece: Piece) -> Iterator[Group]:
        dialect = self.reader.dialect
        used = "attempt, images, outcome, billing, cost, fee, at_risk"
        if "pixels" in self.wanted:
            used += f", {dialect.pixels} AS pixels"
        source = _Source(spend(self.reader), used, self._asked(OF_ATTEMPTS))
        if HISTOGRAM in self.wanted:
            sent = "count(*) FILTER (WHERE outcome <> 'blocked')"
            source = source._replace(bucket=bucket_of(dialect), sent=sent)
        yield from self._groups(source, piece.start, piece.end, self._started(piece.start, piece.end))

    def _started(self, start: datetime, end: datetime, *others: Sql) -> Iterator[Sql]:
        dialect = self.reader.dialect
        yield from started_in(start, end, dialect)
        yield from others
        yield from self.filters.conditions(dialect)

    def _groups(
        self,
        source: _Source,
        start: datetime,
        end: datetime,
        conditions: Iterable[Sql],
    ) -> Iterator[Group]:
        """Yield the groups of the attempts of a source on which all conditions hold."""
        by = self.by
        dialect = self.reader.dialect
        within = [slot for slot in self.slots if slot.start < end and slot.end > start]
        # What is taken off lies before the first or after the last one, and is in the sums of that.
        within = within or [self.slots[0 if end <= self.slots[0].start else -1]]
        dimensions = [self._dimension(name) for name in by if not is_period(name)]
        keys = ", ".join([*(f"key_{number}" for number in range(len(dimensions))), "slot"])
        # The inner query names each expression once: PostgreSQL does not take two parameters for the same one.
        named = [f"{found.text} AS key_{number}" for number, found in enumerate(dimensions)]
        bounds = [dialect.moment(slot.start) for slot in within[1:]]
        named.append(f"{dialect.rank('started_at', bounds)} AS slot")
        condition = where(conditions)
        rows = (
            f"SELECT {', '.join(named)}, {source.bucket} AS bucket, {source.used}"
            f" FROM {source.relation} AS one {condition.text}"
        )

        def statement(is_wide: bool) -> str:
            columns = list(selected(source.sums, dialect, is_wide=is_wide))
            if source.sent and self._is_of_few():
                # Most groups are one attempt: they are not worth a second grouping.
                columns.append(dialect.joined(BUCKETS_OF_ATTEMPTS))
            elif source.sent:
                parts = ", ".join(f"{column} AS sum_{number}" for number, column in enumerate(columns))
                found = f"SELECT {keys}, bucket, {parts}, {source.sent} AS sent FROM ({rows}) AS found"
                columns = [*(f"sum(sum_{number})" for number in range(len(columns))), dialect.joined(BUCKETS)]
                grouped_rows = f"({found} GROUP BY {keys}, bucket) AS parts"
                return f"SELECT {keys}, {', '.join(columns)} FROM {grouped_rows} GROUP BY {keys}"
            return f"SELECT {keys}, {', '.join(columns)} FROM ({rows}) AS found GROUP BY {keys}"

        parameters = [value for found in (*dimensions, condition) for value in found.parameters]
        for width, row in self._rows(statement, parameters):
            values = iter(row)
            key = tuple([value or None for value in islice(values, len(dimensions))])
            slot = next(values)
            if len(by) > len(dimensions):
                names, others = within[int(slot)].names, iter(key)
                key = tuple(names[name] if is_period(name) else next(others) for name in by)
            yield group_of(key, source.sums, values, width, bool(source.sent))

    def _rows_by_index(
        self, statement: Callable[[bool], str], parameters: Sequence[object]
    ) -> Sequence[tuple[int, Sequence[Any]]]:
        """Return the same of a statement that groups in the order of an index."""
        by_index = self.reader.dialect.by_index
        if by_index is None:
            return list(self._rows(statement, parameters))
        self.reader.rows(by_index, ["off"] * 3)
        found = list(self._rows(statement, parameters))
        self.reader.rows(by_index, [None] * 3)
        return found

    def _rows(
        self, statement: Callable[[bool], str], parameters: Sequence[object]
    ) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield how many columns an amount of money has, and each row; wide sums only where narrow ones overflow."""
        width = 1
        try:
            rows = self.reader.rows(statement(False), parameters)
        except Exception as error:
            if not self.reader.dialect.is_overflow(error):
                raise
            width, rows = len(self.reader.dialect.wide_sum("")), self.reader.rows(statement(True), parameters)
        for row in rows:
            yield width, row

    def _is_of_few(self) -> bool:
        """Return whether a group has few attempts."""
        tags = [tag for name in self.by if (tag := tag_of(name)) is not None]
        return "call" in self.by or any(not is_rolled_up(self.reader, tag) for tag in tags)

    def _dimension(self, name: str) -> Sql:
        tag = tag_of(name)
        found = Sql(_EXPRESSIONS.get(name, name)) if tag is None else self.reader.dialect.tag_value(tag)
        return Sql(f"coalesce({found.text}, '')", found.parameters)


def _taken_off(group: Group) -> Group:
    key, sums, buckets = group
    return Group(
        key,
        {name: -value for name, value in sums.items()},
        {bucket: -number for bucket, number in buckets.items()},
    )


def within_ledger(reader: LedgerReader, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Return a range cut to the UTC days that have attempts, so that no time is spent on years without any."""
    [(first, last)] = reader.rows(reader.dialect.reach)
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if first is None:
        return since, since
    first, last = map(reader.dialect.date, (first, last))
    return max(since, _start(first)), min(until, _start(last) + DAY)


def _with_all_of_today(reader: LedgerReader, parts: list[Slot]) -> list[Slot]:
    """Let the last slot end with its UTC day, where no attempt has started after it: rollups have days only."""
    last = parts[-1]
    if reader.rows(
        "SELECT 1 FROM pixelmeter_attempts WHERE started_at >= ? LIMIT 1", [reader.dialect.moment(last.end)]
    ):
        return parts
    return [*parts[:-1], last._replace(end=ceiling(last.end, DAY))]


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
