from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt

MAY = ["--since", "2026-05-01", "--until", "2026-06-01"]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1_000_000


def fill(url: str, *attempts: Attempt) -> None:
    writer = open_writer(url)
    writer.write(attempts, {}, [])
    writer.close()


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", "--database-url", url, *arguments])


def report(url: str, *arguments: str) -> dict[str, Any]:
    result = run(url, "--format", "json", *arguments)
    assert 0 == result.exit_code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def rows(url: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = report(url, *arguments)["rows"]
    return found


def test_json_is_exactly_the_documented_shape(ledger_url: str) -> None:
    unknown = make_attempt(
        model="meta/sam-3-1-image",
        cost=None,
        fee=None,
        at_risk=10_000_000,
        images=None,
        outcome="timeout",
        billing="unknown",
        attempt=1,
    )
    priced = make_attempt(model="meta/sam-3-1-image", cost=10_000_000, duration=1_000_000)
    fill(ledger_url, unknown, priced)
    found = report(ledger_url, "--by", "model,day,tag:team", *MAY)
    sums = {
        "calls": 1,
        "attempts": 2,
        "images": 1,
        "errors": 1,
        "cost_usd": "0.01",
        "at_risk_usd": "0.01",
        "unknown_cost_attempts": 1,
        "p50_seconds": 1.002,
        "p95_seconds": 8.158,
    }
    row = {"model": "meta/sam-3-1-image", "day": "2026-05-28", "tag:team": "growth", **sums}
    expected = {"since": "2026-05-01T00:00:00Z", "until": "2026-06-01T00:00:00Z", "rows": [row], "total": sums}
    assert expected == found
    assert list(row) == list(found["rows"][0])


UNKNOWN = {"cost": None, "fee": None, "images": None, "outcome": "timeout", "billing": "unknown"}


@pytest.mark.parametrize("by", ["model", "model,tag:team"], ids=["rollup", "rows"])
def test_json_has_null_where_nothing_is_known_and_zero_where_it_is_known_to_be_nothing(
    ledger_url: str, by: str
) -> None:
    fill(
        ledger_url,
        make_attempt(model="unpriced", cost=None, fee=None, cost_reason="no_price"),
        make_attempt(model="lost", **UNKNOWN),
        make_attempt(model="estimated", **UNKNOWN, at_risk=10_000_000),
        make_attempt(model="refused", cost=0, fee=0, outcome="rejected", billing="not_billed"),
        make_attempt(model="refused and lost", cost=0, fee=0, outcome="rejected", billing="not_billed"),
        make_attempt(model="refused and lost", **UNKNOWN),
    )
    found = rows(ledger_url, "--by", by, *MAY)
    assert {
        "unpriced": (None, "0"),
        "lost": (None, None),
        "estimated": (None, "0.01"),
        "refused": ("0", "0"),
        "refused and lost": (None, None),
    } == {row["model"]: (row["cost_usd"], row["at_risk_usd"]) for row in found}
    fees = {row["model"]: row["fee_usd"] for row in rows(ledger_url, "--by", by, "--with-fees", *MAY)}
    assert {"refused": "0"} == {model: fee for model, fee in fees.items() if fee is not None}
    total = report(ledger_url, "--by", by, *MAY)["total"]
    assert (None, "0.01", 4) == tuple(total[key] for key in ("cost_usd", "at_risk_usd", "unknown_cost_attempts"))


@pytest.mark.parametrize("by", ["model", "tag:team"], ids=["rollup", "rows"])
def test_csv_is_empty_where_nothing_is_known(ledger_url: str, by: str) -> None:
    fill(ledger_url, make_attempt(**UNKNOWN))
    (row,) = csv.DictReader(io.StringIO(run(ledger_url, "--format", "csv", "--by", by, *MAY).stdout))
    assert ("", "", "1") == (row["cost_usd"], row["at_risk_usd"], row["unknown_cost_attempts"])


def test_a_report_of_nothing_costs_nothing(ledger_url: str) -> None:
    fill(ledger_url)
    total = report(ledger_url)["total"]
    assert ("0", "0") == (total["cost_usd"], total["at_risk_usd"])


def test_the_money_of_images_of_retries_and_of_failures_are_columns(ledger_url: str) -> None:
    fill(
        ledger_url,
        make_attempt(cost=40_000_000, images=4),
        make_attempt(cost=30_000_000, images=None, outcome="error"),
        make_attempt(cost=20_000_000, images=2, attempt=1),
        make_attempt(cost=10_000_000, images=None, outcome="timeout", attempt=2),
        make_attempt(cost=None, images=100),
    )
    columns = ["--columns", "failure_cost,cost_per_image,retry_cost"]
    sums = {"failure_cost_usd": "0.04", "cost_per_image_usd": "0.016666667", "retry_cost_usd": "0.03"}
    found = report(ledger_url, *MAY, *columns)
    assert ([{"model": "openai/gpt-image-2", **sums}], sums) == (found["rows"], found["total"])
    assert ["model", *sums] == list(found["rows"][0])
    (row,) = csv.DictReader(io.StringIO(run(ledger_url, "--format", "csv", *MAY, *columns).stdout))
    assert {"model": "openai/gpt-image-2", **sums} == row
    heading, _, line, *_ = run(ledger_url, *MAY, *columns).stdout.splitlines()[1:]
    assert "model failure cost cost per image retry cost" == " ".join(heading.split())
    assert "openai/gpt-image-2 $0.0400 $0.0167 $0.0300" == " ".join(line.split())


def test_the_money_of_retries_and_failures_of_unknown_cost_is_not_known(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(cost=5), make_attempt(**UNKNOWN, attempt=1))
    total = report(ledger_url, *MAY, "--columns", "cost,cost_per_image,retry_cost,failure_cost")["total"]
    assert {
        "cost_usd": "0.000000005",
        "cost_per_image_usd": "0.000000005",
        "retry_cost_usd": None,
        "failure_cost_usd": None,
    } == total
    table = run(ledger_url, *MAY, "--columns", "retry_cost,failure_cost").stdout
    assert 4 == table.partition("At risk")[0].count(" unknown")


def test_savings_are_what_the_gateway_says_of_the_attempts_that_it_routed(ledger_url: str) -> None:
    routed = {"baseline_model": "b", "baseline_cost": 40_000_000, "route_fee": 100_000}
    fill(
        ledger_url,
        make_attempt(model="chosen", cost=800_000, savings=39_100_000, **routed),
        make_attempt(model="chosen", cost=50_000_000, savings=-10_100_000, **routed),
        make_attempt(model="chosen", cost=800_000, **routed),
        make_attempt(model="named", cost=1_000_000),
    )
    sums = {"cost_usd": "0.0526", "baseline_usd": "0.12", "route_fee_usd": "0.0003", "savings_usd": "0.029"}
    columns = ["--savings", "--columns", "cost", *MAY]
    found = report(ledger_url, *columns)
    assert found["total"] == sums
    unknown = {"cost_usd": "0.001", "baseline_usd": None, "route_fee_usd": None, "savings_usd": None}
    assert [{"model": "chosen", **sums, "cost_usd": "0.0516"}, {"model": "named", **unknown}] == found["rows"]
    (chosen, named) = csv.DictReader(io.StringIO(run(ledger_url, "--format", "csv", *columns).stdout))
    assert ("0.029", "") == (chosen["savings_usd"], named["savings_usd"])
    table = run(ledger_url, *columns).stdout
    assert ["cost", "baseline", "route", "fee", "savings"] == table.splitlines()[1].split()[1:]
    assert "chosen $0.0516 $0.1200 $0.0003 $0.0290" in " ".join(table.split())
    assert "total $0.0526 $0.1200 $0.0003 $0.0290" in " ".join(table.split())
    assert "The gateway does not say the savings of 1 of 3 routed attempts." in table


def test_savings_come_after_all_other_columns(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt())
    added = ["baseline_usd", "route_fee_usd", "savings_usd"]
    plain, more = rows(sqlite_url, *MAY)[0], rows(sqlite_url, *MAY, "--savings", "--with-fees")[0]
    assert [*(name for name in more if name in plain), *added] == [name for name in more if name != "fee_usd"]
    assert ["model", "savings_usd", "baseline_usd", "route_fee_usd"] == list(
        rows(sqlite_url, *MAY, "--columns", "savings", "--savings")[0]
    )


def test_fees_come_after_the_columns_that_are_chosen(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt())
    assert ["model", "cost_usd", "fee_usd"] == list(rows(sqlite_url, *MAY, "--columns", "cost", "--with-fees")[0])
    assert ["model", "fee_usd", "p50_seconds"] == list(rows(sqlite_url, *MAY, "--columns", "fee,p50", "--with-fees")[0])


def test_tags_are_listed_with_their_attempts_and_values(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(tags='{"team":"a"}'), make_attempt(tags='{"customer":"x","team":"b"}'))
    result = run(ledger_url, "--tags", "--format", "json", *MAY)
    expected = [{"tag": "team", "attempts": 2, "values": 2}, {"tag": "customer", "attempts": 1, "values": 1}]
    assert expected == json.loads(result.stdout)
    assert "customer         1       1" in run(ledger_url, "--tags", *MAY).stdout
    assert '"team",2,2\n' in run(ledger_url, "--tags", "--format", "csv", *MAY).stdout
    nothing = run(ledger_url, "--tags", "--since", "2026-01", "--until", "2026-02").stdout
    assert "No attempt has a tag from 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z" in nothing


def test_a_month_is_asked_for_by_its_name(ledger_url: str) -> None:
    moments = ["2026-04-30T21:59:59+00:00", "2026-04-30T22:00:00+00:00", "2026-05-31T21:59:59+00:00",
               "2026-05-31T22:00:00+00:00"]  # fmt: skip
    fill(ledger_url, *(make_attempt(started_at=at(moment)) for moment in moments))
    found = report(ledger_url, "--since", "2026-05", "--until", "2026-06", "--tz", "Europe/Berlin")
    assert (2, "2026-04-30T22:00:00Z", "2026-05-31T22:00:00Z") == (
        found["total"]["attempts"], found["since"], found["until"]
    )  # fmt: skip
    assert 4 == report(ledger_url, "--since", "2026", "--until", "2027")["total"]["attempts"]


def test_the_range_is_told_in_the_zone_asked_for(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt())
    berlin = ["--tz", "Europe/Berlin", "--since", "2026-03-01", "--until"]
    heading = run(sqlite_url, *berlin, "2026-06-01").stdout.splitlines()[0]
    assert "2026-03-01T00:00:00+01:00 to 2026-06-01T00:00:00+02:00, known cost in USD" == heading
    nothing = run(sqlite_url, *berlin, "2026-03-02").stdout
    assert "Nothing fits between 2026-03-01T00:00:00+01:00 and 2026-03-02T00:00:00+01:00" in nothing


def test_a_known_gateway_by_another_name_is_named_with_what_to_set(sqlite_url: str) -> None:
    def unpriced(gateway: str, model: str) -> Attempt:
        return make_attempt(gateway=gateway, model=model, cost=None, cost_reason="no_price")

    fill(
        sqlite_url,
        unpriced("127.0.0.1:8080", "meta/sam-3-1-image"),
        unpriced("10.0.0.1", "nobody/knows-this"),
        unpriced("aigateway", "meta/sam-3-1-image-of-tomorrow"),
    )
    said = run(sqlite_url, *MAY).stdout
    assert "3 attempts of 3 models have no price" in said
    hint = "get a price from then on with PIXELMETER_GATEWAYS=127.0.0.1:8080=aigateway"
    assert "127.0.0.1:8080 is no gateway that pixelmeter knows. If it is aigateway by another name" in said
    assert f"calls of meta/sam-3-1-image {hint}" in said
    assert "10.0.0.1 is" not in said


def test_a_gateway_that_has_been_given_its_profile_needs_no_hint(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_url, make_attempt(gateway="10.0.0.1", model="meta/sam-3-1-image", cost=None, cost_reason="no_price"))
    assert "PIXELMETER_GATEWAYS" in run(sqlite_url, *MAY).stdout
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "10.0.0.1=aigateway")
    assert "PIXELMETER_GATEWAYS" not in run(sqlite_url, *MAY).stdout


