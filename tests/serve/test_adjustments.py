"""What the metrics of a process and of the exporter say of jobs and adjustments is what the ledger says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import uuid_utils
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pixelmeter.core.attempts.adjustment import AdjustmentKind, Change, change_of
from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.counting import AdjustmentTally
from pixelmeter.ledger.adjusting import Author, OpenJobs
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import Total
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import Counts, LedgerCollector, of_counts
from pixelmeter.sinks.prometheus import PrometheusSink
from pixelmeter.sinks.series import DEFAULT_LIMIT
from tests.conftest import FakeClock
from tests.effort import examples
from tests.factories import STARTED_AT, make_attempt
from tests.sinks.exposition import Scrape

Values = dict[tuple[str, ...], float]

CALL = ("gateway", "operation", "model")
ADJUSTED = (*CALL, "kind", "direction")
SECOND = 1_000_000
GAUGES = 4
CORRECTIONS: tuple[AdjustmentKind, ...] = ("manual", "reconciled", "repriced")
AUTHOR = Author(kind="manual", source="command line", made_at=STARTED_AT, version="0.1.0")


def submitted(job_id: str | None, at_risk: int | None = 40_000_000, **fields: Any) -> Attempt:
    """Return an attempt that was answered with a job."""
    asked: dict[str, Any] = {
        "outcome": "pending",
        "job_id": job_id,
        "images": None,
        "size": None,
        "quality": None,
        "billing": "pending",
        "cost": None,
        "cost_source": "none",
        "cost_reason": "pending_job",
        "reported_cost": None,
        "token_cost": None,
        "price_id": None,
        "at_risk": at_risk,
        "fee": None,
        "input_text_tokens": None,
        "output_image_tokens": None,
    }
    return make_attempt(**(asked | fields))


def ended(job_id: str, **fields: Any) -> JobEnd:
    """Return what was heard of the end of a job."""
    heard: dict[str, Any] = {
        "id": str(uuid_utils.uuid7()),
        "gateway": "aigateway",
        "heard_at": STARTED_AT + 30 * SECOND,
        "source": "poll",
        "outcome": "success",
        "version": "0.1.0",
    }
    return JobEnd(job_id=job_id, **(heard | fields))


class Watched:
    """A ledger, a process that writes to it and an exporter that reads it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = FakeClock(STARTED_AT + 60 * SECOND)
        self.process, self.exporter = CollectorRegistry(), CollectorRegistry()
        self.exporter.register(LedgerCollector(url, clock=self.clock))
        self._sink = PrometheusSink(self.process)
        self._writer = open_writer(url, changed=self._changed)
        self._seen: set[str] = set()

    def write(self, *records: Record) -> None:
        """Have attempts end, and bring them and what was heard of jobs into the ledger."""
        for record in records:
            if isinstance(record, Attempt) and record.id not in self._seen:
                self._seen.add(record.id)
                self._sink.record(record)
        self._writer.write(records, {}, [])

    def correct(self, identity: str, author: Author = AUTHOR, **fields: Any) -> None:
        """Adjust an attempt by hand."""
        self._changed(
            self._writer.adjust([identity], lambda attempt: msgspec.structs.replace(attempt, **fields), author)
        )

    def scrapes(self) -> tuple[Scrape, Scrape]:
        """Return what the process shows, and the exporter."""
        self.clock.advance(2 * SECOND)
        return Scrape(self.process), Scrape(self.exporter)

    def close(self) -> None:
        """Let go of the ledger."""
        self._writer.close()

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._sink.adjust(change)


def shown(scrape: Scrape, name: str, *labels: str) -> Values:
    """Return what is shown of a metric that is not 0, by some of its labels; dollars as nano-dollars."""
    sums: Counter[tuple[str, ...]] = Counter()
    for sample in scrape.samples:
        if sample.name == name:
            value = round(sample.value * 1e9) if "_usd_" in name else sample.value
            sums[tuple(sample.labels[label] for label in labels)] += value  # type: ignore[assignment]
    return {key: value for key, value in sums.items() if value}


