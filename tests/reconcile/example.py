"""The month that docs/reconciliation.md closes: a ledger, and the report that the gateway lets its users download."""

from __future__ import annotations

import csv
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

_NOON = datetime(2026, 5, 28, 12, tzinfo=UTC)
_LOST: dict[str, Any] = {
    "outcome": "timeout", "status": None, "billing": "unknown", "cost": None, "cost_source": "none", "fee": None,
    "cost_reason": "outcome_unknown", "at_risk": 42_200_000, "reported_cost": None, "request_id": None,
    "images": None, "fee_rate": 0,
}  # fmt: skip
_REFUSED: dict[str, Any] = {
    "outcome": "rejected", "status": 400, "billing": "not_billed", "cost": 0, "cost_reason": "rejected", "images": 0,
}  # fmt: skip


def make_month(folder: Path) -> None:
    """Write the ledger and the report of May into a folder."""
    attempts = [_attempt(number) for number in range(1, 7)]
    attempts += [_attempt(7, **_LOST), _attempt(8, **_REFUSED)]
    with closing(open_writer(f"sqlite:///{folder}/pixelmeter.db")) as writer:
        writer.write(attempts, {}, [])
    with (folder / "may.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["request", "created", "model", "cents", "result"])
        for number in (1, 2, 3, 4, 5, 7):
            cents = "5.0" if number == 5 else "4.224"
            rows.writerow([f"req_{number}", _at(number).isoformat(), "gpt-image-2", cents, "success"])
        rows.writerow(["req_a", (_NOON + timedelta(hours=9)).isoformat(), "flux-2", "1.5", "success"])


def _attempt(number: int, **fields: Any) -> Attempt:
    identity = f"019e6e5c-2260-7000-8000-00000000000{number}"
    started_at = int(_at(number).timestamp()) * 1_000_000
    return make_attempt(**{"id": identity, "request_id": f"req_{number}", "started_at": started_at, **fields})


def _at(number: int) -> datetime:
    return _NOON + timedelta(minutes=10 * number)