def test_the_last_thirty_days_are_the_default(sqlite_url: str) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(0), timedelta(days=29, hours=23), timedelta(days=30, hours=1)]
    fill(sqlite_url, *(make_attempt(started_at=int((now - age).timestamp() * 1e6)) for age in ages))
    assert 2 == report(sqlite_url)["total"]["attempts"]
    assert 1 == report(sqlite_url, "--since", "5w", "--until", "30d")["total"]["attempts"]
    assert 1 == report(sqlite_url, "--since", "24h")["total"]["attempts"]


def test_days_are_those_of_the_zone_asked_for(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=at("2026-05-10T18:14:59+00:00")))
    fill(ledger_url, make_attempt(started_at=at("2026-05-10T18:15:00+00:00")))
    days = [(row["day"], row["attempts"]) for row in rows(ledger_url, "--by", "day", "--tz", "Asia/Kathmandu", *MAY)]
    assert [("2026-05-10", 1), ("2026-05-11", 1)] == days
    assert [2] == [row["attempts"] for row in rows(ledger_url, "--by", "day", *MAY)]
    since = report(ledger_url, "--tz", "Asia/Kathmandu", *MAY)["since"]
    assert "2026-04-30T18:15:00Z" == since


def test_filters_leave_only_what_they_name(ledger_url: str) -> None:
    wanted = make_attempt(model="a/x", gateway="g", operation="edit", outcome="error", tags='{"team":"core"}')
    fill(ledger_url, wanted, make_attempt(model="a/y"), make_attempt(model="b"))
    for filters in (
        ["--model", "a/x"], ["--gateway", "g"], ["--operation", "edit"], ["--outcome", "error"], ["--tag", "team=core"]
    ):  # fmt: skip
        assert ["a/x"] == [row["model"] for row in rows(ledger_url, *MAY, *filters)], filters
    assert 2 == report(ledger_url, *MAY, "--model", "a/*")["total"]["attempts"]


