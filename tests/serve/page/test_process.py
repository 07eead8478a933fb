"""`pixelmeter serve` as a process, and a role that only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

import pixelmeter
from pixelmeter.ledger.writer import open_writer
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.postgres import PASSWORD
from tests.serve.page.browsing import browsing, fill
from tests.serve.server import serving

pytestmark = pytest.mark.slow

DOCS = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text()


def test_the_page_and_the_metrics_are_served_together(sqlite_url: str) -> None:
    fill(sqlite_url, [make_attempt()])
    with serving(sqlite_url, is_metrics=False) as server:
        page, metrics, call = server.get("/"), server.get("/metrics"), server.get("/calls?since=2026")
        health = server.get("/-/healthy")
        status, errors = server.stop()

    assert [200] * 4 == [page.status_code, metrics.status_code, call.status_code, health.status_code]
    assert "<h1>Spend</h1>" in page.text
    assert "openai/gpt-image-2" in call.text
    assert "pixelmeter_ledger_up 1.0" in metrics.text
    assert "gzip" == page.headers["content-encoding"]
    assert (0, "") == (status, errors)


def test_metrics_alone_have_no_page(sqlite_url: str) -> None:
    fill(sqlite_url, [make_attempt()])
    with serving(sqlite_url) as server:
        assert [404, 404, 200] == [server.get(path).status_code for path in ("/", "/calls", "/metrics")]


@contextmanager
def reader_of(url: str) -> Iterator[str]:
    """Give the URL of a ledger for a role that has what docs/ledger.md grants to one that reads, and no more."""
    [grant] = re.findall(r"^GRANT SELECT ON [^;]* TO reader_name;$", DOCS, re.MULTILINE)
    with psycopg.connect(url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-this'".encode())
        admin.execute(grant.replace("reader_name", name).encode())
    try:
        yield url.replace(f"postgres:{PASSWORD}", f"{name}:only-this")
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_role_with_the_documented_rights_sees_every_page(postgres_url: str, clock: FakeClock) -> None:
    attempt = make_attempt(started_at=STARTED_AT - 1_000_000)
    with closing(open_writer(postgres_url)) as writer:
        writer.register([pixelmeter.Budget(1, per="total", name="all").rule], STARTED_AT - 2_000_000)
        writer.write([attempt], {}, [])
    paths = [
        "/", "/?tag=team=growth", "/?tags=team", "/?tz=Asia/Kolkata", "/?read=all&model=*", "/calls",
        "/calls?sort=cost", "/calls?only=unknown-cost", "/calls?budget=all", f"/calls/{attempt.id}",
        "/budgets", "/budgets?name=all", "/reconciliation", "/health",
    ]  # fmt: skip
    with reader_of(postgres_url) as url, browsing(url, clock) as browser:
        shown = [browser.get(path) for path in paths]

    assert [200] * len(paths) == [page.status for page in shown], [page.words for page in shown if page.status != 200]
    assert "openai/gpt-image-2" in shown[0].words
    assert not any("permission denied" in page.words for page in shown)
