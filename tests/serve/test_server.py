"""The exporter as a process: what it shows is what the ledger has, through restarts of everything around it."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import yaml
from sqlalchemy import text

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.counting import tally_of, tokens
from pixelmeter.core.labels import error_type, quality_label, size_label
from pixelmeter.core.metrics import DURATION_BUCKETS, METRICS
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.writer import open_writer
from pixelmeter.testing import Gateway
from tests.factories import STARTED_AT, make_attempt
from tests.hazards.process import run_python
from tests.interop.callers import CALLERS
from tests.interop.test_ledger_equals_the_bill import drive
from tests.interop.workload import workload
from tests.ledger.reading import stored
from tests.postgres import PASSWORD
from tests.serve.server import Server, serving
from tests.sinks.exposition import Scrape

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "exporter.md").read_text()


@pytest.mark.slow
def test_what_is_shown_equals_the_rows_and_the_bill_through_restarts(
    ledger_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    before: Scrape | None = None
    for seed in (0, 1):
        # A program that starts and ends, and then an exporter that does.
        works = {work.id: work for work in workload(seed=seed)}
        gateways = {"127.0.0.1:*": "aigateway", "localhost:*": "openai"}
        with pixelmeter.Meter(ledger_url, gateways=gateways, spool_dir=str(tmp_path / "spool")) as meter:
            asyncio.run(drive(list(CALLERS.values())[seed](gateway), meter, works))
            assert meter.flush(30)
        with serving(ledger_url) as server:
            scrape = server.scrape()
        check(scrape, list(stored(ledger_url).values()))
        if before is not None:
            assert counters(before).keys() <= counters(scrape).keys()
            assert [] == [key for key, value in counters(before).items() if counters(scrape)[key] < value]
        before = scrape

    bill = gateway.billing()
    rows = stored(ledger_url).values()
    unknown = {row.request_id for row in rows if row.cost is None}
    unsettled = sum(line["charged_nano"] for line in bill if line["request_id"] in unknown)
    assert before is not None
    assert len(bill) == before.total("pixelmeter_requests_total")
    assert gateway.billed_nano() - unsettled == nano(before.total("pixelmeter_cost_usd_total"))


def check(scrape: Scrape, rows: list[Attempt]) -> None:
    """Compare what is shown with what the rows add up to, by labels."""
    for gateway, operation, model, outcome in {(row.gateway, row.operation, row.model, row.outcome) for row in rows}:
        call = {"gateway": gateway, "operation": operation, "model": model}
        of_model = [row for row in rows if (row.gateway, row.operation, row.model) == (gateway, operation, model)]
        same = [row for row in of_model if row.outcome == outcome]
        histogram = "pixelmeter_request_duration_seconds"
        for bound in DURATION_BUCKETS:
            within = sum(row.duration <= bound * 1e6 for row in same)
            assert within == scrape.total(f"{histogram}_bucket", **call, outcome=outcome, le=str(bound))
        assert len(same) == scrape.total(f"{histogram}_bucket", **call, outcome=outcome, le="+Inf")
        assert len(same) == scrape.total(f"{histogram}_count", **call, outcome=outcome)
        assert sum(row.duration for row in same) / 1e6 == scrape.total(f"{histogram}_sum", **call, outcome=outcome)
        for why in {error_type(row) for row in same}:
            number = sum(error_type(row) == why for row in same)
            assert number == scrape.total("pixelmeter_requests_total", **call, outcome=outcome, error_type=why)
        assert sum(row.attempt > 0 for row in of_model) == scrape.total("pixelmeter_retries_total", **call)
        for source in {row.cost_source for row in of_model if row.cost}:
            cost = sum(row.cost or 0 for row in of_model if row.cost_source == source)
            assert cost == nano(scrape.total("pixelmeter_cost_usd_total", **call, cost_source=source))
        at_risk = sum(row.at_risk or 0 for row in of_model)
        assert at_risk == nano(scrape.total("pixelmeter_at_risk_usd_total", **call))
        for reason in {row.cost_reason or "" for row in of_model if row.cost is None}:
            number = sum(row.cost is None and (row.cost_reason or "") == reason for row in of_model)
            assert number == scrape.total("pixelmeter_unknown_cost_requests_total", **call, reason=reason)
        for size, quality in {(size_label(row), quality_label(row)) for row in of_model if row.images}:
            images = sum(
                row.images or 0 for row in of_model if (size_label(row), quality_label(row)) == (size, quality)
            )
            assert images == scrape.total("pixelmeter_images_total", **call, size=size, quality=quality)
    assert len(rows) == scrape.total("pixelmeter_requests_total")
    counted = sum(count for row in rows for _, _, count in tokens(tally_of(row)))
    assert counted == sum(one.value for one in scrape.samples if one.name == "pixelmeter_tokens_total")
    latest = max(row.started_at for row in rows) / 1e6
    assert latest == scrape.total("pixelmeter_ledger_last_attempt_timestamp_seconds")
    assert 1 == scrape.total("pixelmeter_ledger_up")


def nano(dollars: float) -> int:
    return round(dollars * 1e9)


def counters(scrape: Scrape) -> dict[tuple[str, ...], float]:
    """Return every series that must not fall."""
    growing = ("_total", "_bucket", "_count", "_sum")
    return {
        (one.name, *(f"{name}={value}" for name, value in sorted(one.labels.items()))): one.value
        for one in scrape.samples
        if one.name.endswith(growing)
    }


def test_a_ledger_that_goes_and_comes_back_is_told_and_no_counter_falls(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt(), make_attempt(attempt=1)], {}, [])
    with serving(ledger_url) as server:
        before = server.scrape()
        alter(ledger_url, "UPDATE pixelmeter_schema SET version_num = '9999'")
        down = until(server, lambda scrape: scrape.total("pixelmeter_ledger_up") == 0)
        alter(ledger_url, "UPDATE pixelmeter_schema SET version_num = '" + migrate.head() + "'")
        after = until(server, lambda scrape: scrape.total("pixelmeter_ledger_up") == 1)
        status, errors = server.stop()

    assert 2 == before.total("pixelmeter_requests_total")
    assert {"pixelmeter_ledger_up", "pixelmeter_build_info", "pixelmeter_price_book_timestamp_seconds"} == {
        sample.name for sample in down.samples
    }
    assert counters(before) == counters(after)
    assert 0 == status
    assert 1 == errors.count("upgrade the package")
    assert 1 == errors.count("can be read again")
    assert PASSWORD not in errors


def alter(url: str, statement: str) -> None:
    with changing(read_address(url)) as connection:
        connection.execute(text(statement))


def until(server: Server, reached: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until what is shown is as it should be, which takes a second: a reading is kept that long."""
    deadline = time.monotonic() + 20
    while not reached(found := server.scrape()):
        assert time.monotonic() < deadline, found.text
    return found