def test_fees_are_shown_when_asked_for(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(cost=10_000_000, fee=500_000))
    assert "0.0005" == report(sqlite_url, "--with-fees", *MAY)["total"]["fee_usd"]
    assert "fee" not in run(sqlite_url, *MAY).stdout
    assert "$0.0005" in run(sqlite_url, "--with-fees", *MAY).stdout


def test_the_table_shows_known_sums_and_says_what_they_leave_out(sqlite_url: str) -> None:
    fill(
        sqlite_url,
        make_attempt(model="a/b", started_at=at("2026-05-10T12:00:00+00:00"), cost=1_500_000_000_000),
        make_attempt(model="c\x1b[31m/d", started_at=at("2026-05-12T12:00:00+00:00"), cost=500_000_000_000),
        *(make_attempt(model="foo/bar", cost=None, cost_reason="no_price") for _ in range(3)),
        make_attempt(model="a/b", cost=None, cost_reason="outcome_unknown", at_risk=40_000_000),
    )
    lines = [" ".join(line.split()) for line in run(sqlite_url, *MAY).stdout.splitlines()]
    assert "2026-05-01T00:00:00Z to 2026-06-01T00:00:00Z, known cost in USD" == lines[0]
    assert "a/b 2 2 2 0 $1,500.0000 75.0 % $0.0400 1 8.2 s 8.2 s" in lines
    assert "c/d 1 1 1 0 $500.0000 25.0 % 8.2 s 8.2 s" in lines
    assert "total 6 6 6 0 $2,000.0000 100.0 % $0.0400 4 8.2 s 8.2 s" in lines
    history = "By day: 2026-05-10 █▁▄▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁? 2026-05-28, at most $1,500.0000"
    assert [
        history,
        "At risk: $0.0400 more may have been charged for attempts whose billing is unknown; the sums leave it out.",
        "4 attempts of unknown cost are not in the sums.",
        "3 attempts of 1 model have no price: foo/bar",
    ] == lines[-4:]


