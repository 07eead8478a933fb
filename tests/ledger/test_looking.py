"""A list that looks only where rollups say that attempts fit has the same attempts as one that looks everywhere."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.attempts import Place, attempts
from pixelmeter.ledger.looking import places_to_look
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.reports.calls import stretch
from pixelmeter.reports.report import Question
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import fill

HOUR = 3_600_000_000
QUESTIONS = [
    Filters(),
    Filters(model="rare*"),
    Filters(exact_model="rare", outcome="error"),
    Filters(exact_model="nobody's"),
    Filters(tags={"team": "art"}),
    Filters(tags={"team": "none"}),
    Filters(tags={"team": "art"}, gateway="fal"),
    Filters(only=("unknown-cost",)),
    Filters(only=("unknown-cost", "errors"), gateway="fal"),
    Filters(only=("known-cost",), exact_model="rare"),
    Filters(only=("first",), operation="edit"),
    Filters(only=("at-risk",)),
    Filters(only=("unestimated",)),
    Filters(billing="unknown", exact_model="rare"),
    Filters(only=("at-risk", "unknown-cost"), exact_model="rare"),
    Filters(only=("unknown-cost",), tags={"team": "art"}),
    Filters(only=("unestimated", "first"), gateway="fal", status=200),
    Filters(gateway="fal", tags={"team": "art"}, untagged=("feature",)),
    Filters(untagged=("team",)),
]


def test_looking_where_sums_say_finds_the_same(ledger_url: str) -> None:
    chance = random.Random(8)
    fill(
        ledger_url,
        [
            make_attempt(
                started_at=STARTED_AT - chance.randrange(20 * 24 * HOUR),
                attempt=chance.choice([0, 0, 1]),
                model=chance.choice(["common"] * 30 + ["rare"]),
                gateway=chance.choice(["aigateway", "fal"]),
                operation=chance.choice(["generate", "edit"]),
                outcome=chance.choice(["success"] * 8 + ["error"]),
                billing="unknown" if (doubt := chance.random() < 0.1) else "billed",
                cost=None if doubt else 5,
                at_risk=chance.choice([None, 3]) if doubt else None,
                tags=chance.choice(['{"team":"growth"}'] * 9 + ['{"team":"art"}', "{}"]),
            )
            for _ in range(600)
        ],
    )
    with reading_ledger(ledger_url) as reader:
        for filters in QUESTIONS:
            until = moment_of(STARTED_AT - chance.randrange(3 * 24 * HOUR))
            since = until - timedelta(hours=chance.randrange(1, 15 * 24))
            question = Question(since=since, until=until, zone=UTC, filters=filters, by=())
            wanted = attempts(reader, since=since, until=until, filters=filters, limit=10_000)
            found: list[Attempt] = []
            after: Place | None = None
            while True:
                part = stretch(reader, question, limit=7, after=after)
                found += part.attempts
                if part.following is None:
                    break
                after = part.following
            assert [one.id for one in wanted] == [one.id for one in found], filters


def test_only_hours_that_have_some_are_looked_at(ledger_url: str) -> None:
    at = int(datetime(2026, 5, 20, 13, 30, tzinfo=UTC).timestamp()) * 1_000_000
    others = [make_attempt(started_at=at - number * HOUR, model="common") for number in range(100)]
    fill(
        ledger_url,
        [*others, make_attempt(started_at=at, model="rare"), make_attempt(started_at=at - 50 * HOUR, model="rare")],
    )
    since, until = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 20, 13, 45, tzinfo=UTC)
    with reading_ledger(ledger_url) as reader:
        found = list(places_to_look(reader, since, until, Filters(exact_model="rare")))
        finer = list(places_to_look(reader, since, until, Filters(exact_model="rare", only=("at-risk",), status=200)))
        nothing = list(places_to_look(reader, since, until, Filters(exact_model="nobody's")))
        everything = list(places_to_look(reader, since, until, Filters(status=200)))

    hour = timedelta(hours=1)
    assert (
        [
            (datetime(2026, 5, 20, 13, tzinfo=UTC), until),
            (datetime(2026, 5, 18, 11, tzinfo=UTC), datetime(2026, 5, 18, 11, tzinfo=UTC) + hour),
        ]
        == found
        == finer
    )
    assert [] == nothing
    assert [(since, until)] == everything
