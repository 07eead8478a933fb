"""What `pixelmeter reconcile` shows, asks, writes and ends with."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.statements import latest_reconciliations
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reconcile import service
from pixelmeter.testing import Gateway
from tests.cli.terminal import opened, written
from tests.factories import make_attempt
from tests.ledger.reading import adjusted, adjustments
from tests.reconcile.example import make_month

COLUMNS = "id=request,time=created,model=model,amount=cents,unit=cents,status=result"
CLASSES = ["equal", "differs", "unsettled", "only_ours", "only_theirs", "too_young"]
LOST = "019e6e5c-2260-7000-8000-000000000007"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the month of the page's example."""
    make_month(tmp_path)
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", f"sqlite:///{tmp_path}/pixelmeter.db")
    for name in ("PIXELMETER_USAGE_KEYS", "AIGATEWAY_API_KEY", "LITELLM_API_KEY", "LITELLM_MASTER_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str, gateway: str = "aigateway", month: str = "2026-05") -> Result:
    return CliRunner().invoke(main, ["reconcile", "--gateway", gateway, "--month", month, *arguments])


def of_file(folder: Path, *arguments: str, columns: str = COLUMNS) -> Result:
    return run("--file", str(folder / "may.csv"), "--columns", columns, *arguments)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/pixelmeter.db"


def document(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_has_exact_amounts_and_null_where_a_side_has_none(folder: Path) -> None:
    result = of_file(folder, "--dry-run", "--format", "json", "--show", "unsettled", "--show", "only_theirs")
    found = document(result)
    assert 3 == result.exit_code
    assert ("aigateway", "csv", "2026-05", 945_691, 1) == tuple(
        found[name] for name in ("gateway", "source", "month", "coverage_ppm", "to_settle")
    )
    assert ("0.2762", "0.25344", "0.2612", "-0.00776") == tuple(
        found[name] for name in ("theirs_usd", "ours_usd", "matched_usd", "drift_usd")
    )
    classes = {row["class"]: row for row in found["classes"]}
    assert CLASSES == list(classes)
    assert (1, "0.04224", None, None) == tuple(
        classes["unsettled"][name] for name in ("matches", "theirs_usd", "ours_usd", "difference_usd")
    )
    assert (None, "0.04224") == (classes["only_ours"]["theirs_usd"], classes["only_ours"]["ours_usd"])
    lost, strange = found["items"]
    assert ("time", "req_7", LOST, None) == (lost["by"], lost["statement"], lost["attempt"], lost["ours_usd"])
    assert ("only_theirs", "req_a", None, "0.015") == (
        strange["class"], strange["statement"], strange["attempt"], strange["theirs_usd"]
    )  # fmt: skip


def test_csv_has_the_classes_or_what_is_in_them(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(of_file(folder, "--dry-run", "--format", "csv").stdout)))
    assert CLASSES == [row["class"] for row in rows]
    result = of_file(folder, "--dry-run", "--format", "csv", "--show", "equal")
    items = list(csv.DictReader(io.StringIO(result.stdout)))
    assert ["0.04224"] * 4 == [row["theirs_usd"] for row in items]
    assert "of what they charged is ours" in result.stderr


def test_a_dry_run_leaves_the_ledger_as_it_was(folder: Path) -> None:
    assert "1 attempt can be settled, for $0.0422" in of_file(folder, "--dry-run", "--yes").stdout
    with reading_ledger(url_of(folder)) as reader:
        assert [] == latest_reconciliations(reader)
        assert [(0,)] == reader.rows("SELECT count(*) FROM pixelmeter_statements")
        assert [(0,)] == reader.rows("SELECT count(*) FROM pixelmeter_statement_reads")
    assert [] == adjustments(url_of(folder))


def test_where_nobody_can_answer_nothing_is_adjusted_without_yes(folder: Path) -> None:
    result = of_file(folder)
    assert (3, "Nothing was adjusted: run it again with --yes.\n") == (result.exit_code, result.stderr)
    assert [] == adjustments(url_of(folder))
    with reading_ledger(url_of(folder)) as reader:
        assert [] == latest_reconciliations(reader)
        assert [(7,)] == reader.rows("SELECT count(*) FROM pixelmeter_statements")


def test_what_is_settled_and_accepted_is_closed_and_the_rest_stays_open(folder: Path) -> None:
    settled = of_file(folder, "--yes", "--by", "anna")
    assert (3, True) == (settled.exit_code, "1 attempt adjusted" in settled.stdout)
    assert 42_240_000 == adjusted(url_of(folder))[LOST].cost
    accepted = of_file(folder, "--yes", "--accept", "--format", "json")
    assert (3, "1 attempt adjusted\n") == (accepted.exit_code, accepted.stderr)
    assert (1, 0) == (document(accepted)["adjusted"], document(accepted)["settled_meanwhile"])
    assert 2 == len(adjustments(url_of(folder)))
    again = document(of_file(folder, "--yes", "--accept", "--format", "json"))
    assert [5 + 1, 0, 0, 1, 1, 0] == [row["matches"] or row["attempts"] + row["statements"] for row in again["classes"]]
    with reading_ledger(url_of(folder)) as reader:
        [kept] = latest_reconciliations(reader)
    assert (2, 6, 0, 1, 1) == (kept.number, kept.equal, kept.differs, kept.only_ours, kept.only_theirs)


def test_it_ends_with_0_where_nothing_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = url_of(tmp_path)
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", url)
    with closing(open_writer(url)) as writer:
        writer.write([make_attempt(request_id="r")], {}, [])
    (tmp_path / "may.csv").write_text(
        "request,created,model,cents,result\n"
        "r,2026-05-28T20:26:40Z,gpt-image-2,4.224,ok\n"
        "x,2026-05-28T20:26:41Z,gpt-image-2,0,error\n"
    )
    result = of_file(tmp_path)
    assert (0, "") == (result.exit_code, result.stderr), result.output
    assert "100.00 % of what they charged is ours; what matches differs by $0.0000" in result.stdout
    with (tmp_path / "may.csv").open("a") as file:
        file.write("y,yesterday,gpt-image-2,1,ok\n")
    unreadable = of_file(tmp_path)
    assert 3 == unreadable.exit_code
    assert "line 4" in unreadable.stdout


def test_what_a_complete_report_does_not_have_was_not_billed(folder: Path) -> None:
    lines = (folder / "may.csv").read_text().splitlines()
    kept = [*(line for line in lines if "req_7" not in line), "req_6,2026-05-28T13:00:00Z,gpt-image-2,4.224,success",
            "req_9,2026-05-28T13:30:00Z,gpt-image-2,4.224,success"]  # fmt: skip
    (folder / "may.csv").write_text("\n".join(kept) + "\n")
    with closing(open_writer(url_of(folder))) as writer:
        writer.write([make_attempt(request_id="req_9", started_at=1_779_975_000_000_000)], {}, [])
    of_file(folder, "--yes")
    assert None is adjusted(url_of(folder))[LOST].cost
    of_file(folder, "--yes", "--complete")
    now = adjusted(url_of(folder))[LOST]
    assert ("not_billed", 0, "not_on_statement") == (now.billing, now.cost, now.cost_reason)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--month", "2026-13"], "not a month"),
        (["--file", "nowhere.csv", "--columns", "time=a,amount=b"], "nowhere.csv"),
        (["--file", "may.csv"], "time=COLUMN"),
        (["--source", "nothing"], "it has aigateway_recent"),
        (["--columns", "id=a"], "describe a --file"),
        (["--columns", "id"], "write id=COLUMN"),
        (["--file", "f", "--source", "s"], "two reports"),
        (["--file", "f", "--columns", "time=a"], "says nothing of amounts"),
        (["--lag", "soon"], "write 120s, 30m, 24h or 2d"),
        (["--gateway", "nobody"], "name it with --file"),
        (["--gateway", "litellm"], "--base-url"),
        (["--gateway", "openai", "--source", "openai_images"], "key"),
        ([], "AIGATEWAY_API_KEY"),
        (["--database-url", "sqlite:////nowhere/ledger.db"], "ledger"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_done_is_no_difference(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr


@pytest.mark.usefixtures("folder")
def test_a_gateway_is_asked_with_the_key_of_the_environment_which_is_shown_nowhere(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMETER_USAGE_KEYS", "aigateway=sk-aig-swordfish")
    now = time.strftime("%Y-%m", time.gmtime())
    result = run("--base-url", gateway.root, "--format", "json", month=now)
    assert (0, []) == (result.exit_code, document(result)["items"])
    gateway.tell(status=401, match={"path": "/*"})
    refused = run("--base-url", gateway.root, month=now)
    assert (1, True) == (refused.exit_code, "the key is not accepted" in refused.stderr)
    assert "swordfish" not in result.output + refused.output


@pytest.mark.usefixtures("folder")
def test_a_key_that_anybody_on_the_way_can_read_is_warned_of_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMETER_USAGE_KEYS", "aigateway=sk-aig-swordfish")
    # A proxy stands for the network between.
    monkeypatch.setenv("http_proxy", gateway.root)
    monkeypatch.delenv("no_proxy", raising=False)
    now = time.strftime("%Y-%m", time.gmtime())
    result = run("--base-url", "http://usage.example:8080", "--format", "json", month=now)
    warning = "Warning: the key goes to usage.example over http://, where others on the way can read it: use https://\n"
    assert (0, warning) == (result.exit_code, result.stderr), result.output
    assert "swordfish" not in result.output
    monkeypatch.delenv("http_proxy")
    for here in (gateway.root, gateway.root.replace("127.0.0.1", "localhost")):
        assert (0, "") == ((told := run("--base-url", here, month=now)).exit_code, told.stderr)


@pytest.mark.parametrize("format", ["table", "json"])
def test_a_run_that_comes_too_late_says_so_and_ends_as_if_it_had_run_afterwards(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(tmp_path)
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", url)
    with closing(open_writer(url)) as writer:
        lost = {"cost": None, "billing": "unknown", "outcome": "timeout", "status": None, "at_risk": 1}
        writer.write([make_attempt(request_id="r", **lost)], {}, [])
    (tmp_path / "may.csv").write_text(
        "request,created,model,cents,result\nr,2026-05-28T20:26:40Z,gpt-image-2,4.224,ok\n"
    )
    apply = service.apply

    def overtaken(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(service, "apply", apply)
        assert 0 == of_file(tmp_path, "--yes").exit_code
        return apply(*arguments, **named)

    monkeypatch.setattr(service, "apply", overtaken)
    late = of_file(tmp_path, "--yes", "--format", format)
    said = "0 attempts adjusted\n1 attempt settled by another run meanwhile\n"
    assert 0 == late.exit_code, late.output
    assert (late.stdout if format == "table" else late.stderr).endswith(said)
    assert 1 == len(adjustments(url))
    if format == "json":
        afterwards = document(of_file(tmp_path, "--yes", "--format", "json"))
        assert {**afterwards, "settled_meanwhile": 1} == document(late)
        assert (0, 0) == (afterwards["to_settle"], afterwards["adjusted"])


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "billing"), [("y", "billed"), ("n", "unknown")])
def test_on_a_terminal_it_asks_and_shows_how_far_it_is(folder: Path, answer: str, billing: str) -> None:
    asked = ["--gateway", "aigateway", "--month", "2026-05", "--file", str(folder / "may.csv"), "--columns", COLUMNS]
    with opened(100) as (reader, writer):
        command = [sys.executable, "-m", "pixelmeter", "reconcile", *asked, "--show", "differs"]
        with subprocess.Popen(command, stdin=writer, stdout=writer, stderr=writer) as process:
            os.close(writer)
            os.write(reader, f"{answer}\n".encode())
            screen = written(reader)
            assert 3 == process.wait()
    assert "page 1, 7 rows" in screen
    assert "Adjust 1 attempt? [y/N]" in screen
    assert ("1 attempt adjusted" in screen) is (answer == "y")
    assert "attempt 019e6e5c-2260-7000-8000-000000000005, statement req_5: by request id" in screen
    assert billing == adjusted(url_of(folder))[LOST].billing
