"""Which statement is about which attempt, and what is left over on either side.

By their names first, then one to one by model, time and amount where nothing else comes into question, and the rest by
sums of a UTC day and model. What comes of it does not depend on the order of either side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Literal, NamedTuple

import msgspec

from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY
from pixelmeter.core.reconciling.near import Key, Near, amount_of, amounts_of, ends_of
from pixelmeter.core.reconciling.ours import Ours, model_key
from pixelmeter.core.reconciling.result import How, Match, OnlyTheirs, Result
from pixelmeter.core.reconciling.statement import Period, Statement
from pixelmeter.core.reporting.periods import moment_of

__all__ = ["match"]

# A name that so many have is none.
_MOST = 8
_encode = msgspec.json.Encoder().encode


class _Edge(NamedTuple):
    """A statement and an attempt that have a name in common; the better, the smaller."""

    differs: bool
    is_unexpected: bool
    distance: int
    statement: int
    attempt: int


def match(
    statements: Iterable[Statement],
    attempts: Iterable[Ours],
    *,
    period: Period,
    now: int,
    lag: int,
    window: int,
    covered_from: int | None = None,
) -> Result:
    """Return which of the statements of one source belong to which attempts of its gateway.

    Times are in microseconds. What lies outside the period is there to find the other half of what lies in it. Younger
    than `lag`, and older than `covered_from`, nothing is missed; two times that are `window` apart may be one.
    """
    return _Matching(statements, attempts, period, now - lag, window, covered_from or period.start).result


class _Matching:
    def __init__(
        self,
        statements: Iterable[Statement],
        attempts: Iterable[Ours],
        period: Period,
        oldest: int,
        window: int,
        covered_from: int,
    ) -> None:
        self._period = period
        self._covered_from = covered_from
        self._oldest = oldest
        self._window = window
        self.result = Result()
        self._theirs = self._once(statements)
        self._ours = sorted(attempts, key=lambda one: (one.started_at, one.id))
        self._free_theirs = set(range(len(self._theirs)))
        self._free_ours = set(range(len(self._ours)))
        self._by_names()
        self._file()
        self._by_time("equal")
        self._by_time("unknown")
        self._is_monthly = any(one.grain == "month" for one in self._theirs)
        self._is_summed = any(one.grain != "request" for one in self._theirs)
        if self._is_summed:
            self._by_sums(*self._summable())
        else:
            self._by_sums(*self._ambiguous(is_free=False))
            self._by_sums(*self._ambiguous(is_free=True))
        for index in sorted(self._free_theirs):
            self._leave_statement(self._theirs[index])
        for index in sorted(self._free_ours):
            self._leave_attempt(self._ours[index])

    def _once(self, statements: Iterable[Statement]) -> list[Statement]:
        """Return each statement once: of several readings, the latest."""
        latest: dict[tuple[str, str, str], Statement] = {}
        for one in statements:
            key = one.gateway, one.source, one.external_id
            known = latest.get(key)
            if known is not None:
                self.result.repeated.append(min(known, one, key=_reading))
            latest[key] = one if known is None else max(known, one, key=_reading)
        return sorted(latest.values(), key=lambda one: (one.starts_at, one.gateway, one.source, one.external_id))

    def _by_names(self) -> None:
        """Match what has a name in common: first the gateway's name of a request, then of a job, then our own."""
        self._is_shared = False
        by_name: dict[str, list[int]] = defaultdict(list)
        for index in self._free_theirs:
            if self._theirs[index].grain == "request":
                for name in set(self._theirs[index].ids):
                    by_name[name].append(index)
        tiers: tuple[tuple[How, Callable[[Ours], str | None]], ...] = (
            ("request_id", lambda one: one.request_id),
            ("job_id", lambda one: one.job_id),
            ("attempt_id", lambda one: one.id),
        )
        for how, name_of in tiers:
            named: dict[str, list[int]] = defaultdict(list)
            for index in self._free_ours:
                own = name_of(self._ours[index])
                if own is not None and own in by_name:
                    named[own].append(index)
            edges = {
                self._edge(their, our)
                for name, ours in named.items()
                if len(ours) <= _MOST and len(by_name[name]) <= _MOST
                for their in by_name[name]
                for our in ours
            }
            for edge in sorted(edges):
                if edge.statement in self._free_theirs and edge.attempt in self._free_ours:
                    self._is_shared = True
                    self._pair(how, edge.statement, edge.attempt)

    def _edge(self, their: int, our: int) -> _Edge:
        one, other = self._theirs[their], self._ours[our]
        distance = abs(one.starts_at - other.started_at)
        return _Edge(one.amount != other.cost, not other.is_expected, distance, their, our)

    def _by_time(self, amounts: Literal["equal", "unknown"]) -> None:
        """Match what is near in time with the same model, where on neither side anything else comes into question.

        First what has equal amounts, then what has none on one side.
        """
        theirs = [index for index in sorted(self._free_theirs) if self._theirs[index].grain == "request"]
        ours = [index for index in sorted(self._free_ours) if self._ours[index].may_be_stated]
        of_theirs = Near((self._key(index, amounts), self._theirs[index].starts_at, index) for index in theirs)
        of_ours = Near(
            (key, self._ours[index].started_at, index) for index in ours for key in self._keys(index, amounts)
        )
        for index in theirs:
            at = self._theirs[index].starts_at
            other = of_ours.only(self._wanted_ours(index, amounts), at, self._window)
            if other is None or other < 0:
                continue
            back = of_theirs.only(self._wanted_theirs(other, amounts), self._ours[other].started_at, self._window)
            if back == index:
                self._pair("time", index, other)

    def _file(self) -> None:
        """Work out once under which keys all are filed; the amounts of those keys change from pass to pass."""
        models = {one.model: model_key(one.model) for one in self._theirs if one.model is not None}
        is_shared = self._is_shared
        self._of_theirs = [
            (None if one.model is None else models[one.model], is_shared and bool(one.ids), one.status)
            for one in self._theirs
        ]
        known: dict[tuple[str, str | None], tuple[str | None, ...]] = {}
        for one in self._ours:
            names = one.model, one.requested_model
            if names not in known:
                known[names] = (*one.models, None)
        self._of_ours = [
            (known[one.model, one.requested_model], is_shared and one.is_named, one.ended) for one in self._ours
        ]

    def _key(self, index: int, amounts: str) -> Key:
        """Return the key under which a statement is filed."""
        return amount_of(self._theirs[index].amount, amounts), *self._of_theirs[index]

    def _keys(self, index: int, amounts: str) -> list[Key]:
        """Return the keys under which an attempt is filed: by each name of its model, and without one."""
        models, is_named, ended = self._of_ours[index]
        amount = amount_of(self._ours[index].cost, amounts)
        return [(amount, model, is_named, ended) for model in models]

    def _wanted_ours(self, index: int, amounts: str) -> Iterator[Key]:
        """Yield the keys of the attempts that a statement may be about."""
        amount, model, is_named, status = self._key(index, amounts)
        for wanted in amounts_of(amount, amounts):
            # Where their names are those that we know, two different names are two requests.
            for other in (False,) if is_named else (False, True):
                for ended in ends_of(status):
                    yield wanted, model, other, ended

    def _wanted_theirs(self, index: int, amounts: str) -> Iterator[Key]:
        for amount, model, is_named, ended in self._keys(index, amounts):
            for wanted in amounts_of(amount, amounts):
                for other in (False,) if is_named else (False, True):
                    for status in ends_of(ended):
                        yield wanted, model, other, status

    def _ambiguous(self, *, is_free: bool) -> tuple[list[int], list[int]]:
        """Return what has something near on the other side, of which nobody can say which it is.

        That is what was charged, or, with `is_free`, what cost nothing on both sides.
        """
        theirs = [index for index in sorted(self._free_theirs) if (self._theirs[index].amount == 0) is is_free]
        ours = [
            index
            for index in sorted(self._free_ours)
            if self._ours[index].may_be_stated and self._ours[index].is_expected is not is_free
        ]
        of_theirs = Near((self._key(index, "any"), self._theirs[index].starts_at, index) for index in theirs)
        of_ours = Near((key, self._ours[index].started_at, index) for index in ours for key in self._keys(index, "any"))
        window = self._window
        return (
            [
                index
                for index in theirs
                if of_ours.only(self._wanted_ours(index, "any"), self._theirs[index].starts_at, window) is not None
            ],
            [
                index
                for index in ours
                if of_theirs.only(self._wanted_theirs(index, "any"), self._ours[index].started_at, window) is not None
            ],
        )

    def _summable(self) -> tuple[list[int], list[int]]:
        """Return what sums are about: all that is left of the period, but for what the caller's own key paid."""
        theirs = [index for index in sorted(self._free_theirs) if self._is_in(self._theirs[index].starts_at)]
        ours = [index for index in sorted(self._free_ours) if self._is_in(self._ours[index].started_at)]
        return theirs, [index for index in ours if self._ours[index].is_expected]

    def _by_sums(self, theirs: Sequence[int], ours: Sequence[int]) -> None:
        """Match what is left by the sums of a day, or of the month where a sum is over that, and model."""
        is_monthly = self._is_monthly
        by_day: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for index in theirs:
            by_day[self._day(self._theirs[index].starts_at, is_monthly=is_monthly)][0].append(index)
        for index in ours:
            by_day[self._day(self._ours[index].started_at, is_monthly=is_monthly)][1].append(index)
        for day, (some, others) in sorted(by_day.items()):
            end = self._period.end if is_monthly else day + MICROSECONDS_PER_DAY
            for model, their, our in self._by_model(some, others):
                if their and our:
                    self._free_theirs -= set(their)
                    self._free_ours -= set(our)
                    self._add_sums(day, end, model, [self._theirs[i] for i in their], [self._ours[i] for i in our])

    def _by_model(
        self, theirs: Sequence[int], ours: Sequence[int]
    ) -> Iterator[tuple[str | None, list[int], list[int]]]:
        found: dict[str | None, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        # A sum that names no model is about all of them, and then so must be what it is compared with.
        is_pooled = any(self._theirs[index].model is None for index in theirs)
        for index in theirs:
            found[None if is_pooled else model_key(self._theirs[index].model or "")][0].append(index)
        stated = set(found)
        for index in ours:
            models = self._ours[index].models
            model: str | None = next((name for name in models if name in stated), models[0] if models else "")
            found[None if is_pooled else model][1].append(index)
        for model in sorted(found, key=lambda name: name or ""):
            yield model, *found[model]

    def _add_sums(
        self, start: int, end: int, model: str | None, statements: list[Statement], attempts: list[Ours]
    ) -> None:
        if not self._is_in(start):
            self.result.outside_statements += statements
            self.result.outside_attempts += attempts
            return
        found = Match(
            "sums",
            tuple(statements),
            tuple(attempts),
            theirs=_sum(one.amount for one in statements),
            ours=_sum(one.cost for one in attempts),
            day=_date(start),
            model=model,
        )
        latest = end if self._is_summed else max(one.started_at for one in attempts)
        if latest > self._oldest and found.kind != "equal":
            self.result.young_statements += statements
            self.result.young_attempts += attempts
        else:
            self.result.matches.append(found)

    def _pair(self, how: How, their: int, our: int) -> None:
        self._free_theirs.discard(their)
        self._free_ours.discard(our)
        one, other = self._theirs[their], self._ours[our]
        if not self._is_in(one.starts_at):
            self.result.outside_statements.append(one)
            self.result.outside_attempts.append(other)
            return
        found = Match(
            how, (one,), (other,), theirs=one.amount, ours=other.cost, day=_date(one.starts_at), model=one.model
        )
        (self.result.own_key if other.byok else self.result.matches).append(found)

    def _leave_statement(self, one: Statement) -> None:
        if not self._is_in(one.starts_at):
            self.result.outside_statements.append(one)
        elif (one.ends_at or one.starts_at) > self._oldest:
            self.result.young_statements.append(one)
        else:
            self.result.only_theirs.append(OnlyTheirs(one))

    def _leave_attempt(self, one: Ours) -> None:
        if not self._is_in(one.started_at):
            self.result.outside_attempts.append(one)
        elif one.byok:
            self.result.byok.append(one)
        elif not one.is_expected:
            self.result.not_charged.append(one)
        elif one.started_at < self._covered_from:
            self.result.not_covered.append(one)
        elif (self._end_of(one) if self._is_summed else one.started_at) > self._oldest:
            self.result.young_attempts.append(one)
        else:
            self.result.only_ours.append(one)

    def _end_of(self, one: Ours) -> int:
        """Return the end of the period whose sum an attempt would be in."""
        if self._is_monthly:
            return self._period.end
        return self._day(one.started_at, is_monthly=False) + MICROSECONDS_PER_DAY

    def _is_in(self, at: int) -> bool:
        return self._period.start <= at < self._period.end

    def _day(self, at: int, *, is_monthly: bool) -> int:
        if is_monthly and self._is_in(at):
            return self._period.start
        return at // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY


def _sum(amounts: Iterable[int | None]) -> int | None:
    """Return the sum of the amounts that are known; None where none is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _reading(one: Statement) -> tuple[int, bytes]:
    return one.read_at, _encode(one)


def _date(at: int) -> date:
    return moment_of(at).date()
