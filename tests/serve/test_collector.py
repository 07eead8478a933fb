"""Series of a ledger: as many as the budget allows, each where it was before; and what a hanging database gives."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pixelmeter.core.attempts.record import OUTCOMES
from pixelmeter.core.metrics import metric
from pixelmeter.ledger.sums import Total
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import HISTOGRAM, Counts, LedgerCollector, counter, of_counts
from pixelmeter.sinks.series import DEFAULT_LIMIT
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.ledger.test_writer_postgres import WAITING
from tests.postgres import PASSWORD


def test_scrapes_of_a_database_that_hangs_end_and_share_the_one_question_that_was_asked(
    postgres_url: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt()], {}, [])
    collector = LedgerCollector(postgres_url, clock=clock, patience=0.3)
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(postgres_url) as locking,
        psycopg.connect(postgres_url, autocommit=True) as observer,
    ):
        locking.execute("LOCK TABLE pixelmeter_totals IN ACCESS EXCLUSIVE MODE")
        shown: list[dict[str, float]] = []
        for _ in range(2):
            scrapes = [threads.submit(collector.collect) for _ in range(3)]
            shown += [{family.name: family.samples[0].value for family in scrape.result()} for scrape in scrapes]
            clock.advance(2_000_000)
        asked = observer.execute(WAITING).fetchone()
        [reading] = [one for one in threading.enumerate() if one.name == "pixelmeter-scrape"]
        locking.rollback()
        reading.join(20)
        after = {family.name: family.samples[0].value for family in collector.collect() if family.samples}

    assert [0] * 6 == [one["pixelmeter_ledger_up"] for one in shown]
    assert {"pixelmeter_ledger_up", "pixelmeter_build_info", "pixelmeter_price_book_timestamp_seconds"} == set(shown[0])
    assert (1,) == asked
    assert 1 == after["pixelmeter_ledger_up"]
    assert ["has not answered for 0.3 seconds", "can be read again"] == [
        " ".join(record.getMessage().split()[-6 if "answered" in record.getMessage() else -4 :])
        for record in caplog.records
    ]
    assert PASSWORD not in caplog.text


GAUGES = 4


def hostile(number: int) -> list[Total]:
    """Return totals whose names come from somebody who wants many series."""
    chance = random.Random(11)
    drawn = [
        Total(
            gateway=chance.choice(["aigateway", f"host-{chance.randrange(10**6)}.example"]),
            operation=chance.choice(["generate", "edit"]),
            model=f"model-{chance.randrange(10**6)}",
            outcome=chance.choice(OUTCOMES),
            error_type="",
            cost_source=chance.choice(["reported", "none"]),
            cost_reason=chance.choice(["", "no_price"]),
            size=chance.choice(["", "1K"]),
            quality=chance.choice(["", "low"]),
            attempts=3,
            retries=chance.randrange(3),
            images=chance.randrange(4),
            cost=chance.randrange(10**12),
            at_risk=chance.choice([0, 5]),
            unknown_cost_attempts=chance.randrange(3),
            duration=chance.randrange(10**9),
            input_text_tokens=chance.randrange(9),
            cached_input_tokens=chance.randrange(9),
            input_image_tokens=0,
            output_text_tokens=0,
            output_image_tokens=chance.randrange(9),
            durations=[1, 2, *[0] * 15],
        )
        for _ in range(number)
    ]
    # In a ledger, what has no source has no cost, and a cost that is unknown has a reason.
    return [
        replace(
            total,
            cost=0 if total.cost_source == "none" else total.cost,
            unknown_cost_attempts=total.unknown_cost_attempts if total.cost_reason else 0,
            # What a budget refused took no time.
            duration=0 if total.outcome == "blocked" else total.duration,
            durations=[0] * 17 if total.outcome == "blocked" else total.durations,
        )
        for total in drawn
    ]


def test_hostile_names_stay_within_the_budget_and_every_attempt_is_counted_once() -> None:
    totals = hostile(3000)
    counters, histograms = Counts().of(totals)

    shown = sum(len(family.samples) for family in of_counts(counters, histograms))
    assert shown + GAUGES <= DEFAULT_LIMIT
    assert shown > DEFAULT_LIMIT / 2
    for name, sums in (
        ("pixelmeter_requests_total", [total.attempts for total in totals]),
        ("pixelmeter_retries_total", [total.retries for total in totals]),
        ("pixelmeter_cost_usd_total", [total.cost for total in totals]),
        ("pixelmeter_at_risk_usd_total", [total.at_risk for total in totals]),
        ("pixelmeter_unknown_cost_requests_total", [total.unknown_cost_attempts for total in totals]),
        ("pixelmeter_images_total", [total.images for total in totals]),
    ):
        assert sum(sums) == sum(counters[name].values()), name
    sent = sum(total.outcome != "blocked" for total in totals)
    assert 0 < 3 * sent < 3 * len(totals)
    assert 3 * sent == sum(sum(histogram.buckets) for histogram in histograms.values())
    assert sum(total.duration for total in totals) == sum(histogram.duration for histogram in histograms.values())


@pytest.mark.slow
def test_no_series_falls_when_the_ledger_grows_and_the_exporter_restarts() -> None:
    totals = hostile(3000)
    running = Counts()
    for length in (500, 1500, 3000):
        counters, histograms = running.of(totals[:length])
        for other in (running, Counts()):
            more, longer = other.of(totals[: length + 400])
            for name, values in counters.items():
                assert [] == [labels for labels, value in values.items() if more[name].get(labels, -1) < value], name
            assert [] == [labels for labels, one in histograms.items() if longer[labels].duration < one.duration]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [DEFAULT_LIMIT + number for number in (-12, -5, -1, 0, 1, 7, 20)])
def test_no_series_falls_when_what_was_zero_grows_and_the_exporter_restarts(limit: int) -> None:
    grown = hostile(3000)
    nothing: dict[str, Any] = dict.fromkeys(
        ("retries", "images", "at_risk", "unknown_cost_attempts", "input_text_tokens", "cached_input_tokens",
         "output_image_tokens"), 0,
    )  # fmt: skip
    chance = random.Random(5)
    young = [replace(total, **nothing) if chance.random() < 0.5 else total for total in grown]
    running = Counts(limit)
    running.of(young)

    counters, histograms = running.of(grown)
    again, longer = Counts(limit).of(grown)

    assert (counters.keys(), histograms.keys()) == (again.keys(), longer.keys())
    for name, values in counters.items():
        assert values == again[name], name


def test_dollars_are_the_nearest_number_to_the_exact_sum() -> None:
    nano = 9_007_199_254_740_993_000_000_001
    family = counter("pixelmeter_cost_usd_total", {("g", "generate", "m", "priced"): nano})

    assert [nano / 10**9] == [sample.value for sample in family.samples]
    assert ["pixelmeter_cost_usd_total"] == [sample.name for sample in family.samples]


def test_the_buckets_add_up_to_the_count() -> None:
    _, histograms = Counts().of(hostile(1))
    *_, family = of_counts({}, histograms)

    own = [sample for sample in family.samples if sample.value]
    counts = {sample.labels["le"]: sample.value for sample in own if sample.name == f"{HISTOGRAM}_bucket"}
    assert 1 == counts["0.1"]
    assert 3 == counts["0.25"] == counts["+Inf"]
    assert 1 + len(metric(HISTOGRAM).buckets) == len(counts)


def test_a_name_that_gets_room_later_leaves_behind_what_was_counted_without_one() -> None:
    [plain, *_] = hostile(1)
    plain = replace(plain, gateway="aigateway", operation="generate", outcome="success", cost_source="none", images=0)
    crowd = [replace(plain, model=f"unpriced-{number}") for number in range(60)]
    unpriced, priced = (replace(plain, model="late", cost_source=source) for source in ("none", "priced"))
    counts = Counts()

    before, _ = counts.of([*crowd, unpriced])
    counts.of([*crowd, unpriced, priced])
    after, _ = counts.of([*crowd, unpriced, priced])

    requests = "pixelmeter_requests_total"
    assert "late" not in {labels[2] for labels in before[requests]}
    assert "late" in {labels[2] for labels in after[requests]}
    assert [] == [labels for labels, value in before[requests].items() if after[requests][labels] < value]
