"""A month of a report against the ledger: read, kept, matched, settled, and the same a second time."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

from pixelmeter.core.attempts.adjustment import AdjustmentKind
from pixelmeter.core.attempts.correction import corrected_to
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reconciling.statement import Grain, Period, Statement, month
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import ConfigError, LedgerError, SourceError
from pixelmeter.ledger.address import in_schema
from pixelmeter.ledger.adjusting import Author, history
from pixelmeter.ledger.pruning import prune
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.statements import latest_reconciliations, reading_of, statements_of
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reconcile.listing import is_open, remarks
from pixelmeter.reconcile.service import Applied, Plan, Report, Task, apply, foresee, notes_of, read
from pixelmeter.reconcile.sources import Page, UsageClient
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import adjusted, adjustments, recomputed, rollup, stored
from tests.ledger.test_statements import delete, stated
from tests.ledger.test_writer_postgres import documented_grants
from tests.postgres import PASSWORD

MAY = month("2026-05")
DAY = 86_400_000_000
HOUR = DAY // 24
NAME = ("aigateway", "listed", "2026-05")


class Listed:
    """A report whose pages are at hand; it breaks off before the page of `breaks_at`."""

    gateway = "aigateway"
    base_url: str | None = None
    grain: Grain = "request"
    has_amounts = True

    def __init__(
        self, *pages: Page, is_complete: bool = False, by_id: bool = False, breaks_at: int | None = None
    ) -> None:
        self.id = "listed"
        self.is_complete = is_complete
        self.by_id = by_id
        self.given = pages
        self.breaks_at = breaks_at
        self.asked: list[tuple[Period, Sequence[str], str | None]] = []

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages from the one that the cursor numbers."""
        self.asked.append((period, tuple(wanted_ids), cursor))
        for number in range(int(cursor or 0), len(self.given)):
            if number == self.breaks_at:
                raise SourceError("cut")
            yield self.given[number]


def row(number: int, **fields: Any) -> Statement:
    """Return a row about the attempt of that number."""
    said = {"source": "listed", "external_id": f"row_{number}", "ids": (f"req_{number}",), "starts_at": at(number)}
    return stated(**{**said, **fields})


def at(number: int) -> int:
    return STARTED_AT + number * 10 * 60_000_000


def attempt(number: int, **fields: Any) -> Attempt:
    return make_attempt(**{"request_id": f"req_{number}", "started_at": at(number), **fields})


def unknown(number: int, **fields: Any) -> Attempt:
    """Return an attempt that timed out."""
    lost: dict[str, Any] = {
        "outcome": "timeout", "status": None, "billing": "unknown", "cost": None, "cost_source": "none", "fee": None,
        "cost_reason": "outcome_unknown", "at_risk": 42_200_000, "reported_cost": None, "request_id": None,
    }  # fmt: skip
    return attempt(number, **{**lost, **fields})


def fill(url: str, *attempts: Attempt) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(attempts, {}, [])


def task(url: str, source: Listed, **fields: Any) -> Task:
    return Task(
        url=url,
        source=source,
        month="2026-05",
        lag=DAY,
        window=120_000_000,
        clock=FakeClock(MAY.end + 9 * DAY),
        **fields,
    )


def planned(url: str, source: Listed, *, store: bool = True, **fields: Any) -> tuple[Report, Plan]:
    to_do = task(url, source, **fields)
    with reading_ledger(url) as reader:
        report = read(reader, None, to_do, store=store)
        return report, foresee(reader, to_do, report, is_stored=store)


def reconciled(url: str, source: Listed, **fields: Any) -> Applied:
    to_do = task(url, source, **fields)
    with reading_ledger(url) as reader:
        report = read(reader, None, to_do, store=True)
        plan = foresee(reader, to_do, report, is_stored=True)
        return apply(reader, to_do, report, plan, by="ann")


def test_statements_settle_what_nobody_knew_and_a_second_run_changes_nothing(ledger_url: str) -> None:
    known, timed_out, failed, pending = (
        attempt(0),
        unknown(1),
        unknown(2),
        unknown(3, billing="pending", job_id="job_3"),
    )
    fill(ledger_url, known, timed_out, failed, pending)
    before = stored(ledger_url)
    rows = [row(0), row(1, amount=40_000_000), row(2, amount=0, status="failed"), row(3, ids=("job_3",), amount=7)]

    first = reconciled(ledger_url, Listed(Page(tuple(rows), None)))
    written = adjustments(ledger_url)
    second = reconciled(ledger_url, Listed(Page(tuple(rows), None)))

    now = adjusted(ledger_url)
    assert [(42_240_000, "billed"), (40_000_000, "billed"), (0, "not_billed"), (7, "billed")] == [
        (now[one.id].cost, now[one.id].billing) for one in (known, timed_out, failed, pending)
    ]
    assert (3, True, 0, False) == (first.adjusted, first.is_new, second.adjusted, second.is_new)
    assert before == stored(ledger_url)
    assert written == adjustments(ledger_url)
    assert recomputed(ledger_url) == rollup(ledger_url)
    with reading_ledger(ledger_url) as reader:
        [made] = history(reader, [timed_out.id])[timed_out.id]
        [kept] = latest_reconciliations(reader)
    assert ("reconciled", "listed row_1", "ann", None) == (made.kind, made.source, made.made_by, made.why)
    assert (4, 0, 0, 3, 1_000_000, 0) == (
        kept.equal, kept.differs, kept.unsettled, kept.adjusted, kept.coverage, kept.drift
    )  # fmt: skip
    assert (4, 4, 82_240_007, 82_240_007, "ann") == (
        kept.statements,
        kept.attempts,
        kept.theirs,
        kept.ours,
        kept.made_by,
    )