def compare(watched: Watched) -> tuple[Scrape, Scrape]:
    """Hold what both show to each other and to the ledger."""
    process, exporter = scrapes = watched.scrapes()
    for name, labels in (
        ("pixelmeter_requests_total", (*CALL, "outcome", "error_type")),
        ("pixelmeter_cost_usd_total", (*CALL, "cost_source")),
        ("pixelmeter_at_risk_usd_total", CALL),
        ("pixelmeter_unknown_cost_requests_total", (*CALL, "reason")),
        ("pixelmeter_images_total", (*CALL, "size", "quality")),
        ("pixelmeter_jobs_total", (*CALL, "outcome")),
        ("pixelmeter_adjustments_usd_total", ADJUSTED),
        ("pixelmeter_at_risk_adjustments_usd_total", ADJUSTED),
    ):
        assert shown(process, name, *labels) == shown(exporter, name, *labels), name
    with reading_ledger(watched.url) as reader:
        spend = reader.rows(
            "SELECT gateway, operation, model, sum(cost), sum(at_risk) FROM pixelmeter_spend"
            " GROUP BY gateway, operation, model"
        )
        jobs = reader.rows("SELECT count(*) FROM pixelmeter_jobs WHERE ended_at IS NOT NULL AND attempt_id IS NOT NULL")
        waiting = reader.rows("SELECT gateway, count(*) FROM pixelmeter_jobs WHERE ended_at IS NULL GROUP BY gateway")
    for scrape in scrapes:
        assert {(g, o, m): cost for g, o, m, cost, _ in spend if cost} == net(scrape, "cost_usd", "adjustments_usd")
        risk = net(scrape, "at_risk_usd", "at_risk_adjustments_usd")
        assert {(g, o, m): at_risk for g, o, m, _, at_risk in spend if at_risk} == risk
        assert jobs[0][0] == sum(shown(scrape, "pixelmeter_jobs_total").values())
    assert {(gateway,): jobs for gateway, jobs in waiting} == shown(exporter, "pixelmeter_jobs_open", "gateway")
    return scrapes


def net(scrape: Scrape, name: str, adjusted: str) -> Values:
    """Return what a counter and its adjustments come to."""
    sums = Counter(shown(scrape, f"pixelmeter_{name}_total", *CALL))
    for (*call, direction), amount in shown(scrape, f"pixelmeter_{adjusted}_total", *CALL, "direction").items():
        sums[tuple(call)] += amount if direction == "up" else -amount  # type: ignore[assignment]
    return {key: value for key, value in sums.items() if value}


def growing(scrape: Scrape) -> Values:
    """Return every series that must not fall."""
    return {
        (one.name, *sorted(f"{name}={value}" for name, value in one.labels.items())): one.value
        for one in scrape.samples
        if one.name.endswith(("_total", "_bucket", "_count", "_sum"))
    }


def test_a_job_that_ends_is_counted_with_its_images_and_its_money(ledger_url: str) -> None:
    job = {"gateway": "aigateway", "operation": "generate", "model": "openai/gpt-image-2"}
    with closing(Watched(ledger_url)) as watched:
        watched.write(submitted("a"), submitted("b"))
        [_, exporter] = compare(watched)
        assert 2 == exporter.total("pixelmeter_jobs_open", gateway="aigateway")
        assert 62 == exporter.total("pixelmeter_oldest_job_seconds", gateway="aigateway")

        watched.write(ended("a", images=2, size="1024x1024", quality="low", reported_cost=60_000_000))
        scrapes = compare(watched)
        watched.write(ended("b", outcome="error", error_type="internal", not_charged=True))
        compare(watched)

    for scrape in scrapes:
        assert 1 == scrape.total("pixelmeter_jobs_total", **job, outcome="success")
        assert 2 == scrape.total("pixelmeter_images_total", **job)
        assert 0.06 == scrape.total("pixelmeter_adjustments_usd_total", **job, kind="job", direction="up")
        assert 0.04 == scrape.total("pixelmeter_at_risk_adjustments_usd_total", **job, kind="job", direction="down")
        assert 2 == scrape.total("pixelmeter_requests_total", **job, outcome="pending")
    assert scrapes[0].has("pixelmeter_images_total", **job, size="1024x1024", quality="low")
    [_, last] = watched.scrapes()
    assert (0, 0) == (last.total("pixelmeter_jobs_open"), last.total("pixelmeter_oldest_job_seconds"))
    assert 1 == last.total("pixelmeter_jobs_total", **job, outcome="error")


def test_what_is_heard_again_or_written_again_counts_once(ledger_url: str) -> None:
    attempt, again = submitted("a"), submitted("a", started_at=STARTED_AT + SECOND)
    end, more = ended("a", images=1), ended("a", images=1, reported_cost=50_000_000, source="webhook")
    with closing(Watched(ledger_url)) as watched:
        for records in ([end], [attempt, again], [attempt, end], [more], [more, end, attempt], [ended("a")]):
            watched.write(*records)
            compare(watched)
        process, exporter = watched.scrapes()

    for scrape in (process, exporter):
        assert 1 == scrape.total("pixelmeter_jobs_total")
        assert 1 == scrape.total("pixelmeter_images_total")
        assert 0.05 == scrape.total("pixelmeter_adjustments_usd_total")


