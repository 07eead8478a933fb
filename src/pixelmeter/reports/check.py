"""Whether spend, errors and latency keep limits: what `pixelmeter check` asks a ledger, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from pixelmeter.core.reporting.limits import COLUMNS, Excess, Limits, exceeded, used_up
from pixelmeter.core.reporting.periods import microseconds_of, moment, open_period, utc_text
from pixelmeter.drain.census import mismatches
from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger.address import spool_folder
from pixelmeter.ledger.queries import EVERYTHING, Filters
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.reports.budgets import overviews
from pixelmeter.reports.opening import open_ledger
from pixelmeter.reports.report import Question, ask
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemFiles

__all__ = ["Check", "Checked", "Window", "check", "window"]

_LATE = timedelta(minutes=5)
"""An attempt that ended so long ago is in the ledger, unless its program cannot write."""
_UNITS = frozenset("mhdw")
_WHOLE = ("gateway",)
"""The dimension of a report whose total alone is asked for: every rollup has it."""


class Window(NamedTuple):
    """Which attempts are looked at: those that started in [since, until)."""

    text: str
    """As it was asked for."""
    since: datetime
    until: datetime
    quiet_until: datetime
    """Until when what was told of this window is not told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is to be looked at."""

    window: Window
    zone: tzinfo
    limits: Limits
    budgets: bool = False
    """Whether a budget that is used up is a finding."""
    by: Sequence[str] = ()
    """Dimensions of a report, each row of which has to keep the limits; without any its total has to."""
    filters: Filters = EVERYTHING


class Checked(NamedTuple):
    """What came of a check."""

    findings: Sequence[Excess]
    unknown: Sequence[Excess]
    """Limits of which nobody can say whether they are kept."""
    problems: Sequence[str]
    """Why the ledger may lack attempts, a sentence without its end each."""
    attempts: int | None
    """How many were looked at; None where none were, but budgets alone."""

    @property
    def state(self) -> Literal["fine", "findings", "unknown"]:
        """What the exit status says: findings where there are any, whatever else is unknown."""
        if self.findings:
            return "findings"
        return "unknown" if self.unknown or self.problems else "fine"


def window(text: str, *, now: datetime, zone: tzinfo) -> Window:
    """Return the window that "1h", "7d", "today" or "this-month" names. ConfigError for anything else.

    What is told of a window of some length is told again once nine tenths of it are over, so that a timer as long as
    the window, which is never quite regular, does not skip every second one.
    """
    period = open_period(text, now=now, zone=zone)
    if period is not None:
        return Window(text.strip(), period.start, now, period.end)
    since = moment(text, now=now, zone=zone) if text.strip()[:1].isdecimal() and text.strip()[-1] in _UNITS else now
    if since >= now:
        raise ConfigError(
            f"{text[:40]!r} is no window: write how long ago it began (30m, 1h, 7d), or today, this-week, this-month "
            "or this-year"
        )
    return Window(text.strip(), since, now, now + (now - since) * 9 / 10)


def check(url: str, asked: Check) -> Checked:
    """Compare a ledger with limits. LedgerError where it cannot be read, ConfigError for what cannot be asked."""
    problems: list[str] = []
    found: list[Excess] = []
    attempts: int | None = None
    with open_ledger(url, problems.append) as reader:
        problems += _late(reader, url, asked.window.until)
        if not asked.limits.are_none:
            attempts = _compare(reader, asked, found, problems)
        if asked.budgets:
            found += _budgets(reader, microseconds_of(asked.window.until), asked.limits)
    return Checked(
        [one for one in found if one.state == "exceeded"],
        [one for one in found if one.state == "unknown"],
        problems,
        attempts,
    )


def _compare(reader: LedgerReader, asked: Check, found: list[Excess], problems: list[str]) -> int:
    question = Question(
        since=asked.window.since,
        until=asked.window.until,
        zone=asked.zone,
        filters=asked.filters,
        by=asked.by or _WHOLE,
        columns=COLUMNS,
    )
    report = ask(reader, question, with_notes=False).report
    if (report.since, report.until) != (question.since, question.until):
        problems.append(
            "attempts of the window were pruned, and of those only whole hours or days are known: this is "
            f"{utc_text(report.since)} to {utc_text(report.until)}"
        )
    found += exceeded(report, asked.limits, each=bool(asked.by))
    return report.total.attempts


def _budgets(reader: LedgerReader, at: int, limits: Limits) -> Iterator[Excess]:
    for overview in overviews(reader, at):
        for state in overview.states:
            one = used_up(state, limits)
            if one is not None:
                yield one


def _late(reader: LedgerReader, url: str, now: datetime) -> Iterator[str]:
    """Yield that living processes of this machine have attempts that should be in the ledger, where they do."""
    settings = from_environment()
    rows = reader.rows("SELECT name, position FROM pixelmeter_spools")
    # Without a folder that can be read there is nothing of this machine that this user can miss.
    with suppress(OSError, ConfigError, LedgerError):
        folder = spool_folder(url, settings.spool_dir, settings.state_dir)
        positions = {str(name): int(position) for name, position in rows}
        found = mismatches(SystemFiles(), folder, positions, long_ago=microseconds_of(now - _LATE)).late
        if found:
            files = "1 spool file" if len(found) == 1 else f"{len(found)} spool files"
            yield (
                f"attempts that ended {_LATE.seconds // 60} minutes ago are not in the ledger yet: they wait in "
                f"{files} of running programs; `pixelmeter doctor` says more"
            )
