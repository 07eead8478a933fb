"""A reconciliation that is killed in the middle: the next one goes on, and every attempt is settled once."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
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

_MANY = 2500
_COLUMNS = "id=request,time=created,model=model,amount=cents,unit=cents"


def count(url: str, table: str) -> int:
    """Return how many rows a table has."""
    with reading_ledger(url) as reader:
        [(found,)] = reader.rows(f"SELECT count(*) FROM pixelmeter_{table}")
    return int(found)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_reconciliation_after_kills_settles_each_attempt_once(tmp_path: Path, ledger_url: str) -> None:
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
    settled = 0
    for table in ("statements", "adjustments", "adjustments"):
        known = count(ledger_url, table)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            # In the middle: after the first page, or after the next few hundred attempts.
            while count(ledger_url, table) == known and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        settled = count(ledger_url, "adjustments")
        assert recomputed(ledger_url) == rollup(ledger_url)
    assert 0 < settled < _MANY
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