def test_a_difference_is_listed_and_stays_until_it_is_accepted(ledger_url: str) -> None:
    fill(ledger_url, attempt(0))
    source = Listed(Page((row(0, amount=1),), None))
    listed = reconciled(ledger_url, source)
    assert (0, ["differs"]) == (listed.adjusted, [one.kind for one in listed.plan.result.matches])
    assert [] == adjustments(ledger_url)
    accepted = reconciled(ledger_url, source, accept=True)
    assert (1, ["equal"], 2) == (
        accepted.adjusted, [one.kind for one in accepted.plan.result.matches], accepted.reconciliation.number
    )  # fmt: skip
    assert ["their amount was accepted"] == [row["why"] for row in adjustments(ledger_url)]


def test_what_a_person_has_corrected_stays_and_is_listed(ledger_url: str) -> None:
    mine = attempt(0)
    fill(ledger_url, mine)
    with closing(open_writer(ledger_url)) as writer:
        writer.adjust([mine.id], lambda now: corrected_to(now, 5), Author("manual", "cli", STARTED_AT, "0.1.0"))
    applied = reconciled(ledger_url, Listed(Page((row(0),), None)), accept=True)
    assert (0, [mine.id]) == (applied.adjusted, [one.attempt.id for one in applied.plan.by_hand])
    assert 5 == adjusted(ledger_url)[mine.id].cost
    assert any("corrected by hand" in text for text in remarks(applied.plan))


@pytest.mark.parametrize("kind", ["manual", "reconciled"])
def test_what_has_changed_since_the_plan_is_left_as_it_is_and_told_from_what_another_run_settled(
    kind: AdjustmentKind, ledger_url: str
) -> None:
    lost = unknown(0, request_id="req_0")
    fill(ledger_url, lost)
    to_do = task(ledger_url, Listed(Page((row(0),), None)))
    with reading_ledger(ledger_url) as reader:
        report = read(reader, None, to_do, store=True)
        plan = foresee(reader, to_do, report, is_stored=True)
        with closing(open_writer(ledger_url)) as writer:
            writer.adjust([lost.id], lambda now: corrected_to(now, 5), Author(kind, "cli", STARTED_AT, "0.1.0"))
        applied = apply(reader, to_do, report, plan, by=None)
    assert (0, plan.settlements) == (applied.adjusted, [*applied.changed_meanwhile, *applied.settled_meanwhile])
    assert (kind == "reconciled") is bool(applied.settled_meanwhile)
    assert 5 == adjusted(ledger_url)[lost.id].cost


def test_an_attempt_that_is_gone_is_named_and_not_adjusted(ledger_url: str) -> None:
    lost, other = unknown(0, request_id="req_0"), unknown(1, request_id="req_1")
    fill(ledger_url, lost, other)
    to_do = task(ledger_url, Listed(Page((row(0), row(1)), None)))
    with reading_ledger(ledger_url) as reader:
        report = read(reader, None, to_do, store=True)
        plan = foresee(reader, to_do, report, is_stored=True)
        delete(ledger_url, lost.id)
        applied = apply(reader, to_do, report, plan, by=None)
    assert (1, [lost.id]) == (applied.adjusted, [one.attempt.id for one in applied.gone])
    delete(ledger_url, other.id)
    later = reconciled(ledger_url, Listed(Page((row(0), row(1)), None)))
    assert [("row_0", None), ("row_1", other.id)] == [
        (one.statement.external_id, one.gone) for one in later.plan.result.only_theirs
    ]


