"""A month of a gateway's own report against the ledger: read it, keep it, match it, and settle what it settles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from pixelmeter._version import __version__
from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Clock
from pixelmeter.core.reconciling.matching import match
from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.core.reconciling.result import OnlyTheirs, Result
from pixelmeter.core.reconciling.settling import Settlement, settled, settlements
from pixelmeter.core.reconciling.statement import Period, Statement, month
from pixelmeter.core.reporting.periods import microseconds_of, moment_of, utc_text
from pixelmeter.core.text import bounded, plural
from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger.adjusting import Author, history
from pixelmeter.ledger.attempts import adjusted_attempts_of
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.statements import (
    Reading,
    attempts_in,
    keep_page,
    keep_reconciliation,
    oldest_attempt,
    reading_of,
    said_otherwise,
    settled_without_attempt,
    statements_of,
)
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reconcile.sources import Source, UsageClient
from pixelmeter.system import SystemClock

__all__ = ["Applied", "Plan", "Report", "Task", "apply", "foresee", "notes_of", "read"]

_AT_ONCE = 500
_HOUR = 3_600_000_000
# A cursor is the gateway's: it may mean something else after a day.
_CURSOR_AGE = 24 * _HOUR
_MILLION = 1_000_000

Told = Callable[[int, int], None]
"""Takes how many pages and statements have been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is reconciled with what, and how."""

    url: str
    source: Source
    month: str
    """A UTC month, such as "2026-11"."""
    lag: int
    """Microseconds that a report may be late."""
    window: int
    """Microseconds that the two times of one request may be apart."""
    accept: bool = False
    is_complete: bool = False
    """Whether its user says that the report has every request that was charged."""
    is_file: bool = False
    is_of_images: bool = False
    """Whether images are compared, and not amounts."""
    clock: Clock = field(default_factory=SystemClock)

    @property
    def period(self) -> Period:
        """The month; ConfigError for what is none."""
        return month(self.month)

    @property
    def around(self) -> Period:
        """What is read: of single requests an hour more on both sides, as the two times of one may be of two months."""
        start, end = self.period
        return Period(start - _HOUR, end + _HOUR) if self.source.grain == "request" else self.period


@dataclass(slots=True)
class Report:
    """What has been read of a gateway's report."""

    reading: Reading
    statements: dict[str, Statement] = field(default_factory=dict[str, Statement])
    """By their own id; only what this run has read, and of several readings the last."""
    wanted: frozenset[str] | None = None
    """The attempts whose requests it was asked for; None where it was asked for all."""
    rows: int = 0
    added: int = 0
    """How many statements the ledger did not have."""
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    is_continued: bool = False
    """Whether it went on where an earlier run was cut."""


@dataclass(slots=True)
class Plan:
    """What came of it, and what is to be adjusted."""

    result: Result
    settlements: list[Settlement] = field(default_factory=list[Settlement])
    seen: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    """The attempts of settlements as they were then."""
    by_hand: list[Settlement] = field(default_factory=list[Settlement])
    """What a person has corrected: it stays."""
    gone: list[Settlement] = field(default_factory=list[Settlement])
    """Of these the ledger has no attempt any more."""
    not_asked: int = 0
    """How many attempts of the month the report was not asked for."""


class Applied(NamedTuple):
    """What was done."""

    adjusted: int
    settled_meanwhile: Sequence[Settlement]
    """These another run has settled since the plan was made."""
    changed_meanwhile: Sequence[Settlement]
    """Of these the attempt is not what it was for another reason: they are left for the next run."""
    gone: Sequence[Settlement]
    reconciliation: Reconciliation
    is_new: bool
    """Whether it came to something else than the one before."""
    plan: Plan
    """What came of it after all that."""


