"""What the ledger adds up to is what the gateway billed, to the nano-dollar, whatever client made the calls."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import Gateway
from tests.interop.callers import CALLERS, Caller
from tests.interop.workload import Step, Work, workload
from tests.ledger.reading import recomputed, rollup, stored

pytestmark = pytest.mark.slow

Bill = dict[str, Any]


@pytest.mark.parametrize("name", CALLERS)
def test_the_ledger_equals_the_bill(name: str, new_url: str, gateway: Gateway, tmp_path: Path) -> None:
    gateways = {"127.0.0.1:*": "aigateway", "localhost:*": "openai"}
    works = {work.id: work for work in workload(seed=list(CALLERS).index(name))}
    with pixelmeter.Meter(new_url, gateways=gateways, spool_dir=str(tmp_path / "spool")) as meter:
        retries, made = asyncio.run(drive(CALLERS[name](gateway), meter, works))
        assert meter.flush(30)
        assert {} == meter.status()["failures"]
    attempts = stored(new_url)
    bill = gateway.billing()
    assert len(bill) == len(attempts) == sum(len(works[work_id].steps) for work_id in made)

    unknown = 0
    for work_id, (steps, rows, lines) in by_work(works, attempts, bill).items():
        for step, row, line in zip(steps, rows, lines, strict=True):
            check(works[work_id], step, row, line)
            unknown += line["charged_nano"] if row.cost is None else 0
        grouped = [(rows[0].id, number) for number in range(len(rows))]
        alone = [(row.id, 0) for row in rows]
        assert (grouped if retries else alone) == [(row.call_id, row.attempt) for row in rows]

    known = sum(row.cost for row in attempts.values() if row.cost is not None)
    assert gateway.billed_nano() == known + unknown
    assert known > unknown > 0
    assert recomputed(new_url) == rollup(new_url)


async def drive(caller: Caller, meter: pixelmeter.Meter, works: dict[str, Work]) -> tuple[bool, list[str]]:
    """Make the calls that the client can make, all at once where it is async; return whether it retries, and which."""
    pixelmeter.instrument(caller.client, meter)

    async def one(work: Work) -> None:
        with pixelmeter.tags(work=work.id, feature=work.operation):
            await caller.make(work)

    spoken = [work for work in works.values() if caller.speaks(work)]
    await asyncio.gather(*(one(work) for work in spoken))
    await caller.close()
    return caller.retries, [work.id for work in spoken]


def by_work(
    works: dict[str, Work], attempts: dict[str, Attempt], bill: list[Bill]
) -> dict[str, tuple[tuple[Step, ...], list[Attempt], list[Bill]]]:
    """Bring the rows and the lines of the bill that belong to a work together, both in their order."""
    rows: defaultdict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts.values(), key=lambda attempt: attempt.id):
        rows[json.loads(attempt.tags)["work"]].append(attempt)
    lines: defaultdict[str, list[Bill]] = defaultdict(list)
    for line in bill:
        lines[line["test_id"]].append(line)
    assert rows.keys() == lines.keys()
    return {work_id: (works[work_id].steps, rows[work_id], lines[work_id]) for work_id in rows}


def check(work: Work, step: Step, row: Attempt, line: Bill) -> None:
    """Compare one row with what was told, and with its line of the bill."""
    assert (step.outcome, step.billing, step.source, step.reason) == (
        row.outcome,
        row.billing,
        row.cost_source,
        row.cost_reason,
    )
    assert (work.vendor, line["request_id"], line["status"]) == (row.gateway, row.request_id, row.status)
    assert (line["operation"], work.fields["model"], line["input_images"]) == (
        row.operation,
        row.requested_model,
        row.input_images,
    )
    assert {"work": work.id, "feature": work.operation} == json.loads(row.tags)
    if step.reason != "routed_model_hidden" and row.model != work.fields["model"]:
        assert line["model"] == row.model
    if row.outcome == "success":
        assert line["images"] == row.images
    if row.cost is not None:
        assert line["charged_nano"] == row.cost
        assert None is row.at_risk
    elif row.billing == "unknown" and line["charged_nano"] and work.vendor == "aigateway":
        assert line["charged_nano"] == row.at_risk
    elif row.billing == "unknown":
        assert row.at_risk