def test_a_run_that_was_cut_goes_on_and_is_never_taken_for_a_complete_one(ledger_url: str) -> None:
    fill(ledger_url, *(attempt(n) for n in range(3)))
    pages = [Page((row(0),), "1"), Page((row(1),), "2"), Page((row(2),), None)]
    cut = Listed(*pages, breaks_at=2)
    with reading_ledger(ledger_url) as reader:
        with pytest.raises(SourceError):
            read(reader, None, task(ledger_url, cut), store=True)
        found = reading_of(reader, *NAME)
        assert found is not None
        assert (2, "2", False) == (found.pages, found.cursor, found.is_complete)
    whole = Listed(*pages)
    report, plan = planned(ledger_url, whole)
    assert (True, 3, True, ["2"]) == (
        report.is_continued, report.reading.pages, report.reading.is_complete, [one[2] for one in whole.asked]
    )  # fmt: skip
    assert 3 == len(list(plan.result.of_kind("equal")))
    again = Listed(*pages)
    report, _ = planned(ledger_url, again)
    assert (False, [None]) == (report.is_continued, [one[2] for one in again.asked])


def test_a_month_of_which_attempts_are_pruned_is_refused_before_the_gateway_is_asked(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=MAY.start - 9), make_attempt(started_at=MAY.end))
    prune(ledger_url, moment_of(MAY.start + DAY), MAY.end + 60 * DAY)
    source = Listed(Page((row(0),), None))
    with reading_ledger(ledger_url) as reader, pytest.raises(LedgerError, match="before 2026-05-02 are pruned"):
        read(reader, None, task(ledger_url, source), store=True)

    assert [] == source.asked


def test_a_cursor_of_yesterday_is_not_gone_on_from(ledger_url: str) -> None:
    fill(ledger_url)
    pages = [Page((row(0),), "1"), Page((row(1),), None)]
    to_do = task(ledger_url, Listed(*pages, breaks_at=1))
    with reading_ledger(ledger_url) as reader:
        with pytest.raises(SourceError):
            read(reader, None, to_do, store=True)
        reader.refresh()
        whole = Listed(*pages)
        later = dataclasses.replace(to_do, source=whole, clock=FakeClock(to_do.clock.now() + DAY))
        read(reader, None, later, store=True)
    assert [None] == [one[2] for one in whole.asked]


