"""The rights of docs/ledger.md for a role that only reads are enough for all that only reads, and for nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import httpx
import msgspec
import psycopg
import pytest
from click.testing import CliRunner
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette

from pixelmeter.cli import main
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.serve.page.app import Page
from pixelmeter.system import SystemClock
from tests.factories import make_attempt
from tests.ledger.test_partitions import role
from tests.ledger.test_questions import QUERIES
from tests.ledger.test_writer_postgres import documented_grants
from tests.monitoring.asking import panels, statement
from tests.postgres import PASSWORD

pytestmark = pytest.mark.slow

CENT = 10_000_000


class Limited(NamedTuple):
    """A ledger as a role with few rights reaches it."""

    url: str
    name: str
    call_id: str


@pytest.fixture
def limited(postgres_url: str) -> Iterator[Limited]:
    """A ledger with something in every table that people ask, and a role that may only read it."""
    now = time.time_ns() // 1000
    submitted = make_attempt(
        outcome="pending", billing="pending", job_id="a", cost=None, fee=None, at_risk=CENT, started_at=now
    )
    ended = JobEnd(
        id=make_attempt().id, gateway="aigateway", job_id="a", heard_at=now + 1, source="poll", outcome="success",
        images=1, reported_cost=CENT,
    )  # fmt: skip
    wrong = make_attempt(started_at=now)
    with closing(open_writer(postgres_url)) as writer:
        writer.register([Budget("0.01", per="month", name="all").rule], now)
        writer.write([submitted, ended, wrong, make_attempt(cost=None, fee=None, started_at=now)], {}, [])
        by_hand = Author("manual", "command line", now, "1.0.0")
        writer.adjust([wrong.id], lambda found: msgspec.structs.replace(found, cost=CENT), by_hand)
    grants = [grant.replace("reader_name", "role_name") for grant in documented_grants("reader_name")]
    with role(postgres_url, *grants) as name:
        yield Limited(postgres_url.replace(f"postgres:{PASSWORD}", f"{name}:only-this"), name, wrong.call_id)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("report --with-fees --savings", 0),
        ("report --by tag:team,day --tz Asia/Kathmandu --columns cost,retry_cost,paid_twice_cost,p99", 0),
        ("report --by hour,size --top 1 --format json", 0),
        ("report --since this-month --columns cost,before,change", 0),
        ("report --tags", 0),
        ("calls", 0),
        ("calls --history", 0),
        ("calls --sort cost --format csv", 0),
        ("jobs", 0),
        ("budgets list", 0),
        ("budgets show all", 0),
        ("check --max-spend 1 --max-p95 1m --max-unknown 9 --by model", 0),
        ("check --budgets --max-spend 0", 1),
        ("export --format jsonl -", 0),
        ("export --format csv --table adjustments -", 0),
        ("db status", 0),
        ("db size", 0),
    ],
)
def test_a_command_that_reads_needs_no_more(limited: Limited, command: str, status: int) -> None:
    result = CliRunner().invoke(main, command.split(), env={"PIXELMETER_DATABASE_URL": limited.url})
    assert status == result.exit_code, result.output
    assert "denied" not in result.output
    assert "" != result.stdout


def test_the_questions_of_the_page_and_those_of_grafana_need_no_more(limited: Limited) -> None:
    asked = [*QUERIES.values()]
    asked += [statement(target) for _, target in panels("grafana-postgresql-datasource")]
    assert len(asked) > 12
    with psycopg.connect(limited.url) as connection:
        assert all(connection.execute(text.encode()) for text in asked)


def test_the_exporter_needs_no_more(limited: Limited) -> None:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(limited.url, clock=SystemClock()))
    text = generate_latest(registry).decode()
    assert "pixelmeter_ledger_up 1.0" in text
    assert 'pixelmeter_budget_spent_usd{budget="all"' in text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?step=hour&tz=Asia/Kathmandu&tags=team",
        "/?tag=team%3Dgrowth&since=7d",
        "/?model=openai/*&read=all&no-tag=customer",
        "/calls",
        "/calls?sort=cost&only=unknown-cost&billing=billed",
        "/calls?budget=all",
        "/calls/{call}",
        "/budgets",
        "/budgets?name=all",
        "/reconciliation",
        "/health",
    ],
)
def test_the_page_needs_no_more(limited: Limited, path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=Page(limited.url, SystemClock()).routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path.format(call=limited.call_id))

    found = asyncio.run(asked())
    assert 200 == found.status_code, found.text
    assert "permission" not in found.text + caplog.text
    assert '<main class="error"' not in found.text


@pytest.mark.parametrize(
    "command",
    [
        "adjust {call} --usd 1 --why because",
        "budgets remove all",
        "budgets reset all --why because --yes",
        "db prune --keep 90d",
        "check --max-spend 0 --webhook http://127.0.0.1:1/",
    ],
)
def test_it_changes_nothing(limited: Limited, command: str) -> None:
    before = _all_rows(limited.url)
    result = CliRunner().invoke(
        main, command.format(call=limited.call_id).split(), env={"PIXELMETER_DATABASE_URL": limited.url}
    )
    assert 1 == result.exit_code
    assert "permission denied" in result.stderr
    assert before == _all_rows(limited.url)


def test_a_check_with_a_webhook_needs_one_more_right(postgres_url: str, limited: Limited) -> None:
    [grant] = documented_grants("checker_name")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(grant.replace("checker_name", limited.name).encode())
    result = CliRunner().invoke(
        main, ["check", "--max-spend", "0", "--webhook", "http://127.0.0.1:1/", "--database-url", limited.url]
    )
    assert 1 == result.exit_code
    assert "Not told: the webhook of the check cannot be reached" in result.stderr


def _all_rows(url: str) -> Sequence[object]:
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE starts_with(relname, 'pixelmeter_') AND relkind IN ('r', 'p')"
            " AND relnamespace = 'public'::regnamespace AND has_table_privilege(oid, 'SELECT') ORDER BY 1"
        ).fetchall()
        return [connection.execute(f"SELECT * FROM {name}".encode()).fetchall() for (name,) in names]
