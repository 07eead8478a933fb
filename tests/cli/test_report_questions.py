"""What `pixelmeter report` and `calls` can be asked: the most expensive, changes, forecasts, hours, calls."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

MAY = ["--since", "2026-05-01", "--until", "2026-06-01"]
CENT = 10_000_000
DAY = 86_400_000_000


def fill(url: str, *attempts: Attempt) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(attempts, {}, [])


def run(url: str, command: str, *options: str) -> Result:
    return CliRunner().invoke(main, [command, "--database-url", url, *options])


def report(url: str, *options: str) -> dict[str, Any]:
    result = run(url, "report", "--format", "json", *options)
    assert 0 == result.exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def costs(found: dict[str, Any], *by: str) -> list[tuple[Any, ...]]:
    return [(*(row[name] for name in by), row["cost_usd"]) for row in found["rows"]]


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def test_all_but_the_most_expensive_rows_are_one_so_that_the_total_stays(ledger_url: str) -> None:
    fill(ledger_url, *(make_attempt(model=f"m-{cents}", cost=cents * CENT) for cents in (1, 2, 3, 4)))
    found = report(ledger_url, "--top", "2", *MAY)
    assert [("m-4", "0.04"), ("m-3", "0.03"), ("(others)", "0.03")] == costs(found, "model")
    assert ("0.1", 4) == (found["total"]["cost_usd"], found["total"]["attempts"])
    assert [("m-4", "0.04"), ("m-3", "0.03"), ("m-2", "0.02"), ("m-1", "0.01")] == costs(
        report(ledger_url, "--top", "4", *MAY), "model"
    )


def test_the_most_expensive_models_are_so_over_all_days(ledger_url: str) -> None:
    days = {"a": (1, 9), "b": (5, 0), "c": (2, 2)}
    fill(
        ledger_url,
        *(
            make_attempt(model=model, cost=cents * CENT, started_at=at(f"2026-05-0{day}T12:00"))
            for model, amounts in days.items()
            for day, cents in enumerate(amounts, 1)
        ),
    )
    found = report(ledger_url, "--by", "day,model", "--top", "1", *MAY)
    assert [
        ("2026-05-01", "a", "0.01"),
        ("2026-05-01", "(others)", "0.07"),
        ("2026-05-02", "a", "0.09"),
        ("2026-05-02", "(others)", "0.02"),
    ] == costs(found, "day", "model")


def calls_of_two(url: str) -> Sequence[Attempt]:
    first = make_attempt(outcome="timeout", cost=4 * CENT, at_risk=None, started_at=at("2026-05-10T12:00"))
    unknown = {"cost": None, "fee": None, "billing": "unknown", "outcome": "timeout", "at_risk": 3 * CENT}
    lost = make_attempt(started_at=at("2026-05-10T13:00"), **unknown)
    attempts = [
        first,
        make_attempt(call_id=first.id, attempt=1, cost=5 * CENT, started_at=at("2026-05-11T12:00")),
        make_attempt(call_id=first.id, attempt=2, cost=6 * CENT, started_at=at("2026-05-12T12:00")),
        lost,
        make_attempt(call_id=lost.id, attempt=1, cost=7 * CENT, started_at=at("2026-05-11T13:00")),
        make_attempt(cost=1 * CENT, started_at=at("2026-05-11T13:00")),
    ]
    fill(url, *attempts)
    return attempts


PAID_TWICE = ["--columns", "paid_twice,paid_twice_cost,paid_twice_at_risk,retry_cost"]


def test_what_was_paid_twice_counts_with_the_later_attempt_of_the_call(ledger_url: str) -> None:
    calls_of_two(ledger_url)
    assert {
        "paid_twice_calls": 1,
        "paid_twice_usd": "0.11",
        "paid_twice_at_risk_usd": "0.03",
        "retry_cost_usd": "0.18",
    } == report(ledger_url, *MAY, *PAID_TWICE)["total"]
    by_day = report(ledger_url, *MAY, *PAID_TWICE, "--by", "day")["rows"]
    assert [("2026-05-10", 0, "0", "0"), ("2026-05-11", 1, "0.05", "0.03"), ("2026-05-12", 0, "0.06", "0")] == [
        (row["day"], row["paid_twice_calls"], row["paid_twice_usd"], row["paid_twice_at_risk_usd"]) for row in by_day
    ]
    (row,) = csv.DictReader(io.StringIO(run(ledger_url, "report", "--format", "csv", *MAY, *PAID_TWICE).stdout))
    assert ("1", "0.11", "0.03") == (row["paid_twice_calls"], row["paid_twice_usd"], row["paid_twice_at_risk_usd"])
    assert "1 $0.1100 $0.0300 $0.1800" in " ".join(run(ledger_url, "report", *MAY, *PAID_TWICE).stdout.split())


def test_the_most_expensive_calls_and_attempts_are_listed(ledger_url: str) -> None:
    attempts = calls_of_two(ledger_url)
    found = report(ledger_url, "--by", "call", "--top", "2", *MAY)
    assert [(attempts[0].id, "0.15"), (attempts[3].id, "0.07"), ("(others)", "0.01")] == costs(found, "call")
    listed = json.loads(run(ledger_url, "calls", "--sort", "cost", "--format", "json").stdout)
    assert ["0.07", "0.06", "0.05", "0.04", "0.01", None] == [one["cost_usd"] for one in listed]
    refused = run(ledger_url, "calls", "--sort", "cost", "--follow")
    assert (2, True) == (refused.exit_code, "leave out --sort cost" in refused.stderr)


def test_what_a_megapixel_costs_is_counted_over_what_was_delivered(ledger_url: str) -> None:
    fill(
        ledger_url,
        make_attempt(cost=4 * CENT, images=2, size="1000x1000"),
        make_attempt(cost=4 * CENT, images=1, size="2000x1000"),
        make_attempt(cost=9 * CENT, images=1, size="mixed"),
        make_attempt(cost=None, images=1, size="1000x1000"),
        make_attempt(cost=None, images=1, size=None, model="none"),
    )
    rows = report(ledger_url, *MAY, "--columns", "cost_per_megapixel")["rows"]
    assert ["0.02", None] == [row["cost_per_megapixel_usd"] for row in rows]


def test_a_change_is_against_as_long_a_time_before(ledger_url: str) -> None:
    amounts = {"up": (2, 3), "down": (4, 1), "gone": (1, 0), "new": (0, 2), "lost": (1, None)}
    fill(
        ledger_url,
        *(
            make_attempt(
                model=model, cost=None if cents is None else cents * CENT, started_at=at(f"2026-05-{day}T12:00")
            )
            for model, both in amounts.items()
            for day, cents in zip((10, 12), both, strict=True)
            if cents != 0
        ),
    )
    asked = ["--since", "2026-05-12", "--until", "2026-05-14", "--columns", "cost,before,change"]
    found = report(ledger_url, *asked)
    assert {"up": 0.5, "down": -0.75, "gone": -1.0, "new": None, "lost": None} == {
        row["model"]: row["change"] for row in found["rows"]
    }
    assert ("0.06", "0.08", -0.25) == tuple(found["total"][name] for name in ("cost_usd", "cost_before_usd", "change"))
    table = " ".join(run(ledger_url, "report", *asked).stdout.split())
    assert "up $0.0300 $0.0200 +50.0 %" in table
    assert "new $0.0200 $0.0000 new" in table
    assert "lost unknown $0.0100 unknown" in table
    assert "Before: 2026-05-10T00:00:00Z to 2026-05-12T00:00:00Z." in table
    refused = run(ledger_url, "report", *asked, "--by", "day")
    assert (2, True) == (refused.exit_code, "leave day out" in refused.stderr)


def test_of_a_period_that_goes_on_there_is_a_forecast_and_the_change_is_against_the_same_part_of_the_one_before(
    ledger_url: str,
) -> None:
    now = time.time_ns() // 1000
    today = now - now % DAY
    fill(
        ledger_url,
        make_attempt(cost=2 * CENT, started_at=today),
        make_attempt(cost=1 * CENT, started_at=today - DAY),
        make_attempt(cost=5 * CENT, started_at=today - 1),
    )
    found = report(ledger_url, "--since", "today", "--columns", "cost,change")
    assert (["cost_usd", "until"], 1.0) == (sorted(found["forecast"]), found["total"]["change"])
    assert float(found["forecast"]["cost_usd"]) >= 0.02
    assert "Forecast: $" in run(ledger_url, "report", "--since", "today").stdout
    for other in (["--since", "1d"], ["--since", "today", "--until", "1m"]):
        assert "forecast" not in report(ledger_url, *other)


def test_hours_are_those_of_the_clocks_of_a_zone(ledger_url: str) -> None:
    moments = ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]
    fill(ledger_url, *(make_attempt(cost=CENT, started_at=at(moment)) for moment in moments))
    asked = ["--since", "2026-10-24", "--until", "2026-10-27", "--by", "hour", "--tz", "Europe/Berlin"]
    assert [
        ("2026-10-25T02:00+02:00", "0.01"),
        ("2026-10-25T02:00+01:00", "0.01"),
        ("2026-10-25T03:00+01:00", "0.01"),
    ] == costs(report(ledger_url, *asked), "hour")


def test_a_list_of_all_tags_says_that_its_rows_overlap_and_rows_of_one_do_not(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(tags='{"env":"prod","team":"a"}', cost=CENT), make_attempt(tags="{}", cost=CENT))
    assert "these rows overlap" in run(ledger_url, "report", "--tags", *MAY).stdout
    found = report(ledger_url, "--by", "tag:team", *MAY)
    assert {("a", "0.01"), (None, "0.01")} == set(costs(found, "tag:team"))
    assert "(none)" in run(ledger_url, "report", "--by", "tag:team", *MAY).stdout


@pytest.mark.parametrize("only", [(), ("--model", "of-early-may")], ids=["everything", "what was rare of late"])
def test_how_long_a_report_takes_is_known_where_nothing_was_called_of_late(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...]
) -> None:
    early = [make_attempt(started_at=at("2026-05-02T12:00") + number, model="of-early-may") for number in range(50)]
    late = [make_attempt(started_at=at("2026-05-10T12:00") + number) for number in range(50)]
    fill(ledger_url, *early, *late)
    monkeypatch.setattr("pixelmeter.reports.report._WORTH_SAYING", 50)
    monkeypatch.setattr("pixelmeter.reports.report._SAMPLE", 1)
    monkeypatch.setattr("pixelmeter.cli.report._WORTH_SAYING_SECONDS", 0)
    said = run(ledger_url, "report", "--by", "call", "--format", "json", *only, *MAY)
    # Those that a filter leaves out are read as well.
    assert "about 100 attempts are read" in said.stderr


@pytest.mark.parametrize("by", ["call", "tag:team"])
def test_a_report_that_reads_many_attempts_says_first_how_long_that_takes(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    fill(sqlite_url, *(make_attempt(started_at=at("2026-05-10T12:00") + number) for number in range(50)))
    assert "" == run(sqlite_url, "report", "--by", by, *MAY).stderr
    monkeypatch.setattr("pixelmeter.reports.report._WORTH_SAYING", 50)
    monkeypatch.setattr("pixelmeter.cli.report._WORTH_SAYING_SECONDS", 0)
    said = run(sqlite_url, "report", "--by", by, "--format", "json", *MAY)
    # A tag has a rollup.
    assert ("No rollup has this: about 50 attempts are read" in said.stderr) == (by == "call")
    assert 50 == json.loads(said.stdout)["total"]["attempts"]