def test_a_dry_run_writes_nothing_and_shows_all_of_it(ledger_url: str) -> None:
    lost = unknown(1, request_id="req_1")
    fill(ledger_url, attempt(0), lost)
    reconciled(ledger_url, Listed(Page((row(0, amount=1),), None)))
    report, plan = planned(ledger_url, Listed(Page((row(0), row(1)), None)), store=False)
    assert ([lost.id], 1) == ([one.attempt.id for one in plan.settlements], len(list(plan.result.of_kind("equal"))))
    assert 2 == report.rows
    assert [] == adjustments(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert [1] == [one.amount for one in statements_of(reader, "aigateway", "listed", MAY)]


def test_only_a_complete_report_says_what_was_not_billed(ledger_url: str) -> None:
    lost = unknown(1)
    fill(ledger_url, attempt(0), lost, attempt(2))
    page = Page((row(0), row(2)), None)
    kept = [
        Listed(page),
        Listed(page._replace(problems=("row 7 is no JSON object",)), is_complete=True),
        Listed(page._replace(notes=("goes back to the 3rd",)), is_complete=True),
    ]
    for source in kept:
        assert 0 == reconciled(ledger_url, source).adjusted
    assert 1 == reconciled(ledger_url, Listed(page, is_complete=True)).adjusted
    now = adjusted(ledger_url)[lost.id]
    assert ("not_billed", 0, "not_on_statement", None) == (now.billing, now.cost, now.cost_reason, now.at_risk)
    [made] = adjustments(ledger_url)
    assert ("listed 2026-05", "the complete report does not have it") == (made["source"], made["why"])


def test_rows_that_could_not_be_read_leave_the_month_open(ledger_url: str) -> None:
    fill(ledger_url, attempt(0))
    report, plan = planned(ledger_url, Listed(Page((row(0),), None, ("row 7 is no JSON object",))))
    assert is_open(plan, report)
    report, plan = planned(ledger_url, Listed(Page((row(0),), None)))
    assert not is_open(plan, report)


def test_a_report_by_id_is_asked_for_what_is_to_be_settled_and_misses_nothing_else(ledger_url: str) -> None:
    lost = unknown(1, request_id="req_1")
    fill(ledger_url, attempt(0), lost, unknown(2), attempt(3))
    source = Listed(Page((row(1),), None), by_id=True)
    applied = reconciled(ledger_url, source)
    assert [("req_1",)] == [one[1] for one in source.asked]
    assert (1, [], 3) == (applied.adjusted, applied.plan.result.only_ours, applied.plan.not_asked)
    again = Listed(by_id=True)
    assert (0, []) == (reconciled(ledger_url, again).adjusted, again.asked)


def test_it_says_what_came_twice_and_what_said_something_else_before(ledger_url: str) -> None:
    fill(ledger_url, attempt(0))
    planned(ledger_url, Listed(Page((row(0), row(0)), None)))
    report, plan = planned(ledger_url, Listed(Page((row(0, amount=1), row(0, amount=1), row(0, amount=1)), None)))
    with reading_ledger(ledger_url) as reader:
        said = list(notes_of(reader, task(ledger_url, Listed()), report, plan, is_stored=True))
    assert ["2 rows of the report came more than once", "1 row said something else"] == [
        text[: text.index(":")].replace(" when it was read before", "").replace(" when they were read before", "")
        for text in said
    ]


def test_two_times_of_one_request_may_lie_in_two_months(ledger_url: str) -> None:
    fill(ledger_url, attempt(0, started_at=MAY.end - 1), attempt(1, started_at=MAY.start))
    source = Listed(Page((row(0, starts_at=MAY.end + 10), row(1, starts_at=MAY.start - 10)), None))
    _, plan = planned(ledger_url, source)
    assert [Period(MAY.start - HOUR, MAY.end + HOUR)] == [one[0] for one in source.asked]
    assert ([], [], 2) == (plan.result.only_ours, plan.result.only_theirs, len(plan.result.outside_statements))


def test_a_report_without_amounts_is_refused(ledger_url: str) -> None:
    fill(ledger_url)
    source = Listed()
    source.has_amounts = False
    with pytest.raises(ConfigError, match="says nothing of amounts"):
        planned(ledger_url, source)
    assert [] == source.asked


def test_two_runs_at_once_are_as_good_as_one(ledger_url: str) -> None:
    lost = [unknown(n, request_id=f"req_{n}") for n in range(40)]
    fill(ledger_url, *lost)
    pages = [Page(tuple(row(n) for n in range(start, start + 10)), str(start // 10 + 1)) for start in range(0, 40, 10)]
    pages[-1] = pages[-1]._replace(cursor=None)
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(reconciled, ledger_url, Listed(*pages)) for _ in range(3)]
        adjusted_by_each = [run.result().adjusted for run in runs]
    assert 40 == sum(adjusted_by_each) == len(adjustments(ledger_url))
    assert recomputed(ledger_url) == rollup(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert [(40,)] == reader.rows("SELECT count(*) FROM pixelmeter_statements")


@pytest.mark.slow
def test_many_are_settled_in_few_transactions(sqlite_url: str) -> None:
    lost = [unknown(n, request_id=f"req_{n}", started_at=STARTED_AT + n * 1_000_000) for n in range(1200)]
    fill(sqlite_url, *lost)
    rows = tuple(row(n, starts_at=one.started_at, amount=n + 1) for n, one in enumerate(lost))
    assert 1200 == reconciled(sqlite_url, Listed(Page(rows, None))).adjusted
    now = adjusted(sqlite_url)
    assert [n + 1 for n in range(1200)] == [now[one.id].cost for one in lost]
    assert 1200 == len({row["source"] for row in adjustments(sqlite_url)})


def test_of_a_file_only_its_own_rows_count(ledger_url: str) -> None:
    fill(ledger_url, attempt(0), attempt(1))
    reconciled(ledger_url, Listed(Page((row(7, ids=("misread",)),), None)), is_file=True)
    again = reconciled(ledger_url, Listed(Page((row(0), row(1)), None)), is_file=True)
    assert ([], 2) == (again.plan.result.only_theirs, again.reconciliation.equal)


def test_it_says_where_older_attempts_may_have_been_deleted(ledger_url: str) -> None:
    fill(ledger_url, attempt(1))
    report, plan = planned(ledger_url, Listed(Page((row(0),), None)))
    with reading_ledger(ledger_url) as reader:
        [said] = notes_of(reader, task(ledger_url, Listed()), report, plan, is_stored=True)
    assert said.startswith("1 row of theirs from before the oldest attempt of the ledger, 2026-05-28T20:36:40")


@pytest.mark.slow
def test_a_role_with_the_documented_rights_can_reconcile_in_a_schema_of_its_own(postgres_url: str) -> None:
    url = in_schema(postgres_url, "meter")
    fill(url, unknown(0, request_id="req_0"))
    role = f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'only-this'".encode())
        try:
            admin.execute(f"GRANT USAGE ON SCHEMA meter TO {role}".encode())
            for grant in documented_grants():
                admin.execute(grant.replace("role_name", role).replace(" ON ", " ON meter.").encode())
            for name in METADATA.tables:
                if name.startswith("pixelmeter_budget"):
                    admin.execute(f"GRANT ALL ON meter.{name} TO {role}".encode())
            limited = url.replace(f"postgres:{PASSWORD}", f"{role}:only-this")
            applied = reconciled(limited, Listed(Page((row(0),), None)))
        finally:
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"DROP ROLE {role}".encode())
    assert (1, True) == (applied.adjusted, applied.is_new)
    with reading_ledger(url) as reader:
        assert 1 == len(latest_reconciliations(reader))