def test_the_table_needs_no_characters_that_the_terminal_lacks(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(model="日本"), make_attempt(started_at=at("2026-05-12T12:00:00+00:00")))
    done = subprocess.run(
        [sys.executable, "-m", "pixelmeter", "report", "--database-url", sqlite_url, *MAY],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert rb"\u65e5\u672c" in done.stdout
    assert b"By day" not in done.stdout


def test_csv_opens_as_numbers_and_never_as_a_formula(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(model="=1+1", cost=10_000_001))
    text = run(sqlite_url, "--format", "csv", "--by", "model,day", *MAY).stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert ("'=1+1", "2026-05-28", "0.010000001") == (row["model"], row["day"], row["cost_usd"])
    assert '"\'=1+1","2026-05-28",1,1,1,0,0.010000001,0,0,' in text


def test_csv_without_rows_is_its_header(sqlite_url: str) -> None:
    fill(sqlite_url)
    (header,) = run(sqlite_url, "--format", "csv", "--by", "day").stdout.splitlines()
    assert header.startswith('"day","calls","attempts"')


def test_an_empty_ledger_says_what_to_do(ledger_url: str) -> None:
    fill(ledger_url)
    result = run(ledger_url)
    assert 0 == result.exit_code
    assert "pixelmeter.instrument(client, meter)" in result.stdout
    assert [] == report(ledger_url)["rows"]


def test_a_range_without_attempts_says_so(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt())
    result = run(sqlite_url, "--since", "2026-01-01", "--until", "2026-02-01")
    assert "Nothing fits between 2026-01-01T00:00:00Z and 2026-02-01T00:00:00Z" in result.stdout


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    result = run(f"sqlite:///{path}")
    assert 1 == result.exit_code
    assert f"there is no ledger at {path} yet" in result.stderr.splitlines()[-1]
    assert [] == list(tmp_path.iterdir())


def test_a_file_that_is_not_a_ledger_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database, just a long enough line of text to be read as a header" * 10)
    result = run(f"sqlite:///{path}")
    assert (1, "Error:") == (result.exit_code, result.stderr.splitlines()[-1].split()[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "colour"], "'colour' is not a dimension: use model, hour, day"),
        (["--by", "model,team"], "for the tag of that name write tag:team"),
        (["--columns", "cost,price"], "'price' is not a column: use calls, attempts"),
        (["--since", "tomorrow"], "'tomorrow' is not a time: write a date"),
        (["--since", "this-month", "--until", "last-month"], "must be before --until"),
        (["--tz", "Mars/Olympus"], "'Mars/Olympus' is not a time zone"),
        (["--tz", "../../etc/passwd"], "is not a time zone"),
        (["--since", "1d", "--until", "2d"], "must be before --until"),
        (["--tag", "team"], "'team' is not a tag: write KEY=VALUE"),
        (["--outcome", "bad"], "'success', 'error'"),
        (["--format", "xml"], "'table', 'json', 'csv'"),
    ],
)
def test_bad_options_are_usage_errors_that_say_what_is_right(sqlite_url: str, arguments: list[str], said: str) -> None:
    result = run(sqlite_url, *arguments)
    assert 2 == result.exit_code
    assert said in result.stderr


