"""What a URL of the page asks: range, zone and filters, by the names that the command line has for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import get_args
from urllib.parse import quote, urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from pixelmeter.core.attempts.record import BILLINGS, OPERATIONS, OUTCOMES
from pixelmeter.core.reporting.periods import OpenPeriod, Period, moment, open_period
from pixelmeter.core.reporting.report import ONLY
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.attempts import Place
from pixelmeter.ledger.queries import Filters

__all__ = ["NO_VALUE", "Asked", "asks_nothing", "call_path", "place_text", "read_asked", "read_place"]

DEFAULT_RANGE = "last-30-days"
"""What a page is about where its URL names no range."""

FILTERS = (
    "model", "exact-model", "gateway", "operation", "outcome", "billing", "status", "tag", "no-tag", "only",
)  # fmt: skip
"""The parameters that are filters on attempts."""

NO_VALUE = "(none)"
"""How a URL names the value of a budget that attempts have without its tag."""

_REPEATABLE = ("tag", "no-tag", "only")
# Names as attempts have them, in which spaces count, and may be all there is; around what people type they say nothing.
_EXACT = frozenset({"exact-model", "tag", "no-tag", "tags", "name", "budget", "value"})
_RANGE = ("since", "until", "tz")
_FIELDS = (*_RANGE, "model", "gateway", "operation", "outcome", "billing", "read")
_KNOWN = (*_RANGE, *FILTERS)
_CHOICES: Mapping[str, Collection[str]] = {
    "operation": OPERATIONS,
    "outcome": OUTCOMES,
    "billing": BILLINGS,
    "only": ONLY,
}
_OF_PAGES = ("step", "tags", "top", "sort", "budget", "value")
# A tag has 64 characters at most, and its value 256.
_LONGEST = 64 + len("=") + 256
_STATUS = re.compile("[1-9][0-9]{2}")
# No attempt is from before or after, and what is as long before and the days of every zone are times too.
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_TIMES = range(2**53)
_AMOUNTS = range(-(2**63), 2**63)
_MOST = 30
_STEPS: tuple[Period, ...] = get_args(Period)
_FEW_HOURS = timedelta(hours=50)
_FEW_DAYS = timedelta(days=93)
_LONGEST_RANGES: Mapping[Period, timedelta] = {"hour": timedelta(days=32), "day": timedelta(days=3 * 366)}
_LONGEST_RANGE = timedelta(days=20 * 366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, and the URLs of others that differ from it."""

    pairs: Sequence[tuple[str, str]]
    """The parameters as they were given, without those that ask for nothing."""
    now: datetime
    since: datetime
    until: datetime
    zone: ZoneInfo
    filters: Filters
    period: OpenPeriod | None
    """The period that goes on, where the range is what is over of it."""

    def first(self, name: str) -> str | None:
        """Return the value of a parameter; None where it is not given."""
        return next((value for key, value in self.pairs if key == name), None)

    @property
    def range_name(self) -> str:
        """The beginning of the range, as it was asked for."""
        return self.first("since") or DEFAULT_RANGE

    @property
    def zone_name(self) -> str:
        """The IANA name of the zone."""
        return self.zone.key

    @property
    def told(self) -> str:
        """The range in words, to the minute."""
        since, until = (moment.astimezone(self.zone) for moment in (self.since, self.until))
        return f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"

    @property
    def filtered(self) -> Sequence[tuple[str, str]]:
        """The filters that are on."""
        return [pair for pair in self.pairs if pair[0] in (*FILTERS, "budget", "value")]

    @property
    def kept_by_form(self) -> Sequence[tuple[str, str]]:
        """What a form must send along, because it has no field for it, or one for another value."""
        return [pair for pair in self.pairs if pair[0] not in _FIELDS and pair[0] != "after"]

    def ranged(self, path: str, since: str, until: str | None) -> str:
        """Return the URL of a path that asks the same of another range."""
        keep = (*_KNOWN, "tags", "top", "sort", "budget", "value")
        return self.url(path, ("since", since), ("until", until), keep=keep)

    def step(self) -> Period:
        """Return of which periods sums are shown one by one: as asked, else such that there are some dozens.

        ConfigError for hours of more than a month, days of more than three years and anything of more than twenty:
        there would be thousands.
        """
        given, length = self.first("step"), self.until - self.since
        if length > _LONGEST_RANGE:
            raise ConfigError("the range is longer than 20 years: give a later since")
        if given is None:
            return "hour" if length <= _FEW_HOURS else "day" if length <= _FEW_DAYS else "month"
        if given not in _STEPS:
            raise ConfigError(f"step is {given[:40]!r}: use {', '.join(_STEPS)}")
        if given not in self.steps:
            most, other = ("a month", "day") if given == "hour" else ("three years", "week")
            raise ConfigError(f"{given}s are shown of {most} at most: give a later since, or step={other}")
        return given

    @property
    def steps(self) -> Sequence[Period]:
        """The periods of which the range has few enough to show sums one by one."""
        length = self.until - self.since
        return [name for name in _STEPS if length <= _LONGEST_RANGES.get(name, _LONGEST_RANGE)]

    def url(
        self,
        path: str,
        *changes: tuple[str, str | None],
        also: Iterable[tuple[str, str]] = (),
        keep: Collection[str] = _KNOWN,
    ) -> str:
        """Return the URL of a path that asks the same but for changes; None takes a parameter away.

        `also` adds to those that may be repeated. Of the parameters only those of `keep` are kept.
        """
        changed = dict(changes)
        pairs = [(key, value) for key, value in self.pairs if key in keep and key not in changed]
        pairs += [(key, value) for key, value in changes if value is not None]
        pairs += [pair for pair in also if pair not in pairs]
        return _url(path, pairs)

    def page(self, path: str) -> str:
        """Return the URL of a page that every page links to: it asks the same, as far as that can be asked there."""
        if path not in {"/", "/calls"}:
            return self.url(path, keep=("tz",))
        is_too_long = path == "/" and not self.steps
        return self.url(path, keep=("tz", *FILTERS) if is_too_long else _KNOWN)

    def here(self, path: str, *changes: tuple[str, str | None]) -> str:
        """Return the URL of the page itself but for changes, with the parameters that it has of its own."""
        return self.url(path, *changes, keep=(*_KNOWN, *_OF_PAGES, "read"))

    def without(self, path: str, pair: tuple[str, str]) -> str:
        """Return the URL of a path without one of the filters."""
        # A value is one of a budget.
        gone = {"budget", "value"} if pair[0] == "budget" else set[str]()
        pairs = [one for one in self.pairs if one != pair and one[0] in (*_KNOWN, *_OF_PAGES) and one[0] not in gone]
        return _url(path, pairs)

    def within(self, path: str, since: datetime, until: datetime) -> str:
        """Return the URL of a path that asks the same of a part of the range."""
        return self.url(path, ("since", _instant(since)), ("until", _instant(until)))

    def rows(
        self,
        also: Iterable[tuple[str, str]] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> str:
        """Return the URL of the attempts that a number adds up: both ends of its range are named, so that it stays."""
        ends = (("since", _instant(since or self.since)), ("until", _instant(until or self.until)))
        return self.url("/calls", *ends, also=also)


def read_asked(
    pairs: Iterable[tuple[str, str]],
    *,
    now: datetime,
    since: str = DEFAULT_RANGE,
    extra: Collection[str] = (),
) -> Asked:
    """Return what the parameters of a URL ask; ConfigError says what is wrong with them.

    `extra` are parameters that a page has of its own, `since` the beginning where none is given.
    """
    found = [(key, value if key in _EXACT else value.strip()) for key, value in pairs if not asks_nothing(key, value)]
    if len(found) > _MOST:
        raise ConfigError(f"a URL may have {_MOST} parameters at most")
    values: dict[str, list[str]] = {}
    for key, value in found:
        if key not in (*_KNOWN, *extra):
            raise ConfigError(f"{key[:40]!r} is nothing to ask for: use {', '.join((*_KNOWN, *extra))}")
        if not value.isprintable():
            raise ConfigError(f"{key} has a character that nobody can see")
        if len(value) > _LONGEST:
            raise ConfigError(f"{key} is longer than {_LONGEST} characters")
        if value in values.setdefault(key, []):
            continue
        if values[key] and key not in _REPEATABLE:
            raise ConfigError(f"{key} is given twice: give it once")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ConfigError(f"{key} is {value[:40]!r}: use {', '.join(_CHOICES[key])}")
        values[key].append(value)
    single = {key: given[0] for key, given in values.items()}
    zone = _zone(single.get("tz", "UTC"))
    begin, end = single.get("since", since), single.get("until")
    start = max(_moment("since", begin, now, zone), _FIRST)
    until = now if end is None else min(_moment("until", end, now, zone), _LAST)
    if start >= until:
        raise ConfigError(f"the range is empty: since ({begin}) must be before until ({end or 'now'})")
    return Asked(
        pairs=[(key, value) for key, given in values.items() for value in given if (key, value) != ("tz", "UTC")],
        now=now,
        since=start,
        until=until,
        zone=zone,
        filters=_filters(single, values),
        period=open_period(begin, now=now, zone=zone) if end is None else None,
    )


def asks_nothing(key: str, value: str) -> bool:
    """Return whether a parameter has no value, as of a field that nobody has filled in."""
    return not (value if key in _EXACT else value.strip())


def call_path(call_id: str) -> str:
    """Return the path of the page of one call."""
    return f"/calls/{quote(call_id, safe='')}"


def _url(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    query = "&".join(map(_parameter, pairs))
    return f"{path}?{query}" if query else path


@lru_cache(maxsize=4096)
def _parameter(pair: tuple[str, str]) -> str:
    # A page has hundreds of links, whose parameters are the same few.
    return urlencode([pair])


def _filters(single: Mapping[str, str], values: Mapping[str, Sequence[str]]) -> Filters:
    status = single.get("status")
    if status is not None and not _STATUS.fullmatch(status):
        raise ConfigError(f"status is {status[:40]!r}: use an HTTP status such as 429")
    tags: dict[str, str] = {}
    untagged = list(values.get("no-tag", ()))
    for text in values.get("tag", ()):
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise ConfigError(f"tag is {text[:40]!r}: write KEY=VALUE, or KEY= for attempts without it")
        if not value:
            untagged.append(key)
        elif tags.setdefault(key, value) != value:
            raise ConfigError(f"tag {key[:40]!r} is asked for with two values: no attempt has both")
    return Filters(
        model=single.get("model"),
        exact_model=single.get("exact-model"),
        gateway=single.get("gateway"),
        operation=single.get("operation"),
        outcome=single.get("outcome"),
        billing=single.get("billing"),
        status=None if status is None else int(status),
        tags=tags,
        untagged=tuple(dict.fromkeys(untagged)),
        only=tuple(values.get("only", ())),
    )


def read_place(text: str, *, by_cost: bool) -> Place:
    """Return the place that a parameter names; ConfigError for what is none."""
    parts = text.split("_")
    try:
        if len(parts) != 2 + by_cost or len(text) > 100:
            raise ValueError
        place = Place(int(parts[0]) if by_cost and parts[0] else None, int(parts[-2]), str(UUID(parts[-1])))
        if place.started_at not in _TIMES or (place.cost or 0) not in _AMOUNTS:
            raise ValueError
        return place
    except ValueError:
        raise ConfigError("after is no place in this list: go to its beginning and on from there") from None


def place_text(place: Place, *, by_cost: bool) -> str:
    """Return a place as a parameter names it."""
    cost, started_at, identity = place
    parts = [str(started_at), identity]
    return "_".join(["" if cost is None else str(cost), *parts] if by_cost else parts)


def _moment(name: str, text: str, now: datetime, zone: ZoneInfo) -> datetime:
    try:
        return moment(text, now=now, zone=zone)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ConfigError(f"{name[:40]!r} is not a time zone: give an IANA name such as Europe/Berlin") from None


def _instant(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
