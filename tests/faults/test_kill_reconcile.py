"""A reconciliation that is killed at random moments: the next one goes on, and every attempt is settled once."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.statements import latest_reconciliations
from pixelmeter.ledger.writer import open_writer
from tests.ledger.reading import adjusted, adjustments, recomputed, rollup, stored
from tests.reconcile.test_service import at, unknown

_MANY = 3000
_COLUMNS = "id=request,time=created,model=model,amount=cents,unit=cents"


@pytest.mark.parametrize("kills", [3, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_a_reconciliation_after_kills_settles_each_attempt_once(tmp_path: Path, ledger_url: str, kills: int) -> None:
    begin = at(0)
    attempts = [unknown(n, request_id=f"req_{n}", started_at=begin + n * 50_000_000) for n in range(_MANY)]
    with closing(open_writer(ledger_url)) as writer:
        writer.write(attempts, {}, [])
    with (tmp_path / "may.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["request", "created", "model", "cents"])
        for n, one in enumerate(attempts):
            when = datetime.fromtimestamp(one.started_at // 1_000_000, UTC)
            rows.writerow([f"req_{n}", when.isoformat(), "gpt-image-2", f"{n + 1}.5"])
    before = stored(ledger_url)
    command = [
        sys.executable, "-m", "pixelmeter", "reconcile", "--gateway", "aigateway", "--month", "2026-05", "--yes",
        "--file", str(tmp_path / "may.csv"), "--columns", _COLUMNS, "--database-url", ledger_url,
    ]  # fmt: skip
    chance = random.Random(kills)
    settled = 0
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(chance.uniform(0.5, 3))
            except subprocess.TimeoutExpired:
                process.kill()
        now = len(adjustments(ledger_url))
        assert now >= settled
        settled = now
        assert recomputed(ledger_url) == rollup(ledger_url)
    done = subprocess.run(command, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    assert Counter({one.id: 1 for one in attempts}) == Counter(row["attempt_id"] for row in adjustments(ledger_url))
    now_known = adjusted(ledger_url)
    assert [n * 10_000_000 + 15_000_000 for n in range(_MANY)] == [now_known[one.id].cost for one in attempts]
    assert before == stored(ledger_url)
    assert recomputed(ledger_url) == rollup(ledger_url)
    with reading_ledger(ledger_url) as reader:
        [kept] = latest_reconciliations(reader)
        assert [(_MANY,)] == reader.rows("SELECT count(*) FROM pixelmeter_statements")
    assert (_MANY, 0, 1_000_000) == (kept.equal, kept.unsettled, kept.coverage)