def test_a_job_that_had_expired_and_is_heard_of_after_all_is_counted_once(ledger_url: str) -> None:
    with closing(Watched(ledger_url)) as watched:
        watched.write(submitted("a"), ended("a", source="expired", outcome="timeout"))
        watched.write(ended("a", images=1, reported_cost=50_000_000))
        scrapes = compare(watched)

    for scrape in scrapes:
        assert {("timeout",): 1} == shown(scrape, "pixelmeter_jobs_total", "outcome")
        assert 1 == scrape.total("pixelmeter_images_total")


def test_a_correction_goes_up_or_down_and_a_model_takes_its_money_along(ledger_url: str) -> None:
    attempt = make_attempt()
    with closing(Watched(ledger_url)) as watched:
        watched.write(attempt)
        watched.correct(attempt.id, cost=40_000_000)
        watched.correct(attempt.id, cost=70_000_000, at_risk=5)
        watched.correct(attempt.id, AUTHOR._replace(kind="reconciled"), model="other/model")
        scrapes = compare(watched)

    for scrape in scrapes:
        moved = shown(scrape, "pixelmeter_adjustments_usd_total", "model", "kind", "direction")
        assert {
            ("openai/gpt-image-2", "manual", "down"): 2_240_000,
            ("openai/gpt-image-2", "manual", "up"): 30_000_000,
            ("openai/gpt-image-2", "reconciled", "down"): 70_000_000,
            ("other/model", "reconciled", "up"): 70_000_000,
        } == moved
        assert {} == shown(scrape, "pixelmeter_jobs_total")


def test_money_of_jobs_is_there_at_zero_before_the_first_one_ends(sqlite_url: str) -> None:
    with closing(Watched(sqlite_url)) as watched:
        watched.write(submitted("a"))
        [process, _] = watched.scrapes()

    call = {"gateway": "aigateway", "operation": "generate", "model": "openai/gpt-image-2"}
    assert 0 == process.total("pixelmeter_jobs_total", **call, outcome="success")
    assert 0 == process.total("pixelmeter_adjustments_usd_total", **call, kind="job", direction="up")
    assert 0 == process.total("pixelmeter_at_risk_adjustments_usd_total", **call, kind="job", direction="down")


def anything(chance: random.Random, attempts: list[Attempt]) -> Sequence[Record]:
    """Return what comes into a ledger next: new, known or late."""
    job_id, model = chance.choice("abcdef"), chance.choice(["openai/gpt-image-2", "made-up/model"])
    gateway = chance.choice(["aigateway", "fal"])
    records: list[Record] = []
    for _ in range(chance.randrange(1, 4)):
        kind = chance.randrange(5)
        if kind == 0:
            attempts.append(make_attempt(model=model, gateway=gateway, images=chance.randrange(3)))
            records.append(attempts[-1])
        elif kind == 1:
            started_at = STARTED_AT + chance.randrange(9) * SECOND
            job = chance.choice([job_id, job_id, None])
            at_risk = chance.choice([None, 7_000_000])
            attempts.append(submitted(job, at_risk, model=model, gateway=gateway, started_at=started_at))
            records.append(attempts[-1])
        elif kind == 2 and attempts:
            records.append(chance.choice(attempts))
        else:
            outcome = chance.choice(["success", "success", "error", "cancelled", "timeout"])
            records.append(
                ended(
                    job_id,
                    gateway=gateway,
                    source=chance.choice(["poll", "result", "cancel", "webhook", "expired"]),
                    outcome=outcome,
                    images=chance.choice([None, 1]) if outcome == "success" else None,
                    reported_cost=chance.choice([None, None, chance.randrange(10**9)]),
                    not_charged=chance.random() < 0.2,
                    model=chance.choice([None, None, "made-up/answered"]),
                )
            )
    return records


def wander(url: str, seed: int, steps: int) -> None:
    """Have anything happen to a ledger, and compare after each step."""
    chance, attempts = random.Random(seed), list[Attempt]()
    with closing(Watched(url)) as watched:
        before: list[Values] = [{}, {}]
        for _ in range(steps):
            watched.write(*anything(chance, attempts))
            if attempts and chance.random() < 0.3:
                watched.write(attempts[-1])
                cost = chance.choice([None, chance.randrange(10**9)])
                author = AUTHOR._replace(kind=chance.choice(CORRECTIONS))
                watched.correct(chance.choice(attempts).id, author, cost=cost, at_risk=None)
            now = [growing(scrape) for scrape in compare(watched)]
            for was, one in zip(before, now, strict=True):
                assert [] == [key for key, value in was.items() if one.get(key, -1) < value]
            before = now