def test_no_ledger_and_no_server_are_told_without_a_password(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", "postgresql://somebody:correct-horse@127.0.0.1:9/none"):
        with serving(url) as server:
            shown = server.get().text
            status, errors = server.stop(signal.SIGINT)

        assert "pixelmeter_ledger_up 0.0" in shown
        assert "pixelmeter_requests_total" not in shown
        assert "correct-horse" not in shown + errors
        assert 0 == status
        assert errors


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_as_soon_as_the_address_is_told_is_not_lost(sqlite_url: str, name: str) -> None:
    code = (
        "import os, signal\n"
        "from pixelmeter.serve.server import serve\n"
        f"serve({sqlite_url!r}, '127.0.0.1', 0, None, lambda _: os.kill(os.getpid(), signal.{name}))\n"
    )
    ended = run_python(code)

    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.slow
def test_a_database_that_hangs_is_told_and_does_not_keep_the_exporter_alive(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt()], {}, [])
    with psycopg.connect(postgres_url) as locking, serving(postgres_url) as server:
        locking.execute("LOCK TABLE pixelmeter_totals IN ACCESS EXCLUSIVE MODE")
        scrape = server.scrape()
        status, errors = server.stop()

    assert 0 == scrape.total("pixelmeter_ledger_up")
    assert 0 == status
    assert 1 == len(errors.splitlines())
    assert PASSWORD not in errors


def test_a_role_with_the_documented_rights_is_enough(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.register([pixelmeter.Budget(1, per="total", name="all").rule], STARTED_AT)
        writer.write([make_attempt()], {}, [])
    grants = re.findall(r"^GRANT .*;$", PAGE, re.MULTILINE)
    assert grants
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-this'".encode())
        for grant in grants:
            admin.execute(grant.replace("role_name", name).encode())
    try:
        with serving(postgres_url.replace(f"postgres:{PASSWORD}", f"{name}:only-this"), "--tag", "team") as server:
            scrape = server.scrape()
            _, errors = server.stop()
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())

    assert (1, 1) == (scrape.total("pixelmeter_ledger_up"), scrape.total("pixelmeter_requests_total"))
    assert 0.04224 == scrape.total("pixelmeter_budget_spent_usd", budget="all")
    assert scrape.has("pixelmeter_tag_last_month_cost_usd", tag="team", value="")
    assert 3 == scrape.total("pixelmeter_ledger_months_ahead")
    assert 0 == scrape.total("pixelmeter_ledger_attempts_without_month")
    assert "" == errors


