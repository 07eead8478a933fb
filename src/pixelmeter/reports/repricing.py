"""Prices that are found later, applied to attempts of a ledger: what would change, and changing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pixelmeter._version import __version__
from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.attempts.repricing import FOUND_LATER, Ended, Repriced, Repricer
from pixelmeter.core.text import bounded
from pixelmeter.gateways import load_profiles
from pixelmeter.ledger.adjusting import Author, jobs_of
from pixelmeter.ledger.attempts import adjusted_attempts_of, attempts_of
from pixelmeter.ledger.dialect import Sql
from pixelmeter.ledger.measures import UNESTIMATED
from pixelmeter.ledger.queries import Filters, spend, started_in, where
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.writer import open_writer
from pixelmeter.prices import book_of
from pixelmeter.reports.correction import login_name
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemClock

__all__ = ["Difference", "Left", "Plan", "apply", "foresee", "repricer_of"]

_AT_ONCE = 500
_REASONS = ", ".join(f"'{reason}'" for reason in FOUND_LATER)
_UNKNOWN = f"((cost IS NULL AND cost_reason IN ({_REASONS})) OR ({UNESTIMATED}))"
_PRICED = "cost_source = 'priced'"


@dataclass(slots=True)
class Difference:
    """What changes of the attempts of a model."""

    gateway: str
    model: str
    attempts: int = 0
    """How many get another cost."""
    unknown: int = 0
    """How many of them had none."""
    before: int = 0
    """Nano-dollars of those that had one."""
    after: int = 0
    estimated: int = 0
    """How many get an estimate of what is at risk."""
    at_risk: int = 0
    sources: Counter[str] = field(default_factory=Counter[str])
    """The price ids."""

    def add(self, attempt: Attempt, repriced: Repriced) -> None:
        """Count an attempt in."""
        after = repriced.after
        if after.cost is None:
            self.estimated += 1
            self.at_risk += after.at_risk or 0
            return
        self.attempts += 1
        self.unknown += attempt.cost is None
        self.before += attempt.cost or 0
        self.after += after.cost
        self.sources[repriced.source] += 1


class Left(NamedTuple):
    """Attempts that stay without a cost, or without an estimate."""

    gateway: str
    model: str
    reason: str


@dataclass(slots=True)
class Plan:
    """What a price book changes of a ledger."""

    with_priced: bool
    differences: dict[tuple[str, str], Difference] = field(default_factory=dict[tuple[str, str], Difference])
    """By gateway and model."""
    left: Counter[Left] = field(default_factory=Counter[Left])
    ids: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The attempts that change, by the source of their price."""
    ended: dict[str, Ended] = field(default_factory=dict[str, Ended])
    """Of those that submitted a job: what is known of its end."""
    seen: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    """The same as they were when that was known."""

    def is_stale(self, now: Attempt) -> bool:
        """Return whether something has changed of an attempt since, so that more may be known of its job's end."""
        then = self.seen.get(now.id)
        return then is not None and any(getattr(then, name) != getattr(now, name) for name in ADJUSTABLE)


def repricer_of(prices: str | None, host: str | None) -> Repricer:
    """Return what prices attempts again, by a price file above the bundled ones and the profiles of the environment.

    `host` is the one that the attempts of its gateway were sent to.
    """
    settings = from_environment()
    return Repricer(load_profiles(settings.gateways, settings.profiles), book_of(prices), host and host.lower())


def foresee(
    reader: LedgerReader,
    repricer: Repricer,
    *,
    since: datetime | None,
    until: datetime | None,
    filters: Filters,
    with_priced: bool,
) -> Plan:
    """Return what would change of the attempts that fit; nothing is written."""
    plan = Plan(with_priced)
    wanted = f"({_UNKNOWN} OR {_PRICED})" if with_priced else _UNKNOWN
    condition = where([*started_in(since, until, reader.dialect), Sql(wanted), *filters.conditions(reader.dialect)])
    statement = f"SELECT id FROM {spend(reader)} {condition.text} ORDER BY started_at, id"
    ids = [str(identity) for (identity,) in reader.rows(statement, condition.parameters)]
    for some in _batches(ids):
        attempts = adjusted_attempts_of(reader, some)
        ended = _ended(reader, attempts)
        for attempt in attempts:
            found = repricer.repriced(attempt, ended.get(attempt.id), with_priced=with_priced)
            if isinstance(found, Repriced):
                key = attempt.gateway, attempt.model
                plan.differences.setdefault(key, Difference(*key)).add(attempt, found)
                plan.ids.setdefault(found.source, []).append(attempt.id)
                if attempt.id in ended:
                    plan.ended[attempt.id] = ended[attempt.id]
                    plan.seen[attempt.id] = attempt
            elif attempt.cost is None:
                plan.left[Left(attempt.gateway, attempt.model, found)] += 1
    return plan


def apply(url: str, repricer: Repricer, plan: Plan) -> int:
    """Adjust the attempts of a plan, some hundred in a transaction; return how many have changed.

    An attempt that has been adjusted since is priced as it is now; where it was a job's it is left for the next time,
    as more may have been heard of that. What is done stays done where this is broken off, and doing it again changes
    nothing.
    """
    changed = 0
    by = bounded(login_name())
    with closing(open_writer(url)) as writer:
        for source, ids in plan.ids.items():

            def corrected(now: Attempt, source: str = source) -> Attempt | None:
                if plan.is_stale(now):
                    return None
                found = repricer.repriced(now, plan.ended.get(now.id), with_priced=plan.with_priced)
                return found.after if isinstance(found, Repriced) and found.source == source else None

            for some in _batches(ids):
                author = Author("repriced", source, SystemClock().now(), __version__, by)
                changed += len(writer.adjust(some, corrected, author))
    return changed


def _ended(reader: LedgerReader, attempts: Sequence[Attempt]) -> Mapping[str, Ended]:
    """Return the ends of the jobs that attempts have submitted, by the id of the attempt."""
    keys = {(one.gateway, one.job_id): one.id for one in attempts if one.job_id is not None}
    jobs = jobs_of(reader, keys) if keys else {}
    ends = {job.attempt_id: job.end for job in jobs.values() if job.end is not None and job.attempt_id is not None}
    return {one.id: Ended(one, ends[one.id]) for one in attempts_of(reader, ends) if one.outcome == "pending"}


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
