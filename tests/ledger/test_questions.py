"""The questions of docs/ledger.md have right answers on both databases, those about nothing and about nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
QUERIES = dict(re.findall(r"```sql\n-- ([^\n]*\?)\n(.*?);\n```", PAGE, re.DOTALL))
MODELS, DAYS, TEAMS, RETRIES, CHANGES, JOBS = (
    next(query for title, query in QUERIES.items() if part in title)
    for part in ("did each model cost", "each day", "each team", "retries", "corrections", "jobs")
)


MAY = 1_778_000_000_000_000
DAY = 86_400_000_000


def unknown(**fields: Any) -> Attempt:
    return make_attempt(cost=None, fee=None, **({"billing": "unknown", "outcome": "timeout"} | fields))


def refused(**fields: Any) -> Attempt:
    return make_attempt(cost=0, fee=0, billing="not_billed", outcome="rejected", **fields)


@pytest.fixture
def reader(ledger_url: str) -> Iterator[LedgerReader]:
    """A reader of a ledger with a known attempt of each kind; the call of a retry is of two attempts."""
    day = DAY
    first = make_attempt(model="known", cost=40_000_000, started_at=1_778_000_000_000_000)
    attempts = [
        first,
        make_attempt(model="known", cost=2_000_000, call_id=first.id, attempt=1, started_at=first.started_at),
        unknown(model="lost", tags='{"team":"lost"}', started_at=first.started_at + day),
        unknown(model="estimated", at_risk=5_000_000, tags='{"team":"lost"}', started_at=first.started_at + day),
        make_attempt(model="unpriced", cost=None, cost_reason="no_price", tags="{}", started_at=first.started_at),
        refused(model="refused", tags='{"team":"refused"}', started_at=first.started_at + 2 * day),
        refused(model="refused and lost", tags='{"team":"both"}', started_at=first.started_at + 3 * day),
        unknown(model="refused and lost", tags='{"team":"both"}', started_at=first.started_at + 3 * day),
        make_attempt(cost=10**12, started_at=first.started_at - 40 * day),
    ]
    with closing(open_writer(ledger_url)) as writer:
        writer.write(attempts, {}, [])
    with reading_ledger(ledger_url) as opened:
        yield opened


def answers(reader: LedgerReader, query: str) -> dict[Any, list[float | None]]:
    found = reader.rows(query)
    return {str(key) if key else None: [None if value is None else float(value) for value in rest]
            for key, *rest in found}  # fmt: skip


@pytest.fixture
def adjusted(ledger_url: str) -> Iterator[LedgerReader]:
    """A reader of a ledger with attempts of jobs that have ended, and with one whose cost was corrected."""
    submitted = [
        unknown(
            outcome="pending", billing="pending", job_id=name, model="m", requested_model="m", at_risk=1, started_at=MAY
        )
        for name in "abc"
    ]
    ends = [
        JobEnd(id=make_attempt().id, gateway="aigateway", job_id=name, heard_at=MAY + seconds * 1_000_000,
               source="poll", outcome="success", images=1, reported_cost=5_000_000)
        for name, seconds in (("a", 2), ("b", 4))
    ]  # fmt: skip
    wrong = make_attempt(cost=42_240_000, model="n", tags='{"team":"growth"}', started_at=MAY)
    with closing(open_writer(ledger_url)) as writer:
        writer.write([*submitted, *ends, wrong], {}, [])
        by_hand = Author("manual", "command line", MAY, "1.0.0")
        writer.adjust([wrong.id], lambda now: msgspec.structs.replace(now, cost=40_000_000), by_hand)
    with reading_ledger(ledger_url) as opened:
        yield opened


def test_every_question_is_asked_here() -> None:
    assert len(re.findall(r"```sql\n(?!GRANT)", PAGE)) == len(QUERIES) == 6


def test_what_each_model_cost(reader: LedgerReader) -> None:
    assert {
        "known": [0.042, 0, 0],
        "lost": [None, None, 1],
        "estimated": [None, 0.005, 1],
        "unpriced": [None, 0, 1],
        "refused": [0, 0, 0],
        "refused and lost": [None, None, 1],
    } == answers(reader, MODELS)


def test_what_was_learned_later_is_in_every_answer(adjusted: LedgerReader) -> None:
    assert {"m": [0.01, 1e-9, 1], "n": [0.04, 0, 0]} == answers(adjusted, MODELS)
    assert {"2026-05-05": [0.05, 1]} == answers(adjusted, DAYS)
    assert {"growth": [0.05, 1]} == answers(adjusted, TEAMS)


def test_what_corrections_changed(adjusted: LedgerReader) -> None:
    assert {"job": [2, 0.01], "manual": [1, -0.00224]} == answers(adjusted, CHANGES)


def test_how_long_jobs_take(adjusted: LedgerReader) -> None:
    assert {"m": [2, 3]} == answers(adjusted, JOBS)


def test_what_each_day_cost(reader: LedgerReader) -> None:
    assert {
        "2026-05-05": [0.042, 1],
        "2026-05-06": [None, 2],
        "2026-05-07": [0, 0],
        "2026-05-08": [None, 1],
    } == answers(reader, DAYS)


def test_what_each_team_spent(reader: LedgerReader) -> None:
    assert {
        "growth": [0.042, 0],
        "lost": [None, 2],
        None: [None, 1],
        "refused": [0, 0],
        "both": [None, 1],
    } == answers(reader, TEAMS)


def test_which_calls_needed_retries(reader: LedgerReader) -> None:
    assert [[2, 0.042, 0]] == list(answers(reader, RETRIES).values())


ZONES = ("Asia/Kathmandu", "America/Los_Angeles", "Pacific/Kiritimati", "UTC")


def test_the_zone_of_the_session_changes_no_answer(ledger_url: str) -> None:
    june = 1_780_272_000_000_000
    fields: dict[str, Any] = {"model": "edge", "tags": '{"team":"edge"}'}
    with closing(open_writer(ledger_url)) as writer:
        # The first and the last moment of May, and those beside them.
        for number, at in enumerate((june - 31 * DAY - 1, june - 31 * DAY, june - 1, june)):
            writer.write([make_attempt(cost=10**number, started_at=at, **fields)], {}, [])
    expected = [{"edge": [1.1e-7, 0, 0]}, {"2026-05-01": [1e-8, 0], "2026-05-31": [1e-7, 0]}, {"edge": [1.1e-7, 0]}]
    for zone in ZONES if ledger_url.startswith("postgresql") else ZONES[-1:]:
        with reading_ledger(ledger_url) as reader:
            if reader.dialect is DIALECTS["postgresql"]:
                reader.rows("SELECT set_config('TimeZone', ?, false)", [zone])
            assert expected == [answers(reader, query) for query in (MODELS, DAYS, TEAMS)], zone


def test_every_time_of_the_page_has_its_offset() -> None:
    times = [time for query in QUERIES.values() for time in re.findall(r"started_at [<>=]+ '([^']*)'", query)]
    assert len(times) >= 6
    assert [] == [time for time in times if not time.endswith(" 00:00:00+00")]


def test_what_is_unknown_of_a_call_is_null_and_what_is_nothing_is_0(ledger_url: str) -> None:
    def call(*attempts: dict[str, Any]) -> list[Attempt]:
        first = make_attempt(**attempts[0])
        others = [make_attempt(call_id=first.id, attempt=n, **fields) for n, fields in enumerate(attempts[1:], 1)]
        return [first, *others]

    lost: dict[str, Any] = {"cost": None, "fee": None, "billing": "unknown", "outcome": "timeout", "images": None}
    not_charged = {"cost": 0, "fee": 0, "billing": "not_billed", "outcome": "rejected", "images": 0}
    calls = {
        (4, 1, 0): call({"cost": 4}),
        (0, 0, 0): call(not_charged, not_charged),
        (None, None, None): call(lost, not_charged),
        (5, 1, None): call(lost, {"cost": 5}),
        (None, None, 7): call(lost | {"at_risk": 7}, lost, not_charged),
        (None, 1, 0): call({"cost": None, "cost_reason": "no_price"}, not_charged),
    }
    with closing(open_writer(ledger_url)) as writer:
        writer.write([attempt for attempts in calls.values() for attempt in attempts], {}, [])
    with reading_ledger(ledger_url) as reader:
        rows = reader.rows("SELECT call_id, cost, images, at_risk FROM pixelmeter_calls")
    assert {attempts[0].id: expected for expected, attempts in calls.items()} == {
        str(identity): tuple(None if value is None else int(value) for value in values) for identity, *values in rows
    }