def test_a_scraper_gets_the_format_that_it_asks_for(sqlite_url: str) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
    with serving(sqlite_url) as server:
        plain = server.get(accept="text/plain")
        open_metrics = server.get(accept="application/openmetrics-text; version=1.0.0")
        garbage = server.get(accept="application/openmetrics-text; version=new")
        health = server.get("/-/healthy")

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "gzip" == plain.headers["content-encoding"]
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")
    assert (200, plain.headers["content-type"]) == (garbage.status_code, garbage.headers["content-type"])
    assert (200, "healthy\n") == (health.status_code, health.text)
    of_postgresql = {"pixelmeter_ledger_months_ahead", "pixelmeter_ledger_attempts_without_month"}
    families = {metric.name for metric in METRICS if "ledger" in metric.origins} - of_postgresql
    assert families == {line.split()[2] for line in plain.text.splitlines() if line.startswith("# TYPE")}


def test_a_token_is_asked_for_where_a_file_has_one(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    with serving(sqlite_url, "--host", "0.0.0.0", "--token-file", str(tmp_path / "token")) as server:
        answers = [
            server.get(**headers)
            for headers in (
                {},
                {"authorization": "Bearer open-sesam"},
                {"authorization": "Basic open-sesame"},
                {"authorization": "Bearer open-sesame"},
            )
        ]
        health = server.get("/-/healthy")

    assert [401, 401, 401, 200] == [answer.status_code for answer in answers]
    assert 'Bearer realm="pixelmeter"' == answers[0].headers["www-authenticate"]
    assert 200 == health.status_code


def test_a_user_and_a_password_are_asked_for_where_a_file_has_them(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "basic").write_text("prometheus:open: sesame")

    def basic(pair: str) -> str:
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    with serving(sqlite_url, "--basic-auth-file", str(tmp_path / "basic")) as server:
        given = ["", "Basic ???", basic("prometheus:wrong"), "Bearer prometheus:open: sesame"]
        refused = [server.get(authorization=value).status_code for value in given]
        let_in = server.get(authorization=basic("prometheus:open: sesame")).status_code

    assert [401] * 4 == refused
    assert 200 == let_in


def test_what_a_dead_process_left_behind_is_taken_in(sqlite_url: str) -> None:
    code = (
        "import os, httpx, pixelmeter\n"
        "from pixelmeter.meter import intake_of\n"
        "from pixelmeter.testing import Gateway\n"
        "with Gateway() as gateway:\n"
        f"    meter = pixelmeter.Meter({sqlite_url!r}, gateways={{'127.0.0.1:*': 'aigateway'}})\n"
        "    client = pixelmeter.instrument(httpx.Client(base_url=gateway.root), meter)\n"
        "    intake_of(meter).recorder._background.wake = lambda: None\n"
        "    client.post('/v1/images/generations', json={'model': 'meta/sam-3-image', 'prompt': 'a fox'})\n"
        "os._exit(9)\n"
    )
    died = run_python(code)
    assert 9 == died.returncode, died.stderr
    with serving(sqlite_url) as server:
        scrape = until(server, lambda scrape: scrape.has("pixelmeter_requests_total"))

    assert 1 == scrape.total("pixelmeter_requests_total", model="meta/sam-3-image")


@pytest.mark.slow
def test_promtool_finds_nothing_to_say_of_the_metrics(sqlite_url: str, promtool: Path) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt(), make_attempt(outcome="error", cost=None, cost_reason="no_price")], {}, [])
    with serving(sqlite_url) as server:
        shown = server.get().text

    checked = subprocess.run([promtool, "check", "metrics"], input=shown, capture_output=True, text=True)
    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)


def test_the_documented_scrape_config_is_what_prometheus_takes(promtool: Path, tmp_path: Path) -> None:
    [documented] = [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]]
    [job] = yaml.safe_load(documented)["scrape_configs"]
    (tmp_path / "token").write_text("open-sesame")
    config = documented.replace(job["authorization"]["credentials_file"], str(tmp_path / "token"))
    (tmp_path / "prometheus.yml").write_text(config)

    checked = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True
    )

    assert 0 == checked.returncode, checked.stdout + checked.stderr
