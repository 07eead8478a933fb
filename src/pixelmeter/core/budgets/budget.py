"""What a budget says: how much, of what, in which time, and what happens when it is used up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated, Literal, TypeVar, cast, get_args
from zoneinfo import ZoneInfo

import msgspec

from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt, Integer
from pixelmeter.core.reporting.periods import microseconds_of, moment_of, span_of
from pixelmeter.core.text import exact_usd
from pixelmeter.errors import ConfigError

__all__ = [
    "ACTIONS",
    "PERS",
    "REFUSALS",
    "Budget",
    "Each",
    "Notice",
    "Rule",
    "Scope",
    "Span",
    "counted",
    "usd_of",
]

Per = Literal["day", "week", "month", "total"]
Action = Literal["warn", "block"]
Leave = Literal["allow", "block"]
Refusal = Literal["raise", "respond"]
_Word = TypeVar("_Word", bound=str)
PERS: tuple[Per, ...] = get_args(Per)
ACTIONS: tuple[Action, ...] = get_args(Action)
REFUSALS: tuple[Refusal, ...] = get_args(Refusal)

Each = str
"""What has a budget of its own: "tag:KEY", "gateway", "model" or "operation"."""

_EACH = ("gateway", "model", "operation")
_NAME_LIMIT = 100
_LONGEST_NUMBER = 40
_HIGHEST = 1_000_000_000 * NANO_PER_USD
_PARTS = 1_000_000


class Span(msgspec.Struct, frozen=True, order=True):
    """The time that a budget is for, in Unix microseconds: `start` is in it, `end` is not; None is never."""

    start: int
    end: int | None


class Scope(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which attempts count; each value is exact, or has `*` for any text. None and {} ask for nothing."""

    gateway: str | None = None
    model: str | None = None
    """The model that the request names; where it names none, the one that ran."""
    operation: str | None = None
    tags: dict[str, str] = {}

    def __hash__(self) -> int:
        return hash((self.gateway, self.model, self.operation, *sorted(self.tags.items())))

    def asks_for(self, key: str, value: str) -> bool:
        """Return whether an attempt counts because it has a tag, and would not without it."""
        return key in self.tags and _fits(self.tags[key], value)


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget as the ledger keeps it, so that every writer counts towards it and all agree on the limit."""

    name: str
    limit: Integer
    """Nano-dollars."""
    per: Per
    zone: str = "UTC"
    scope: Scope = Scope()
    each: Each | None = None
    action: Action = "warn"
    thresholds: tuple[Annotated[int, msgspec.Meta(gt=0)], ...] = ()
    """Parts per million of the limit, ascending."""
    unpriced: Leave = "allow"
    on_unavailable: Leave = "allow"

    @property
    def counts(self) -> tuple[object, ...]:
        """What decides which attempts count, and in which span."""
        return (self.per, self.zone, self.scope, self.each)

    def span_of(self, at: int) -> Span:
        """Return the span that a Unix time in microseconds is in."""
        return _span(self.per, self.zone, at // (900 * 1_000_000))

    def value_of(self, attempt: Attempt, tags: Mapping[str, str]) -> str | None:
        """Return under which value of `each` an attempt counts: "" without `each`, and for one that has no such tag.

        None where it does not count.
        """
        scope = self.scope
        model = _model(attempt)
        if not (
            _fits(scope.gateway, attempt.gateway)
            and _fits(scope.model, model)
            and _fits(scope.operation, attempt.operation)
            and all(key in tags and _fits(pattern, tags[key]) for key, pattern in scope.tags.items())
        ):
            return None
        if self.each is None:
            return ""
        if self.each.startswith("tag:"):
            return tags.get(self.each.removeprefix("tag:"), "")
        return model if self.each == "model" else cast("str", getattr(attempt, self.each))


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold of a budget has been passed. Amounts are exact US dollars, moments are in UTC."""

    id: str
    """The id of the notice; it stays the same when it is sent again."""
    budget: str
    """The name of the budget."""
    value: str
    """The value of `each` that the notice is about, such as the customer; "" for a budget without `each`."""
    threshold: Decimal
    """The part of the limit that was passed, such as 0.8."""
    limit: Decimal
    """What may be spent."""
    spent: Decimal
    """What was spent: the cost with its adjustments, and the amounts at risk."""
    starts_at: datetime
    """When the day, week or month of the budget began."""
    resets_at: datetime | None
    """When the next one begins; None for a budget per "total", which has no end."""

    @property
    def text(self) -> str:
        """The notice as a sentence."""
        of = f" ({self.value!r})" if self.value else ""
        until = "" if self.resets_at is None else f"; it resets at {self.resets_at:%Y-%m-%d %H:%M} UTC"
        part = f"{(self.threshold * 100).normalize():f}%"
        return f"budget {self.budget!r}{of}: ${self.spent:f} of ${self.limit:f} spent, {part} passed{until}"


