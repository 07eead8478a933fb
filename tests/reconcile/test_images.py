"""`pixelmeter reconcile` with a report that counts images."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.testing import Gateway
from tests.factories import make_attempt
from tests.ledger.reading import adjustments
from tests.reconcile.test_service import fill

KLEIN, SAM = "black-forest-labs/flux-2-klein-9b", "meta/sam-3-1-image"


@pytest.fixture
def run(ledger_url: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Reconcile this month's images of the stand-in gateway."""
    monkeypatch.setenv("PIXELMETER_USAGE_KEYS", "openai=admin")
    month = time.strftime("%Y-%m", time.gmtime())
    always = ["--database-url", ledger_url, "--gateway", "openai", "--month", month, "--lag", "0s"]

    def invoke(*arguments: str) -> Result:
        asked = () if "--file" in arguments else ("--source", "openai_images", "--base-url", gateway.root)
        return CliRunner().invoke(main, ["reconcile", *always, *asked, *arguments])

    return invoke


def ours(model: str, images: int | None, **fields: Any) -> Any:
    return make_attempt(
        gateway="openai", model=model, requested_model=model, images=images, started_at=time.time_ns() // 1000, **fields
    )


def rows(result: Result) -> list[tuple[Any, ...]]:
    found = json.loads(result.stdout)["images"]
    return [tuple(row[name] for name in ("class", "model", "theirs", "ours", "unknown")) for row in found]


def test_images_are_compared_and_nothing_is_settled(
    run: Callable[..., Result], ledger_url: str, bill: Callable[..., None]
) -> None:
    bill(2, model=SAM)
    bill(model=KLEIN)
    lost = ours(KLEIN, None, outcome="timeout", billing="unknown", cost=None, cost_source="none", cost_reason="x")
    fill(ledger_url, ours(SAM, 1), ours(SAM, 1), lost)

    # Today is not over, so what differs today is too young; what is alike is alike.
    result = run("--format", "json")
    assert (0, "") == (result.exit_code, result.stderr)
    assert [("too_young", KLEIN, 1, 0, 1), ("equal", SAM, 2, 2, 0)] == rows(result)
    assert [] == adjustments(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert [(2,)] == reader.rows("SELECT count(*) FROM pixelmeter_statements")
        assert [(0,)] == reader.rows("SELECT count(*) FROM pixelmeter_reconciliations")
    again = run("--format", "json", "--show", "equal")
    assert [("equal", SAM, 2, 2, 0)] == rows(again)


def test_a_dry_run_keeps_nothing(run: Callable[..., Result], ledger_url: str, bill: Callable[..., None]) -> None:
    bill(model=SAM)
    fill(ledger_url, ours(SAM, 1))
    result = run("--dry-run")
    assert 0 == result.exit_code
    assert ["class", "day", "model", "theirs", "ours", "difference", "unknown"] == result.stdout.split("\n")[0].split()
    with reading_ledger(ledger_url) as reader:
        assert [(0,)] == reader.rows("SELECT count(*) FROM pixelmeter_statements")


def test_a_file_that_counts_images_is_compared_too(run: Callable[..., Result], ledger_url: str, tmp_path: Path) -> None:
    fill(ledger_url, ours(SAM, 1))
    day = time.strftime("%Y-%m-01", time.gmtime())
    file = tmp_path / "images.csv"
    file.write_text(f"day,model,images\n{day},{KLEIN},4\nyesterday,{SAM},1\n")
    given = ("--file", str(file), "--columns", "time=day,model=model,images=images", "--grain", "day")

    result = run(*given, "--format", "csv", "--show", "only_theirs")
    # On the first of a month that day is not over.
    expected = [("only_theirs", KLEIN, "4")] if time.gmtime().tm_mday > 1 else []
    found = csv.DictReader(io.StringIO(result.stdout))
    assert (3, expected) == (result.exit_code, [(row["class"], row["model"], row["theirs"]) for row in found])
    assert "line 3: 'yesterday' is no time" in result.stderr
    month = (*given[:-1], "month", "--columns", "id=model")
    assert (1, True) == ((refused := run(*month)).exit_code, "no days" in refused.stderr)
