"""Into which parts a range of time falls: those of periods, and those that a rollup tells of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from pixelmeter.core.reporting.periods import Period, name_of, windows

__all__ = [
    "DAY",
    "DAYS",
    "DAYS_OF_TAGS",
    "HOURS",
    "Piece",
    "Rollup",
    "Slot",
    "ceiling",
    "floor",
    "less_to_read",
    "pieces",
    "slots",
]

DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Slot(NamedTuple):
    """A part of a range that has one name in each of the periods that are asked for."""

    start: datetime
    end: datetime
    names: Mapping[Period, str]


def slots(since: datetime, until: datetime, zone: tzinfo, periods: Sequence[Period]) -> Iterator[Slot]:
    """Yield the parts of a range, in order; one part where no periods are asked for."""
    if not periods:
        if since < until:
            yield Slot(since, until, dict[Period, str]())
        return
    for window in windows(since, until, zone, periods[0] if len(periods) == 1 else "day"):
        names: dict[Period, str] = {
            name: name_of(window.first, name) for name in periods if name != "hour" or len(periods) == 1
        }
        if len(names) == len(periods):
            yield Slot(window.start, window.end, names)
            continue
        # Of hours, the day is that of the window: where clocks jump over midnight, theirs may be another one.
        for hour in windows(window.start, window.end, zone, "hour"):
            yield Slot(hour.start, hour.end, {**names, "hour": name_of(hour.first, "hour")})


class Rollup(NamedTuple):
    """A table of sums, a row for each step of time and more."""

    relation: str
    time: str
    step: timedelta
    dimensions: tuple[str, ...]
    """What its rows are told apart by, beside the time, in the order of its index; but for the latency bucket."""


_DIMENSIONS = ("gateway", "provider", "operation", "model", "outcome")

DAYS = Rollup("pixelmeter_daily", "day", DAY, _DIMENSIONS)
HOURS = Rollup("pixelmeter_hourly", "hour", timedelta(hours=1), _DIMENSIONS)
DAYS_OF_TAGS = Rollup("pixelmeter_tag_daily", "day", DAY, ("value",))


class Piece(NamedTuple):
    """A part of a range, and the rollup that tells of it; None where the attempts themselves do."""

    rollup: Rollup | None
    start: datetime
    end: datetime
    sign: int = 1
    """-1 of what is in a piece before and is to be taken off."""


def pieces(since: datetime, until: datetime, rollups: Sequence[Rollup]) -> Iterator[Piece]:
    """Yield the parts of a range, of which the coarsest rollup tells as much as it can."""
    if not rollups or since >= until:
        if since < until:
            yield Piece(None, since, until)
        return
    coarsest, *finer = rollups
    first, last = ceiling(since, coarsest.step), floor(until, coarsest.step)
    if first >= last:
        yield from pieces(since, until, finer)
        return
    yield from pieces(since, first, finer)
    yield Piece(coarsest, first, last)
    yield from pieces(last, until, finer)


def less_to_read(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield pieces that come to the same: of more than half a day, the day without what is missing to it."""
    for piece in pieces:
        first, last = floor(piece.start, DAY), ceiling(piece.end, DAY)
        if piece.rollup is not None or last - first != DAY or piece.end - piece.start <= DAY / 2:
            yield piece
            continue
        yield Piece(DAYS_OF_TAGS, first, last)
        for start, end in ((first, piece.start), (piece.end, last)):
            if start < end:
                yield Piece(None, start, end, -1)


def floor(when: datetime, step: timedelta) -> datetime:
    """Return the last moment that is not later and that steps, such as UTC hours, begin with."""
    return when - (when - _EPOCH) % step


def ceiling(when: datetime, step: timedelta) -> datetime:
    """Return the first one that is not earlier."""
    return when + (_EPOCH - when) % step