class Budget:
    """A limit on what attempts cost in a day, a week (from Monday), a month, or in total.

        Budget(50, per="day", scope={"model": "gpt-image-*"}, action="block", notify=tell_the_team)

    The cost with its adjustments counts, and the amounts at risk. Fees of the gateway do not count, nor do calls with
    the caller's own key of the provider.

    - `usd`: the limit in US dollars, as a number or as text.
    - `per`: "day", "week", "month" or "total".
    - `name`: the name in the ledger; by default it is made from what the budget counts.
    - `tz`: the time zone in which days begin, such as "Europe/Berlin".
    - `scope`: which attempts count, by `gateway`, `model`, `operation` and `tags`; `*` in a value stands for any text.
    - `each`: "tag:KEY", "gateway", "model" or "operation" gives each value, such as each customer, a budget of its own.
    - `thresholds`: the parts of the limit at which somebody is notified.
    - `action`: "warn" only notifies; "block" refuses a call that would exceed the limit.
    - `unpriced`: "allow" or "block" a call whose price is not known.
    - `on_unavailable`: "allow" or "block" a call while the ledger does not answer.
    - `refuse`: "raise" BudgetExceeded, or "respond" with a made-up response 402; by default what the SDK takes best.
    - `notify`: a function that takes a `Notice`, or the URL of a webhook that takes JSON as Slack's do.

    Raises ConfigError for what cannot be used.
    """

    def __init__(
        self,
        usd: str | float | Decimal,
        *,
        per: str = "month",
        name: str | None = None,
        tz: str = "UTC",
        scope: Mapping[str, object] | None = None,
        each: Each | None = None,
        thresholds: Sequence[float | str | Decimal] = (0.5, 0.8, 1.0),
        action: str = "warn",
        unpriced: str = "allow",
        on_unavailable: str = "allow",
        refuse: str | None = None,
        notify: Callable[[Notice], object] | str | None = None,
    ) -> None:
        self.rule = Rule(
            name=_name(name, per, scope, each),
            limit=_limit(usd),
            per=_one_of("per", per, PERS),
            zone=_zone_name(tz),
            scope=_scope(scope),
            each=_each(each),
            action=_one_of("action", action, ACTIONS),
            thresholds=_thresholds(thresholds),
            unpriced=_one_of("unpriced", unpriced, get_args(Leave)),
            on_unavailable=_one_of("on_unavailable", on_unavailable, get_args(Leave)),
        )
        """What the ledger keeps."""
        self.refuse: Refusal | None = None if refuse is None else _one_of("refuse", refuse, REFUSALS)
        """How a call is refused; None leaves it to the client."""
        if not (notify is None or callable(notify) or _is_address(notify)):
            raise ConfigError("notify is neither a function nor the http(s) URL of a webhook")
        self.notify = notify
        """Whom to tell."""

    @property
    def name(self) -> str:
        """The name of the budget in the ledger."""
        return self.rule.name

    def __repr__(self) -> str:
        return f"Budget({usd_of(self.rule.limit)!s}, per={self.rule.per!r}, name={self.name!r})"


def counted(attempt: Attempt) -> int:
    """Return the nano-dollars that an attempt counts towards budgets: its cost, and what is at risk."""
    return 0 if attempt.byok else (attempt.cost or 0) + (attempt.at_risk or 0)


def usd_of(nano: int) -> Decimal:
    """Return nano-dollars as exact dollars, without zeros at the end."""
    return Decimal(exact_usd(nano))


