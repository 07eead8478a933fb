"""What is asked of a ledger is answered of the attempts as their adjustments have made them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.report import summarise
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.attempts import adjusted_attempts_of, attempts, attempts_of, identities
from pixelmeter.ledger.grouping import grouped
from pixelmeter.ledger.queries import Filters, tag_keys, unpriced
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.test_queries import a_report_is_what_python_adds_up, varied

BY_HAND = Author("manual", "command line", STARTED_AT, "1.0.0")
SINCE, UNTIL = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


def write(url: str, written: Sequence[Attempt], after: Mapping[str, Mapping[str, Any]]) -> None:
    """Write attempts, and adjust those whose new fields are given by id."""
    with closing(open_writer(url)) as writer:
        writer.write(written, {}, [])
        writer.adjust(list(after), lambda now: msgspec.structs.replace(now, **after[now.id]), BY_HAND)


def drawn(rows: Sequence[Attempt], seed: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield new fields of some of the attempts."""
    choose = random.Random(seed)
    for one in choose.sample(rows, len(rows) // 2):
        fields = {
            "model": choose.choice(["a/b", "a/new", ""]),
            "provider": choose.choice(["p", None, "q"]),
            "images": choose.choice([None, 0, 3]),
            "size": choose.choice([None, "512x512"]),
            "quality": choose.choice([None, "low"]),
            "outcome": choose.choice(["success", "error", "timeout"]),
            "cost": choose.choice([None, 0, 7, 41_000_000]),
            "fee": choose.choice([None, 3]),
            "at_risk": choose.choice([None, 0, 10_000_000]),
            "billing": choose.choice(["billed", "not_billed", "unknown"]),
        }
        yield one.id, {name: fields[name] for name in choose.sample(list(fields), choose.randrange(1, len(fields)))}


@pytest.mark.slow
def test_any_report_is_what_python_adds_up_from_attempts_with_adjustments(ledger_url: str) -> None:
    written = varied(300, "2026-03-25T00:00:00+00:00", 7)
    now = {one.id: one for one in written}
    # Twice, so that some have more than one adjustment and some return to what they were.
    for seed in (1, 2):
        after = dict(drawn(list(now.values()), seed))
        write(ledger_url, written, after)
        now |= {key: msgspec.structs.replace(now[key], **fields) for key, fields in after.items()}

    with reading_ledger(ledger_url) as reader:
        a_report_is_what_python_adds_up(list(now.values()), reader)
        assert {one.id: one for one in attempts(reader, limit=1000)} == now
        assert {one.id: one for one in adjusted_attempts_of(reader, now)} == now
        assert {one.id: one for one in attempts_of(reader, now)} == {one.id: one for one in written}


@pytest.mark.parametrize("by", [["model"], ["outcome"], ["model", "day"], ["size"]])
def test_a_group_that_all_attempts_have_left_is_not_shown(ledger_url: str, by: list[str]) -> None:
    ended = make_attempt(model="promised", outcome="pending", cost=None, size="1x1")
    write(
        ledger_url, [ended, make_attempt()], {ended.id: {"model": "made", "outcome": "error", "cost": 5, "size": "2x2"}}
    )

    with reading_ledger(ledger_url) as reader:
        rows = summarise(grouped(reader, by, SINCE, UNTIL), by=by, since=SINCE, until=UNTIL).rows

    assert [1, 1] == [row.attempts for row in rows]
    assert not {"promised", "pending", "1x1"} & {row.key[0] for row in rows}


def test_a_filter_looks_at_what_an_attempt_is_now(ledger_url: str) -> None:
    one = make_attempt(model="old", outcome="pending", tags='{"team":"x"}')
    write(ledger_url, [one], {one.id: {"model": "new", "outcome": "success"}})

    with reading_ledger(ledger_url) as reader:
        for filters, number in (
            (Filters(model="new", outcome="success"), 1),
            (Filters(model="old"), 0),
            (Filters(outcome="pending"), 0),
        ):
            assert number == len(attempts(reader, filters=filters, limit=9))
            assert number == len(identities(reader, since=SINCE, filters=filters))
            assert number == len(tag_keys(reader, SINCE, UNTIL, filters))
            for by in (["model"], ["size"]):
                assert number == sum(
                    group.sums["attempts"] for group in grouped(reader, by, SINCE, UNTIL, filters=filters)
                )


def test_what_has_got_a_price_since_is_not_without_one(ledger_url: str) -> None:
    one = make_attempt(cost=None, cost_reason="no_price")
    write(ledger_url, [one], {one.id: {"cost": 5, "cost_reason": None}})

    with reading_ledger(ledger_url) as reader:
        assert [] == unpriced(reader, SINCE, UNTIL)


def test_routed_attempts_are_found_by_their_index_where_there_are_adjustments_too(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_attempt(savings=1)
    write(sqlite_url, [one, make_attempt()], {one.id: {"model": "new"}})
    steps: list[str] = []
    rows = LedgerReader.rows

    def explained(reader: LedgerReader, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        steps.extend(str(step[3]) for step in rows(reader, f"EXPLAIN QUERY PLAN {statement}", parameters))
        return rows(reader, statement, parameters)

    monkeypatch.setattr(LedgerReader, "rows", explained)
    with reading_ledger(sqlite_url) as reader:
        steps.clear()
        groups = [*grouped(reader, ["model"], SINCE, UNTIL, columns=["savings"])]

    assert [("new", 1)] == [(key[0], sums["savings"]) for key, sums, _ in groups if "savings" in sums]
    assert ["pixelmeter_attempts_routed", "pixelmeter_adjustments_latest"] == [
        step.split("INDEX ")[1].split()[0] for step in steps if step.startswith(("SEARCH a ", "SEARCH j "))
    ]