def read(
    reader: LedgerReader, client: UsageClient | None, task: Task, *, store: bool, told: Told = lambda pages, rows: None
) -> Report:
    """Read the report of a month, and unless it is only to be looked at keep each page as it comes.

    It goes on where an earlier run was cut. LedgerError where attempts of the month are pruned. SourceError where the
    gateway does not give it to the end: what was kept stays, and nothing is concluded from it.
    """
    source = task.source
    if not source.has_amounts and not task.is_of_images:
        raise ConfigError(f"{source.id} says nothing of amounts: it cannot be reconciled with")
    since = horizon(reader)
    if since is not None and task.period.start < microseconds_of(since):
        raise LedgerError(
            f"{task.month} cannot be reconciled any more: attempts from before {since:%Y-%m-%d} are pruned, and what "
            "was charged for them would seem to belong to no attempt"
        )
    wanted = _wanted(reader, task) if source.by_id else []
    now = task.clock.now()
    before = _cut(reader, task, now) if store else None
    reading = Reading(
        gateway=source.gateway, source=source.id, month=task.month, began_at=now, read_at=now, pages=0, problems=0,
        covered_from=None, cursor=None, is_complete=False,
    )  # fmt: skip
    report = Report(before or reading, is_continued=before is not None)
    reading = report.reading
    if source.by_id:
        report.wanted = frozenset(one.id for one in wanted)
    reader.refresh()
    if source.by_id and not wanted:
        return report
    for page in source.pages(client, task.around, [_name(one) for one in wanted], reading.cursor):
        report.rows += len(page.statements)
        report.statements |= {one.external_id: one for one in page.statements}
        report.problems += page.problems
        report.notes += [note for note in page.notes if note not in report.notes]
        report.reading = reading = Reading(
            gateway=source.gateway,
            source=source.id,
            month=task.month,
            began_at=reading.began_at,
            read_at=task.clock.now(),
            pages=reading.pages + 1,
            problems=reading.problems + len(page.problems),
            covered_from=_covered_from(reading, page.statements, task, is_limited=bool(page.notes)),
            cursor=page.cursor,
            is_complete=page.cursor is None,
        )
        if store:
            report.added += keep_page(task.url, page.statements, reading)
        told(reading.pages, report.rows)
    return report


def foresee(reader: LedgerReader, task: Task, report: Report, *, is_stored: bool) -> Plan:
    """Return what comes of a report and the ledger as it is now; nothing is written."""
    reader.refresh()
    source, now = task.source, task.clock.now()
    # A file is all of a report, and what another one said is none of its business.
    kept = {} if task.is_file else {one.external_id: one for one in _kept(reader, task)}
    if task.is_file or not is_stored:
        kept |= report.statements
    attempts = attempts_in(reader, source.gateway, task.around)
    plan = Plan(Result())
    if report.wanted is not None:
        named = {name for one in kept.values() for name in one.ids}
        asked = [one for one in attempts if one.id in report.wanted or {one.request_id, one.job_id, one.id} & named]
        plan.not_asked = len(attempts) - len(asked)
        attempts = asked
    plan.result = match(
        kept.values(),
        attempts,
        period=task.period,
        now=now,
        lag=task.lag,
        window=task.window,
        covered_from=report.reading.covered_from,
    )
    _name_gone(reader, plan.result, source.id)
    found = settlements(plan.result, oldest=now - task.lag, is_complete=_is_complete(task, report), accept=task.accept)
    ids = [one.attempt.id for one in found]
    plan.seen = {one.id: one for one in adjusted_attempts_of(reader, ids)}
    corrected = {
        identity for identity, some in history(reader, ids).items() if any(one.kind == "manual" for one in some)
    }
    for one in found:
        if one.attempt.id not in plan.seen:
            plan.gone.append(one)
        elif one.attempt.id in corrected:
            plan.by_hand.append(one)
        else:
            plan.settlements.append(one)
    return plan


def apply(reader: LedgerReader, task: Task, report: Report, plan: Plan, *, by: str | None) -> Applied:
    """Adjust the attempts of a plan, some hundred in a transaction, and keep what the reconciliation came to.

    What has changed of an attempt since the plan was made leaves it as it is. Where this is broken off, what is done
    stays done, and doing it again changes nothing.
    """
    adjusted = 0
    stale: dict[str, Settlement] = {}
    made_by = bounded(by)
    settling = {one.attempt.id: one for one in plan.settlements}
    made_at = task.clock.now()

    def corrected(now: Attempt) -> Attempt | None:
        then = plan.seen[now.id]
        if any(getattr(then, name) != getattr(now, name) for name in ADJUSTABLE):
            stale[now.id] = settling[now.id]
            return None
        return settled(now, settling[now.id])

    def author(now: Attempt) -> Author:
        one = settling[now.id]
        why = {"accepted": "their amount was accepted", "not_on_statement": "the complete report does not have it"}
        return Author("reconciled", _source_of(task, one), made_at, __version__, made_by, why.get(one.why))

    if settling:
        with closing(open_writer(task.url)) as writer:
            for some in _batches(list(settling)):
                adjusted += len(writer.adjust(some, corrected, author))
    reader.refresh()
    left = {one.id for one in adjusted_attempts_of(reader, settling)}
    latest = {identity: some[-1].kind for identity, some in history(reader, stale).items()}
    by_another = [one for identity, one in stale.items() if latest.get(identity) == "reconciled"]
    by_others = [one for identity, one in stale.items() if latest.get(identity) != "reconciled"]
    gone = [*plan.gone, *(one for identity, one in settling.items() if identity not in left)]
    after = foresee(reader, task, report, is_stored=True) if settling else plan
    result = _reconciliation(task, after.result, adjusted, made_by)
    kept = keep_reconciliation(task.url, result)
    return Applied(adjusted, by_another, by_others, gone, kept or result, kept is not None, after)