def _model(attempt: Attempt) -> str:
    return attempt.model if attempt.requested_model is None else attempt.requested_model


@lru_cache(maxsize=256)
def _span(per: Per, zone: str, quarter: int) -> Span:
    # Edges lie on full quarters of an hour in every zone that is in use, so all moments of one are in the same span.
    if per == "total":
        return Span(0, None)
    start, end = span_of(moment_of(quarter * 900 * 1_000_000), per, _zone(zone))
    return Span(microseconds_of(start), microseconds_of(end))


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


@lru_cache(maxsize=512)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _fits(pattern: str | None, value: str) -> bool:
    return pattern is None or pattern == value or ("*" in pattern and _pattern(pattern).fullmatch(value) is not None)


def _one_of(name: str, value: object, allowed: Sequence[_Word]) -> _Word:
    for each in allowed:
        if value == each:
            return each
    raise ConfigError(f"{name} of a budget is {str(value)[:40]!r}: use one of {', '.join(allowed)}")


def _number(text: object) -> Decimal | None:
    # The shortest text of a float is the number that was written.
    if isinstance(text, bool) or not isinstance(text, int | float | str | Decimal):
        return None
    written = str(text).strip()
    try:
        found = Decimal(written) if len(written) <= _LONGEST_NUMBER else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() and -18 <= found.adjusted() <= 18 else None


def _limit(usd: object) -> int:
    found = _number(usd)
    nano = None if found is None else found * NANO_PER_USD
    if nano is None or nano != int(nano) or not 0 <= nano <= _HIGHEST:
        raise ConfigError(
            f"usd of a budget is {str(usd)[:40]!r}: use dollars from 0 to a billion with at most 9 decimals, such as 50"
        )
    return int(nano)


def _thresholds(given: object) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError("thresholds of a budget is no list: write such as (0.5, 0.8, 1.0)")
    found: set[int] = set()
    for one in cast("Sequence[object]", given):
        part = _number(one)
        if part is None or not 0 < part <= 100 or part * _PARTS != int(part * _PARTS):
            raise ConfigError(f"a threshold of a budget is {str(one)[:40]!r}: use parts of the limit, such as 0.8")
        found.add(int(part * _PARTS))
    return tuple(sorted(found))


def _zone_name(name: object) -> str:
    try:
        if isinstance(name, str) and len(name) <= _NAME_LIMIT:
            _zone(name)
            return name
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        pass
    except KeyError:
        pass
    raise ConfigError(f"tz of a budget is {str(name)[:40]!r}: use the name of a time zone, such as Europe/Berlin")


def _scope(given: object) -> Scope:
    if given is None:
        return Scope()
    try:
        scope = msgspec.convert(given, Scope)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"scope of a budget: {str(error)[:200]}; it takes gateway, model, operation and tags, with text"
        ) from None
    return scope


def _each(given: object) -> Each | None:
    if given is None or given in _EACH or (isinstance(given, str) and given.startswith("tag:") and len(given) > 4):
        return given
    raise ConfigError(f"each of a budget is {str(given)[:40]!r}: use tag:KEY, {', '.join(_EACH)}")


def _name(given: object, per: str, scope: Mapping[str, object] | None, each: Each | None) -> str:
    if given is None:
        return _name_of(per, _scope(scope), each)
    if not isinstance(given, str) or not given.strip() or len(given) > _NAME_LIMIT or not given.isprintable():
        raise ConfigError(f"name of a budget is {str(given)[:40]!r}: use 1 to {_NAME_LIMIT} printable characters")
    return given.strip()


def _name_of(per: str, scope: Scope, each: Each | None) -> str:
    """Return the name of a budget that has none: what it counts, such as "month model=gpt-image-* each tag:team"."""
    parts = [(name, getattr(scope, name)) for name in ("gateway", "model", "operation")]
    parts += [(f"tag:{key}", value) for key, value in sorted(scope.tags.items())]
    words = [per, *(f"{name}={value}" for name, value in parts if value is not None)]
    return " ".join([*words, *([f"each {each}"] if each else [])])[:_NAME_LIMIT]


def _is_address(text: object) -> bool:
    return isinstance(text, str) and text.startswith(("http://", "https://")) and text.isprintable()
