"""An attempt that a budget refused is shown as a count, and counts in nothing else, wherever attempts are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from sqlalchemy import text

import pixelmeter
from pixelmeter import Budget, BudgetExceeded, Meter
from pixelmeter.cli import main
from pixelmeter.core.attempts.intent import blocked
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.columns import COLUMNS, OF_PROGRAMS, as_json, notes
from pixelmeter.core.reporting.listing import cells
from pixelmeter.core.reporting.report import Row, summarise
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.grouping import grouped
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.linking import link
from pixelmeter.reports.correction import meant
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.sinks.prometheus import PrometheusSink
from pixelmeter.testing import Gateway
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.interop.sdk import SAM
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.sinks.exposition import Scrape
from tests.sinks.otel.conftest import Telemetry, telemetry

pytestmark = pytest.mark.usefixtures("patient")

__all__ = ["telemetry"]

CALL = {"gateway": "aigateway", "operation": "generate", "model": "openai/gpt-image-2"}
MAY = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


def refused(**fields: Any) -> Attempt:
    """Return an attempt that a budget refused, as the meter makes it."""
    asked = make_attempt(
        outcome="interrupted", status=None, images=None, first_byte=None, duration=0, response_bytes=0, provider=None,
        request_id=None, billing="unknown", cost=None, cost_source="none", cost_reason="outcome_unknown",
        reported_cost=None, token_cost=None, price_id=None, fee=None, at_risk=42_240_000, remaining_requests=None,
        input_text_tokens=None, input_image_tokens=None, output_image_tokens=None,
    )  # fmt: skip
    return msgspec.structs.replace(blocked(asked, "month"), **fields)


@pytest.fixture
def mixed() -> Sequence[Attempt]:
    """Four attempts that were sent, and five that were not: alone, before the first of a call, and as its retry."""
    first = make_attempt(duration=2_000_000)
    failed = make_attempt(outcome="error", status=500, error_type="server_error", images=0, duration=4_000_000)
    lucky = refused()
    return [
        first,
        failed,
        make_attempt(call_id=failed.id, attempt=1, duration=6_000_000),
        refused(call_id=first.id, attempt=1),
        refused(),
        refused(),
        refused(),
        lucky,
        make_attempt(call_id=lucky.id, duration=8_000_000),
    ]


@pytest.fixture
def filled(ledger_url: str, mixed: Sequence[Attempt]) -> str:
    """A ledger with these attempts."""
    with closing(open_writer(ledger_url)) as writer:
        writer.write(mixed, {}, [])
    return ledger_url


def report_of(url: str, *columns: str, by: str = "model") -> list[Row]:
    with reading_ledger(url) as reader:
        report = summarise(grouped(reader, [by], *MAY, columns=columns), by=[by], since=MAY[0], until=MAY[1])
    return [*report.rows, report.total]


@pytest.mark.parametrize("columns", [OF_PROGRAMS, (*OF_PROGRAMS, "cost_per_image")], ids=["rollup", "rows"])
def test_a_report_counts_it_apart_and_takes_no_latency_no_error_and_no_call_from_it(
    filled: str, columns: Sequence[str]
) -> None:
    for row in report_of(filled, *columns):
        assert (9, 5, 3, 1, 3) == (row.attempts, row.blocked, row.calls, row.errors, row.images)
        assert (0, 0) == (row.unknown_cost_attempts, row.unknown_fee_attempts)
        # Of 2, 4, 6 and 8 seconds; with those that took none, the median would be 0.
        assert row.p50_seconds == pytest.approx(4, rel=0.06)


def test_a_report_of_nothing_but_refusals_has_no_latency_and_costs_nothing(filled: str) -> None:
    [row] = [
        row for row in report_of(filled, "fee", "retry_cost", "failure_cost", by="outcome") if row.key == ("blocked",)
    ]
    assert (5, 5, 0, 0) == (row.attempts, row.blocked, row.calls, row.errors)
    assert (None, None) == (row.p50_seconds, row.p95_seconds)
    assert (0, 0, 0, 0, 0) == (
        row.known_cost, row.known_fee, row.known_at_risk, row.known_retry_cost, row.known_failure_cost
    )  # fmt: skip


def test_a_table_says_below_how_many_were_refused_and_json_has_them_where_asked_for(filled: str) -> None:
    run = CliRunner().invoke
    options = ["report", "--database-url", filled, "--since", "2026-05-01", "--until", "2026-06-01"]
    shown = run(main, options)
    assert "5 attempts were refused by a budget: nothing was sent, and nothing is charged." in shown.stdout
    found = msgspec.json.decode(run(main, [*options, "--format", "json", "--columns", "attempts,blocked"]).stdout)
    assert {"attempts": 9, "blocked": 5} == found["total"]


def test_a_report_without_refusals_says_nothing_of_them(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt()], {}, [])
    with reading_ledger(ledger_url) as reader:
        report = summarise(grouped(reader, ["model"], *MAY), by=["model"], since=MAY[0], until=MAY[1])
    assert [] == notes(report, [])
    assert "0" == str(as_json(report, tuple(COLUMNS))["total"]["blocked"])  # type: ignore[index]


def test_the_sums_of_the_ledger_have_it_as_a_count(filled: str) -> None:
    assert recomputed(filled) == rollup(filled)
    assert recomputed_totals(filled) == totals(filled)
    [counted] = [sums for key, sums in totals(filled).items() if "blocked" in key]
    assert {"attempts": 5} == counted


def test_the_view_of_calls_says_how_many_of_its_attempts_were_refused(filled: str, mixed: Sequence[Attempt]) -> None:
    with open_engine(filled).connect() as connection:
        rows = connection.execute(text("SELECT call_id, attempts, blocked, succeeded, cost FROM pixelmeter_calls"))
        found = {str(row[0]): tuple(map(int, row[1:])) for row in rows}
    price = 42_240_000
    assert {
        mixed[0].id: (2, 1, 1, price),
        mixed[1].id: (2, 0, 1, 2 * price),
        **{one.id: (1, 1, 0, 0) for one in mixed[4:7]},
        mixed[7].id: (2, 1, 1, price),
    } == found


def test_a_list_of_attempts_shows_it_without_a_time() -> None:
    shown = cells(refused(), UTC)
    assert ("blocked", "$0.0000", "", "") == (shown["outcome"], shown["cost"], shown["at_risk"], shown["seconds"])


def test_it_is_not_what_a_correction_means(filled: str, mixed: Sequence[Attempt]) -> None:
    with reading_ledger(filled) as reader:
        assert [mixed[8].id] == [one.id for one in meant(reader, mixed[7].call_id, 0)]
        with pytest.raises(ConfigError, match="a budget refused .* nothing was sent"):
            meant(reader, mixed[4].id, None)


def check_metrics(scrape: Scrape) -> None:
    """Check the counts of the nine attempts, whoever shows them."""
    requests = "pixelmeter_requests_total"
    assert 5 == scrape.total(requests, **CALL, outcome="blocked", error_type="blocked")
    assert 9 == scrape.total(requests, **CALL)
    assert 1 == scrape.total("pixelmeter_retries_total", **CALL)
    assert 4 == scrape.total("pixelmeter_request_duration_seconds_count", **CALL)
    assert not scrape.has("pixelmeter_request_duration_seconds_count", outcome="blocked")
    assert 0 == scrape.total("pixelmeter_unknown_cost_requests_total", **CALL)
    assert 0 == scrape.total("pixelmeter_at_risk_usd_total", **CALL)
    assert 3 == scrape.total("pixelmeter_images_total", **CALL)
    assert not scrape.has("pixelmeter_images_total", size="", quality="")


def test_prometheus_counts_it_as_a_request_and_in_nothing_else(mixed: Sequence[Attempt]) -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    for one in mixed:
        if one.outcome != "blocked":
            sink.begin(one)
        sink.record(one)
    scrape = Scrape(registry)
    check_metrics(scrape)
    assert 4 == scrape.total("pixelmeter_time_to_first_byte_seconds_count", **CALL)
    assert 0 == scrape.total("pixelmeter_requests_in_flight")
    assert 599 == scrape.total("pixelmeter_ratelimit_remaining")


def test_the_exporter_counts_it_as_a_request_and_in_nothing_else(filled: str, clock: FakeClock) -> None:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(filled, clock=clock))
    check_metrics(Scrape(registry))


def test_opentelemetry_counts_it_as_a_request_without_a_duration_or_a_span(
    telemetry: Telemetry, mixed: Sequence[Attempt]
) -> None:
    sink = telemetry.sink()
    for one in mixed:
        leave = sink.begin(one) if one.outcome != "blocked" else None
        if leave is not None:
            leave()
        sink.record(one)
    assert 4 == len(telemetry.spans())
    assert 4 == sum(value for _, value in telemetry.points("gen_ai.client.operation.duration"))
    counted = {labels["pixelmeter.outcome"]: value for labels, value in telemetry.points("pixelmeter.requests")}
    assert {"success": 3, "error": 1, "blocked": 5} == counted
    assert [1] == [value for _, value in telemetry.points("pixelmeter.retries")]
    assert [3] == [value for _, value in telemetry.points("pixelmeter.images")]


def test_a_call_of_an_sdk_whose_retry_is_refused_ends_with_that_and_with_what_was_sent(telemetry: Telemetry) -> None:
    def fail_and_be_refused() -> None:
        sink = telemetry.sink()
        first = make_attempt(outcome="error", status=500, error_type="server_error", images=0)
        link({}, within=None, retry=0, key=lambda: "the same", new_id=first.id)
        leave = sink.begin(first)
        assert leave is not None
        leave()
        sink.record(first)
        sink.record(refused(call_id=first.id, attempt=1))

    copy_context().run(fail_and_be_refused)
    found = telemetry.span("image_generation").attributes or {}
    assert (1, "blocked", "blocked") == (
        found["pixelmeter.attempts"], found["pixelmeter.outcome"], found["error.type"]
    )  # fmt: skip
    assert 2 == len(telemetry.spans())


@pytest.fixture
def meter(sqlite_url: str, telemetry: Telemetry) -> Iterator[Meter]:
    """A meter that lets two images of a cent go."""
    budget = Budget("0.025", per="total", name="small", action="block")
    sinks = [OtelSink(telemetry.traces, telemetry.metrics)]
    with Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, budgets=[budget], sinks=sinks) as meter:
        yield meter


def ask(client: httpx.Client, images: int) -> None:
    client.post("images/generations", json={"model": SAM, "prompt": "a fox", "n": images}).raise_for_status()


def test_what_is_sent_after_a_refusal_in_a_call_has_its_number_and_is_no_retry_of_it(
    meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    with pixelmeter.instrument(httpx.Client(base_url=gateway.url, verify=False), meter) as client, pixelmeter.call():
        for images in (3, 4, 1, 3, 1, 1):
            with nullcontext() if images == 1 and len(gateway.billing()) < 2 else pytest.raises(BudgetExceeded):
                ask(client, images)
    assert meter.flush(20)
    rows = sorted(stored(meter.database_url).values(), key=lambda one: one.id)
    assert [
        ("blocked", 0), ("blocked", 0), ("success", 0), ("blocked", 1), ("success", 1), ("blocked", 2)
    ] == [(one.outcome, one.attempt) for one in rows]  # fmt: skip
    assert {rows[0].id} == {one.call_id for one in rows}
    assert {(0, 0, None, None, "not_billed", "small")} == {
        (one.cost, one.fee, one.at_risk, one.status, one.billing, one.error_code)
        for one in rows
        if one.outcome == "blocked"
    }
    assert 2 == len(gateway.billing())
    assert [1] == [value for _, value in telemetry.points("pixelmeter.retries")]
    assert 2 == (telemetry.span("image_generation").attributes or {})["pixelmeter.attempts"]
    assert {} == meter.status()["failures"]
