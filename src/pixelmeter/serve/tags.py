"""Spend by the values of tags that whoever starts the exporter has named, as gauges of the present UTC month."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.labels import OTHER
from pixelmeter.core.metrics import METRICS
from pixelmeter.core.ports import Clock
from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.reader import LedgerReader, is_too_long, reading_ledger
from pixelmeter.ledger.wide_tags import MOST_VALUES, is_plain_key, is_rolled_up
from pixelmeter.sinks.series import label

__all__ = ["MOST_TAGS", "OF_TAGS", "TagGauges", "TagReading", "TagSpend", "checked"]

OF_TAGS = tuple(metric for metric in METRICS if metric.name.startswith("pixelmeter_tag_"))
"""What is shown of each value of a tag."""
MOST_TAGS = 5
"""How many tags may be named: each of them has a part of the room."""

_PREFIX = "pixelmeter_tag_"
# A tag of many values has some hundred thousand rows in two months, so they are not read at every scrape.
_FRESH = 60_000_000
_PATIENCE = 2.0


class TagSpend(NamedTuple):
    """What the attempts with a value of a tag came to; money is in nano-dollars."""

    tag: str
    value: str
    """Empty for attempts without the tag."""
    cost: int | None
    """Known cost of the present UTC month; None where nothing is known."""
    last_month_cost: int | None
    """The same of the UTC month before."""
    at_risk: int
    unknown_cost_attempts: int


class _Month(NamedTuple):
    """Sums of one month."""

    cost: int = 0
    at_risk: int = 0
    unknown: int = 0

    def less(self, other: _Month) -> _Month:
        return _Month(self.cost - other.cost, self.at_risk - other.at_risk, self.unknown - other.unknown)

    @property
    def known(self) -> int | None:
        """The cost, or None where it is the 0 of attempts whose cost nobody knows."""
        return None if self.cost == 0 and self.unknown else self.cost


def checked(tags: Iterable[str]) -> Sequence[str]:
    """Return the tags that may be shown, each once; ConfigError for one that no attempt can have, and for too many."""
    found = list(dict.fromkeys(tags))
    for tag in found:
        if not is_plain_key(tag):
            raise ConfigError(f"the tag {tag[:80]!r} cannot be shown: a tag has 1 to 64 printable characters")
    if len(found) > MOST_TAGS:
        raise ConfigError(f"{len(found)} tags are too many for one exporter: name {MOST_TAGS} at most")
    return found


class TagReading:
    """Reads what each value of each tag came to, once a minute at most, and never for longer than two seconds."""

    def __init__(self, address: Address, tags: Sequence[str], clock: Clock) -> None:
        self._address = address
        self._tags = tags
        self._clock = clock
        self._read_at: int | None = None
        self._found: Sequence[TagSpend] = ()
        self._trouble: str | None = None

    def latest(self) -> tuple[Sequence[TagSpend], str | None]:
        """Return what was read, most expensive values first, and the sentence that says what could not be read."""
        now = self._clock.monotonic()
        if self._tags and (self._read_at is None or now - self._read_at >= _FRESH):
            self._read_at = now
            self._read()
        return self._found, self._trouble

    def _read(self) -> None:
        shown = ", ".join(self._tags)
        try:
            with reading_ledger(self._address) as reader, reader.time_limit(_PATIENCE):
                wide = [tag for tag in self._tags if not is_rolled_up(reader, tag)]
                this, last = _months(self._clock.now())
                self._found = [one for tag in self._tags if tag not in wide for one in _of_tag(reader, tag, this, last)]
        except LedgerError as error:
            self._found = ()
            took_long = f"their sums take longer than {_PATIENCE:g} seconds" if is_too_long(error) else str(error)
            self._trouble = f"no metrics by tag {shown}: {took_long}"
        else:
            many = f"no metrics by tag {', '.join(wide)}: it has had more than {MOST_VALUES} values on a day"
            self._trouble = many if wide else None


def _of_tag(reader: LedgerReader, tag: str, this: date, last: date) -> list[TagSpend]:
    sums = ", ".join(
        f"coalesce(sum(CASE WHEN day {'>=' if month == this else '<'} '{this}' THEN {column} END), 0)"
        for month in (this, last)
        for column in ("cost", "at_risk", "unknown_cost_attempts")
    )
    of_values = {
        str(value): (_Month(*map(int, row[:3])), _Month(*map(int, row[3:])))
        for value, *row in reader.rows(
            f"SELECT value, {sums} FROM pixelmeter_tag_daily WHERE tag = ? AND day >= '{last}' GROUP BY value", [tag]
        )
    }
    [whole] = reader.rows(f"SELECT {sums} FROM pixelmeter_daily WHERE day >= '{last}'")
    of_none = [_Month(*map(int, part)) for part in (whole[:3], whole[3:])]
    for months in of_values.values():
        of_none = [without.less(month) for without, month in zip(of_none, months, strict=True)]
    of_values[""] = of_none[0], of_none[1]
    found = [
        TagSpend(tag, value, now.known, before.known, now.at_risk, now.unknown)
        for value, (now, before) in of_values.items()
    ]
    return sorted(found, key=lambda one: (-(one.cost or 0), -(one.last_month_cost or 0), one.value))


def _months(now: int) -> tuple[date, date]:
    """Return the first days of the present UTC month and of the one before."""
    this = datetime.fromtimestamp(now // 1_000_000, UTC).date().replace(day=1)
    return this, (this - timedelta(days=1)).replace(day=1)


class TagGauges:
    """Remembers which values have series of their own: the most expensive that came, as many as there is room for.

    All others of a tag are the value "other". Attempts without the tag always have their own series.
    """

    def __init__(self, room: int, tags: Sequence[str]) -> None:
        """`room` is a number of series."""
        # One is "other".
        self._most = max(room // (len(OF_TAGS) * max(len(tags), 1)) - 1, 1)
        self._named = {tag: {""} for tag in tags}

    def families(self, found: Iterable[TagSpend]) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        shown: dict[tuple[str, str], TagSpend] = {}
        for one in found:
            named = label(one.tag), self._value(one)
            known = shown.get(named)
            shown[named] = one if known is None else _together(known, one)
        of_each = [(labels, _numbers(one)) for labels, one in shown.items()]
        for metric in OF_TAGS:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, numbers in of_each:
                number = numbers[metric.name.removeprefix(_PREFIX)]
                if number is not None:
                    family.add_metric(labels, number)
            yield family

    def _value(self, one: TagSpend) -> str:
        named, value = self._named[one.tag], label(one.value)
        if value not in named:
            if value == OTHER or len(named) >= self._most:
                return OTHER
            named.add(value)
        return value


def _together(one: TagSpend, other: TagSpend) -> TagSpend:
    """Return the sums of two values, known where one of them is."""

    def added(left: int | None, right: int | None) -> int | None:
        return None if left is None and right is None else (left or 0) + (right or 0)

    return TagSpend(
        one.tag,
        OTHER,
        added(one.cost, other.cost),
        added(one.last_month_cost, other.last_month_cost),
        one.at_risk + other.at_risk,
        one.unknown_cost_attempts + other.unknown_cost_attempts,
    )


def _numbers(one: TagSpend) -> dict[str, float | None]:
    """Return what is shown of a value, by the name of its gauge; None is left out."""
    return {
        "cost_usd": None if one.cost is None else one.cost / NANO_PER_USD,
        "last_month_cost_usd": None if one.last_month_cost is None else one.last_month_cost / NANO_PER_USD,
        "at_risk_usd": one.at_risk / NANO_PER_USD,
        "unknown_cost_requests": one.unknown_cost_attempts,
    }
