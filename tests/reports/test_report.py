"""A question has one answer, whoever asks: a command, a page or a program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.core.reporting.columns import as_json
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.report import Question, ask, tags_in_use
from tests.factories import STARTED_AT, make_attempt

WEEK = 7 * 86_400_000_000
YEAR = Question(since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2027, 1, 1, tzinfo=UTC), zone=UTC)


@pytest.fixture
def filled_url(ledger_url: str) -> str:
    """A ledger with attempts of two weeks: two of known cost, one of unknown, one of a model without a price."""
    with closing(open_writer(ledger_url)) as writer:
        writer.write(
            [
                make_attempt(cost=40_000_000, started_at=STARTED_AT, tags='{"team":"growth"}'),
                make_attempt(cost=2_000_000, started_at=STARTED_AT + WEEK, tags='{"team":"art"}'),
                make_attempt(cost=None, outcome="timeout", billing="unknown", at_risk=5_000_000, started_at=STARTED_AT),
                make_attempt(
                    cost=None, cost_reason="no_price", model="new", gateway="my.example", started_at=STARTED_AT
                ),
            ],
            {},
            [],
        )
    return ledger_url


@pytest.fixture
def reader(filled_url: str) -> Iterator[LedgerReader]:
    """A reader of that ledger."""
    with reading_ledger(filled_url) as opened:
        yield opened


def test_a_command_prints_the_numbers_of_the_answer(filled_url: str, reader: LedgerReader) -> None:
    answer = ask(reader, YEAR, with_notes=False)

    options = ["--since", "2026-01-01", "--until", "2027-01-01", "--format", "json", "--database-url", filled_url]
    printed = CliRunner().invoke(main, ["report", *options], catch_exceptions=False).stdout

    assert json.loads(printed) == as_json(answer.report)
    assert 42_000_000 == answer.report.total.cost


def test_only_who_asks_for_notes_waits_for_them(reader: LedgerReader) -> None:
    assert (None, ()) == ask(reader, YEAR, with_notes=False)[1:]


def test_the_notes_name_what_the_sums_leave_out(reader: LedgerReader) -> None:
    answer = ask(reader, YEAR, with_notes=True)

    assert answer.history is not None
    assert answer.history.startswith("By week: ")
    at_risk, unknown, unpriced = answer.notes
    assert "$0.005" in at_risk
    assert unknown.startswith("2 attempts of unknown cost")
    assert unpriced.endswith("new")


def test_an_answer_without_rows_says_why(reader: LedgerReader) -> None:
    nobody = Question(since=YEAR.since, until=YEAR.until, zone=UTC, filters=Filters(model="nobody/*"))

    [said] = ask(reader, nobody, with_notes=True).notes

    assert said.startswith("Nothing fits between 2026-01-01T00:00:00Z and 2027-01-01T00:00:00Z")


def test_the_keys_of_tags_are_counted_in_the_range_of_the_question(reader: LedgerReader) -> None:
    of_a_week = Question(since=YEAR.since, until=datetime.fromtimestamp((STARTED_AT + WEEK) / 1e6, UTC), zone=UTC)

    assert [("team", 3, 1)] == tags_in_use(reader, of_a_week)
    assert [("team", 4, 2)] == tags_in_use(reader, YEAR)


def test_the_time_before_begins_with_the_first_year_at_the_earliest() -> None:
    first = datetime(1, 1, 1, tzinfo=UTC)
    asked = Question(since=first.replace(month=2), until=first.replace(year=20), zone=UTC)

    assert (first, asked.since) == asked.before