@pytest.mark.slow
@settings(max_examples=examples(50))
@given(st.integers(0, 2**32))
# Two attempts are answered with one job, and somebody corrects the one that it does not count for.
@example(185493)
def test_whatever_happens_both_agree_with_the_ledger_and_no_counter_falls(seed: int) -> None:
    with TemporaryDirectory() as folder:
        wander(f"sqlite:///{Path(folder)}/ledger.db", seed, 8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_both_agree_with_a_ledger_on_postgres(postgres_url: str, seed: int) -> None:
    wander(postgres_url, seed, 12)


def hostile(number: int) -> tuple[list[Total], list[AdjustmentTally]]:
    """Return sums whose names come from somebody who wants many series."""
    chance = random.Random(3)
    totals: list[Total] = []
    adjusted: list[AdjustmentTally] = []
    for _ in range(number):
        name = (f"host-{chance.randrange(10**6)}.example", "generate", f"model-{chance.randrange(10**6)}")
        totals.append(Total(*name, "pending", "", "none", "pending_job", "", "", 1, unknown_cost_attempts=1))
        kind = chance.choice(["job", "job", "manual"])
        outcome = chance.choice(["success", "error"]) if kind == "job" else ""
        adjusted.append(
            AdjustmentTally(
                *name, kind, outcome, "", "", 1, int(kind == "job"), 1, cost_up=chance.randrange(9), at_risk_down=4
            )
        )
    return totals, adjusted


def waiting(totals: Sequence[Total]) -> list[OpenJobs]:
    return [OpenJobs(total.gateway, 2, STARTED_AT) for total in totals]


@pytest.mark.slow
def test_hostile_names_stay_within_the_budget_and_everything_is_counted_once() -> None:
    totals, adjusted = hostile(3000)
    counts = Counts()
    counters, histograms = counts.of(totals, adjusted)
    families = [*of_counts(counters, histograms), *counts.open_jobs(totals, waiting(totals), STARTED_AT + 5 * SECOND)]

    shown = sum(len(family.samples) for family in families)
    # Without those of budgets, of which there are none here.
    of_budgets = DEFAULT_LIMIT / 10
    assert (DEFAULT_LIMIT - of_budgets) / 2 < shown + GAUGES <= DEFAULT_LIMIT
    assert sum(one.jobs for one in adjusted) == sum(counters["pixelmeter_jobs_total"].values())
    assert 3000 == sum(counters["pixelmeter_images_total"].values())
    assert sum(one.cost_up for one in adjusted) == sum(counters["pixelmeter_adjustments_usd_total"].values())
    assert 12_000 == sum(counters["pixelmeter_at_risk_adjustments_usd_total"].values())
    jobs, ages = families[-2:]
    assert 6000 == sum(sample.value for sample in jobs.samples)
    assert {5} == {sample.value for sample in ages.samples}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [DEFAULT_LIMIT, 500])
def test_no_series_falls_when_sums_come_in_any_order_and_the_exporter_restarts(limit: int) -> None:
    totals, adjusted = hostile(3000)
    running = Counts(limit)
    for attempts, adjustments in ((10, 5), (500, 20), (500, 450), (2000, 1900)):
        counters, _ = running.of(totals[:attempts], adjusted[:adjustments])
        for other in (running, Counts(limit)):
            more, _ = other.of(totals[: attempts + 400], adjusted[: adjustments + 30])
            for name, values in counters.items():
                assert [] == [labels for labels, value in values.items() if more[name].get(labels, -1) < value], name


@pytest.mark.slow
def test_the_process_stays_within_its_budget_whatever_ends() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    chance = random.Random(4)
    for number in range(2000):
        before = submitted(str(number), gateway=f"{chance.randrange(500)}.example", model=f"model-{number}")
        after = msgspec.structs.replace(before, outcome="success", model=f"answered-{number}", cost=1000, images=1)
        sink.record(before)
        sink.adjust(
            change_of(
                before, after, number=1, kind="job", made_at=STARTED_AT, source="poll", version="0.1.0", job_duration=1
            )
        )
    scrape = Scrape(registry)

    assert len(scrape.samples) <= DEFAULT_LIMIT
    assert 2000 == scrape.total("pixelmeter_jobs_total") == scrape.total("pixelmeter_images_total")
    assert {(): 2_000_000} == shown(scrape, "pixelmeter_adjustments_usd_total")
