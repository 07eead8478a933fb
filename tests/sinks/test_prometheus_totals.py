"""What /metrics adds up to is what the ledger and the bill add up to, for calls of every kind."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import pixelmeter
from pixelmeter.testing import Gateway
from tests.interop.callers import CALLERS
from tests.interop.test_ledger_equals_the_bill import drive
from tests.interop.workload import workload
from tests.ledger.reading import stored
from tests.sinks.exposition import Scrape

pytestmark = pytest.mark.slow

Sums = dict[tuple[str, ...], float]


def shown(scrape: Scrape, name: str, *labels: str) -> Sums:
    """Return what is shown of a metric that is not 0, by some of its labels."""
    sums: Counter[tuple[str, ...]] = Counter()
    for sample in scrape.samples:
        if sample.name == name:
            sums[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment]
    return {key: value for key, value in sums.items() if value}


@pytest.mark.parametrize("name", CALLERS)
def test_the_metrics_equal_the_ledger_and_the_bill(
    name: str, sqlite_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    registry = CollectorRegistry()
    gateways = {"127.0.0.1:*": "aigateway", "localhost:*": "openai"}
    works = {work.id: work for work in workload(seed=list(CALLERS).index(name))}
    with pixelmeter.Meter(sqlite_url, gateways=gateways, registry=registry, spool_dir=str(tmp_path / "spool")) as meter:
        asyncio.run(drive(CALLERS[name](gateway), meter, works))
        assert meter.flush(30)
        assert {} == meter.status()["failures"]
    rows = list(stored(sqlite_url).values())
    scrape = Scrape(registry)

    call = ("gateway", "operation", "model")
    attempts: Counter[tuple[str, ...]] = Counter()
    cost: Counter[tuple[str, ...]] = Counter()
    at_risk: Counter[tuple[str, ...]] = Counter()
    unknown: Counter[tuple[str, ...]] = Counter()
    images: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        key = (row.gateway, row.operation, row.model)
        attempts[*key, row.outcome] += 1
        cost[*key, row.cost_source] += row.cost or 0
        at_risk[key] += row.at_risk or 0
        unknown[*key, row.cost_reason or ""] += row.cost is None
        images[key] += row.images or 0

    assert +attempts == shown(scrape, "pixelmeter_requests_total", *call, "outcome")
    assert +attempts == shown(scrape, "pixelmeter_request_duration_seconds_count", *call, "outcome")
    assert +unknown == shown(scrape, "pixelmeter_unknown_cost_requests_total", *call, "reason")
    assert +images == shown(scrape, "pixelmeter_images_total", *call)
    dollars = {key: nano / 1e9 for key, nano in (+cost).items()}
    assert dollars == pytest.approx(shown(scrape, "pixelmeter_cost_usd_total", *call, "cost_source"), rel=1e-9, abs=0)
    risked = {key: nano / 1e9 for key, nano in (+at_risk).items()}
    assert risked == pytest.approx(shown(scrape, "pixelmeter_at_risk_usd_total", *call), rel=1e-9, abs=0)
    assert sum(row.attempt > 0 for row in rows) == scrape.total("pixelmeter_retries_total")
    first_bytes = [row.first_byte for row in rows if row.first_byte is not None]
    assert len(first_bytes) == scrape.total("pixelmeter_time_to_first_byte_seconds_count")
    assert sum(row.duration for row in rows) / 1e6 == pytest.approx(
        scrape.total("pixelmeter_request_duration_seconds_sum")
    )
    tokens = sum(
        (row.input_text_tokens or 0)
        + (row.input_image_tokens or 0)
        + (row.output_text_tokens or 0)
        + (row.output_image_tokens or 0)
        for row in rows
    )
    assert tokens == sum(shown(scrape, "pixelmeter_tokens_total", "direction").values())
    assert (tokens > 0) == (not name.startswith("aigateway"))
    assert 0 == scrape.total("pixelmeter_requests_in_flight")

    bill = gateway.billing()
    assert len(bill) == scrape.total("pixelmeter_requests_total")
    unsettled = sum(
        line["charged_nano"]
        for line in bill
        if line["request_id"] in {row.request_id for row in rows if row.cost is None}
    )
    assert (gateway.billed_nano() - unsettled) / 1e9 == pytest.approx(
        scrape.total("pixelmeter_cost_usd_total"), rel=1e-9, abs=0
    )
    assert {"success", "error", "timeout", "throttled", "rejected", "pending"} == {key[-1] for key in attempts}