def test_the_attempt_of_a_process_that_was_killed_is_in_the_next_report(sqlite_url: str) -> None:
    code = (
        "import os, signal, sys; from pixelmeter.spool import Spool; from pixelmeter.system import *;"
        "from tests.factories import make_attempt;"
        "spool = Spool(sys.argv[1], SystemFiles(), SystemIds());"
        "spool.intent(make_attempt(outcome='interrupted', billing='unknown', cost=None, fee=None, at_risk=40_000_000));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = f"{sqlite_url.removeprefix('sqlite:///')}.spool"
    dead = subprocess.run([sys.executable, "-c", code, folder], check=False)
    found = rows(sqlite_url, "--by", "outcome", *MAY)
    assert (-9, "interrupted", "0.04") == (dead.returncode, found[0]["outcome"], found[0]["at_risk_usd"])


def test_a_spool_that_cannot_be_read_is_only_warned_of(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(sqlite_url, make_attempt())
    monkeypatch.setenv("PIXELMETER_SPOOL_DIR", sqlite_url.removeprefix("sqlite:///"))
    result = run(sqlite_url, *MAY)
    assert 0 == result.exit_code
    assert "Warning: attempts of processes that died may be missing" in result.stderr


def test_a_spool_file_that_cannot_be_had_keeps_no_other_from_the_report(sqlite_url: str) -> None:
    folder = Path(f"{sqlite_url.removeprefix('sqlite:///')}.spool")
    spool = Spool(str(folder), SystemFiles(), SystemIds())
    spool.outcome(make_attempt())
    spool.forget()
    (folder / "00000000-0000-7000-8000-000000000000-000001.spool").mkdir()

    assert 1 == rows(sqlite_url, *MAY)[0]["attempts"]
    assert ["00000000-0000-7000-8000-000000000000-000001.spool"] == os.listdir(folder)