def notes_of(
    reader: LedgerReader, task: Task, report: Report, plan: Plan | None = None, *, is_stored: bool
) -> Iterator[str]:
    """Yield what is to be known of a report beside the numbers."""
    yield from report.notes
    twice = report.rows - len(report.statements)
    if twice:
        yield f"{plural(twice, 'row')} of the report came more than once: the last reading of each holds"
    changed = said_otherwise(reader, task.source.gateway, task.source.id, task.period) if is_stored else 0
    if changed:
        yield f"{plural(changed, 'row')} said something else when they were read before: the last reading of each holds"

    theirs = [] if plan is None else plan.result.only_theirs
    oldest = oldest_attempt(reader) if theirs else None
    older = 0 if oldest is None else sum(one.statement.starts_at < oldest for one in theirs)
    if oldest is not None and older:
        first = utc_text(moment_of(oldest))
        yield f"{plural(older, 'row')} of theirs from before the oldest attempt of the ledger, {first}"


def _kept(reader: LedgerReader, task: Task) -> list[Statement]:
    return statements_of(reader, task.source.gateway, task.source.id, task.around)


def _is_complete(task: Task, report: Report) -> bool:
    """Return whether what the report does not have was not charged."""
    reading = report.reading
    is_whole = reading.is_complete and not reading.problems and reading.covered_from is None
    return is_whole and not task.source.by_id and (task.source.is_complete or task.is_complete)


def _cut(reader: LedgerReader, task: Task, now: int) -> Reading | None:
    """Return how far an earlier run has come that was cut; None where this one begins anew."""
    found = reading_of(reader, task.source.gateway, task.source.id, task.month)
    if found is None or found.is_complete or found.cursor is None or task.source.by_id or task.is_file:
        return None
    return found if now - found.read_at < _CURSOR_AGE else None


def _wanted(reader: LedgerReader, task: Task) -> list[Ours]:
    """Return the attempts of the month that are to be settled, as far as the gateway has a name for them."""
    found = attempts_in(reader, task.source.gateway, task.period)
    return [one for one in found if one.is_open and one.may_be_stated and one.is_named]


def _name(one: Ours) -> str:
    return one.request_id or one.job_id or one.id


def _covered_from(reading: Reading, statements: Sequence[Statement], task: Task, *, is_limited: bool) -> int | None:
    """Return since when a report lists what there was, where it does not go back to the beginning of the month."""
    if task.is_file or task.source.by_id or not (is_limited or reading.covered_from is not None):
        return None
    times = [one.starts_at for one in statements]
    oldest = min(times, default=task.period.end)
    return oldest if reading.covered_from is None else min(oldest, reading.covered_from)


def _name_gone(reader: LedgerReader, result: Result, source: str) -> None:
    """Say of statements without an attempt which one they have settled, where the ledger does not have it any more."""
    gone = settled_without_attempt(reader) if result.only_theirs else {}
    if gone:
        result.only_theirs = [
            OnlyTheirs(one.statement, gone.get(_named(source, one.statement.external_id))) for one in result.only_theirs
        ]


def _source_of(task: Task, settlement: Settlement) -> str:
    statement = settlement.statement
    return _named(task.source.id, task.month if statement is None else statement.external_id)


def _named(source: str, external_id: str) -> str:
    return f"{source} {external_id}"


def _reconciliation(task: Task, result: Result, adjusted: int, by: str | None) -> Reconciliation:
    counts = {kind: sum(1 for _ in result.of_kind(kind)) for kind in ("equal", "differs", "unsettled")}
    in_matches = [*result.matches, *result.own_key]
    coverage: Fraction | None = result.coverage
    return Reconciliation(
        gateway=task.source.gateway,
        source=task.source.id,
        month=task.month,
        number=1,
        run_at=task.clock.now(),
        made_by=by,
        version=__version__,
        statements=sum(len(one.statements) for one in in_matches)
        + len(result.only_theirs)
        + len(result.young_statements),
        attempts=sum(len(one.attempts) for one in in_matches)
        + sum(map(_length, (result.only_ours, result.young_attempts, result.not_charged, result.byok)))
        + len(result.not_covered),
        **counts,
        only_ours=len(result.only_ours),
        only_theirs=len(result.only_theirs),
        too_young=len(result.young_statements) + len(result.young_attempts),
        not_charged=len(result.not_charged),
        byok=len(result.byok) + len(result.own_key),
        adjusted=adjusted,
        theirs=result.theirs,
        ours=result.ours,
        matched=result.matched,
        differing=result.differing,
        drift=result.drift,
        coverage=None if coverage is None else coverage.numerator * _MILLION // coverage.denominator,
    )


def _length(some: Sequence[Ours]) -> int:
    return len(some)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
