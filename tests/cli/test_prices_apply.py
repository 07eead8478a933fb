"""What `pixelmeter prices apply` shows and writes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.adjustment import AdjustmentKind
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.queries import EVERYTHING
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports import repricing
from tests.cli.terminal import opened, written
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import stored

CORP = """
gateway = "corp.example"
[[price]]
model = "house/flux"
usd_per_image = "0.04"
effective_to = 2026-06-01
[[price]]
model = "house/flux"
usd_per_image = "0.05"
effective_from = 2026-06-01
[[price]]
model = "house/stepped"
usd_per_step = "0.001"
default_steps = 20
[[price]]
model = "house/chat"
usd_per_1m_input_text_tokens = "1"
usd_per_1m_output_image_tokens = "10"
"""


@pytest.fixture
def prices(tmp_path: Path) -> str:
    file = tmp_path / "own.toml"
    file.write_text(CORP)
    return str(file)


def unpriced(**fields: Any) -> Attempt:
    known: dict[str, Any] = {
        "gateway": "corp.example", "model": "house/flux", "requested_model": "house/flux", "cost": None, "fee": None,
        "cost_source": "none", "cost_reason": "no_price", "reported_cost": None, "token_cost": None, "price_id": None,
        "input_text_tokens": None, "input_image_tokens": None, "output_image_tokens": None,
    }  # fmt: skip
    return make_attempt(**(known | fields))


def fill(url: str, *records: Attempt | JobEnd) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(records, {}, [])


def run(url: str, *arguments: str) -> Result:
    result = CliRunner().invoke(
        main, ["prices", "apply", "--database-url", url, "--since", "2026-05", "--until", "2027", *arguments]
    )
    assert 0 == result.exit_code, result.output
    return result


def listed(url: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(main, ["calls", "--history", "--format", "json", "--database-url", url])
    return {one["id"]: one for one in json.loads(result.stdout)}


def test_what_had_no_price_gets_the_one_of_its_day_and_the_second_time_nothing_changes(
    ledger_url: str, prices: str
) -> None:
    may, june = unpriced(images=2), unpriced(started_at=STARTED_AT + 10 * 86_400_000_000, fee_rate=0)
    fill(ledger_url, may, june, unpriced(model="house/other", requested_model=None))

    first = run(ledger_url, "--prices", prices, "--yes")

    assert "2 attempts changed" in first.stdout
    assert "1 attempt stays unknown, no_price: house/other" in first.stdout
    found = listed(ledger_url)
    assert ("0.08", "priced", None, "0.004", "billed") == tuple(
        found[may.id][name] for name in ("cost_usd", "cost_source", "cost_reason", "fee_usd", "billing")
    )
    assert ("0.05", "0") == tuple(found[june.id][name] for name in ("cost_usd", "fee_usd"))
    [made] = found[may.id]["adjustments"]
    assert ("repriced", found[may.id]["price_id"]) == (made["kind"], made["source"])
    assert ["house/flux"] == [part["model"] for part in found[may.id]["priced_parts"]]
    assert stored(ledger_url)[may.id] == may
    again = run(ledger_url, "--prices", prices, "--yes")
    assert "No attempt of the range gets another price." in again.stdout
    assert [1, 1, 0] == sorted((len(one["adjustments"]) for one in listed(ledger_url).values()), reverse=True)


def test_it_only_shows_where_nobody_can_answer(ledger_url: str, prices: str) -> None:
    fill(ledger_url, unpriced(), unpriced(outcome="timeout", billing="unknown", cost_reason="outcome_unknown"))

    result = run(ledger_url, "--prices", prices)

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "gateway model attempts before after estimated at risk price ids" == lines[0]
    assert lines[2].startswith("corp.example house/flux 1 unknown $0.0400 1 $0.0400 own:corp.example:house/flux")
    assert "Nothing was changed: run it again with --yes.\n" == result.stderr
    run(ledger_url, "--prices", prices, "--yes", "--dry-run")
    assert [[], []] == [one["adjustments"] for one in listed(ledger_url).values()]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "is_changed"), [("y", True), ("n", False)])
def test_somebody_at_a_terminal_is_asked(sqlite_url: str, prices: str, answer: str, is_changed: bool) -> None:
    attempt = unpriced()
    fill(sqlite_url, attempt)
    with opened(100) as (reader, writer):
        command = [sys.executable, "-m", "pixelmeter", "prices", "apply", "--since", "2026-05", "--until", "2027",
                   "--prices", prices, "--database-url", sqlite_url]  # fmt: skip
        os.write(reader, f"{answer}\n".encode())
        with subprocess.Popen(command, stdin=writer, stdout=writer, stderr=writer) as process:
            assert 0 == process.wait(60)
        os.close(writer)
        screen = written(reader)
    assert "Write this to the ledger?" in screen
    assert is_changed == bool(listed(sqlite_url)[attempt.id]["adjustments"])


def test_what_is_at_risk_gets_an_estimate_and_no_cost(ledger_url: str, prices: str) -> None:
    lost = unpriced(
        outcome="timeout", billing="unknown", cost_reason="outcome_unknown", images=None, requested_images=3
    )
    promised = unpriced(outcome="pending", billing="pending", cost_reason="pending_job", images=None, job_id="j")
    known = unpriced(outcome="timeout", billing="unknown", cost_reason="outcome_unknown", at_risk=1)
    unread = unpriced(outcome="pending", billing="pending", cost_reason="unread_request", images=None, job_id="u")
    fill(ledger_url, lost, promised, known, unread)

    assert "2 attempts changed" in run(ledger_url, "--prices", prices, "--yes").stdout

    found = listed(ledger_url)
    assert [("0.12", None), ("0.04", None), ("0.000000001", None), (None, None)] == [
        (found[one.id]["at_risk_usd"], found[one.id]["cost_usd"]) for one in (lost, promised, known, unread)
    ]
    assert "price book" == found[lost.id]["adjustments"][0]["source"]


def test_what_others_have_settled_is_never_touched(ledger_url: str, prices: str) -> None:
    settled = [
        unpriced(cost=7, cost_source="reported", cost_reason=None),
        unpriced(cost=0, cost_reason="not_sent", billing="not_billed"),
        unpriced(cost_reason="not_decoded", billing="unknown", at_risk=0),
        unpriced(cost_reason="no_model"),
        unpriced(cost_reason="unpriced_tokens"),
        unpriced(),
        unpriced(),
    ]
    fill(ledger_url, *settled)
    with closing(open_writer(ledger_url)) as writer:
        kinds: tuple[AdjustmentKind, ...] = ("manual", "reconciled")
        for one, kind in zip(settled[-2:], kinds, strict=True):
            author = Author(kind, "x", STARTED_AT, "1.0.0")
            writer.adjust([one.id], lambda now: msgspec.structs.replace(now, cost=5, cost_source="reconciled"), author)

    for options in (["--yes"], ["--yes", "--all"]):
        run(ledger_url, "--prices", prices, *options)

    assert {None, "manual", "reconciled"} == {
        one["adjustments"][-1]["kind"] if one["adjustments"] else None for one in listed(ledger_url).values()
    }


def test_a_price_that_depends_on_what_no_record_keeps_is_not_applied(sqlite_url: str, prices: str) -> None:
    fill(sqlite_url, unpriced(model="house/stepped", requested_model="house/stepped"))
    result = run(sqlite_url, "--prices", prices, "--yes")
    assert (
        "1 attempt stays unknown, not_kept: house/stepped; their records lack what decides the price" in result.stdout
    )


def test_where_hosts_have_prices_of_their_own_the_host_must_be_named(sqlite_url: str) -> None:
    tokens = {"input_text_tokens": 13, "output_image_tokens": 196}
    fill(sqlite_url, unpriced(gateway="openai", model="gpt-image-2", requested_model="gpt-image-2", **tokens))
    assert "stays unknown, regional_price: gpt-image-2; --host says which" in run(sqlite_url, "--yes").stdout
    for host, cost in (("API.openai.com", "0.005945"), ("eu.api.openai.com", "0.0065395")):
        [row] = csv.DictReader(io.StringIO(run(sqlite_url, "--host", host, "--format", "csv", "--dry-run").stdout))
        assert cost == row["after_usd"]
    assert "regional_price" in run(sqlite_url, "--host", "api.x.ai", "--yes").stdout


def test_tokens_are_priced_as_the_record_has_them(sqlite_url: str, prices: str) -> None:
    chat = {"model": "house/chat", "requested_model": "house/chat"}
    attempt = unpriced(**chat, input_text_tokens=1000, output_image_tokens=2000)
    fill(sqlite_url, attempt, unpriced(**chat, cost_reason="missing_usage"))
    assert "1 attempt stays unknown, missing_usage: house/chat" in run(sqlite_url, "--prices", prices, "--yes").stdout
    assert "0.021" == listed(sqlite_url)[attempt.id]["cost_usd"]


def test_the_job_of_an_attempt_is_priced_by_what_was_heard_of_its_end(ledger_url: str, prices: str) -> None:
    attempt = unpriced(outcome="pending", billing="pending", cost_reason="pending_job", images=None, job_id="j")
    end = JobEnd(id=make_attempt().id, gateway="corp.example", job_id="j", heard_at=STARTED_AT + 9, source="poll",
                 outcome="success", images=3)  # fmt: skip
    fill(ledger_url, attempt, end)
    assert ("success", "no_price") == tuple(listed(ledger_url)[attempt.id][name] for name in ("outcome", "cost_reason"))

    run(ledger_url, "--prices", prices, "--yes")

    found = listed(ledger_url)[attempt.id]
    assert ("success", "0.12", 3) == (found["outcome"], found["cost_usd"], found["images"])
    assert ["job", "repriced"] == [one["kind"] for one in found["adjustments"]]


def test_all_replaces_what_the_prices_said_before_and_nothing_else(
    ledger_url: str, prices: str, tmp_path: Path
) -> None:
    attempt, other = unpriced(), unpriced(price_id="x", cost=7, cost_source="priced", cost_reason=None)
    fill(ledger_url, attempt, other)
    run(ledger_url, "--prices", prices, "--yes")
    dearer = tmp_path / "dearer.toml"
    dearer.write_text(CORP.replace('"0.04"', '"0.045"'))

    assert "No attempt" in run(ledger_url, "--prices", str(dearer), "--yes").stdout
    shown = json.loads(run(ledger_url, "--prices", str(dearer), "--all", "--format", "json", "--yes").stdout)

    # Of the other one it is not kept what its price was made of.
    assert [(1, "0.04", "0.045")] == [
        tuple(row[name] for name in ("attempts", "before_usd", "after_usd")) for row in shown
    ]
    found = listed(ledger_url)
    assert ("0.045", "0.000000007") == (found[attempt.id]["cost_usd"], found[other.id]["cost_usd"])


def test_what_keeps_its_price_does_not_stay_unknown(ledger_url: str, prices: str) -> None:
    fill(ledger_url, unpriced(), unpriced(model="house/other", requested_model=None))
    run(ledger_url, "--prices", prices, "--yes")
    again = run(ledger_url, "--prices", prices, "--all").stdout
    assert ["1 attempt stays unknown, no_price: house/other"] == re.findall("[0-9]+ attempts? stays? unknown.*", again)


def test_it_may_be_broken_off_and_goes_on_where_it_was(
    sqlite_url: str, prices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repricing, "_AT_ONCE", 2)
    fill(sqlite_url, *(unpriced(started_at=STARTED_AT + number) for number in range(5)))
    repricer = repricing.repricer_of(prices, None)
    with reading_ledger(sqlite_url) as reader:
        plan = repricing.foresee(reader, repricer, since=None, until=None, filters=EVERYTHING, with_priced=False)
    [(source, ids)] = plan.ids.items()
    plan.ids = {source: ids[:2]}
    assert 2 == repricing.apply(sqlite_url, repricer, plan)

    assert "3 attempts changed" in run(sqlite_url, "--prices", prices, "--yes").stdout
    # A plan that is older than the ledger changes nothing that is done.
    plan.ids = {source: ids}
    assert 0 == repricing.apply(sqlite_url, repricer, plan)


def test_only_what_is_asked_for_is_priced(sqlite_url: str, prices: str) -> None:
    fill(sqlite_url, unpriced())
    for options in (["--model", "x*"], ["--gateway", "y"], ["--since", "2026-06"], ["--tag", "team=z"]):
        assert "No attempt" in run(sqlite_url, "--prices", prices, "--yes", *options).stdout


def test_a_range_must_have_a_beginning(sqlite_url: str) -> None:
    result = CliRunner().invoke(main, ["prices", "apply", "--database-url", sqlite_url])
    assert (2, True) == (result.exit_code, "--since" in result.stderr)
