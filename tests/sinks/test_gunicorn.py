"""Three gunicorn workers show one set of metrics: what the ledger and the bill say, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from pixelmeter.settings import from_environment
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.ledger.reading import stored
from tests.sinks.exposition import Scrape
from tests.sinks.pages import program
from tests.sinks.web.running import Site, free_port, running, until

pytestmark = pytest.mark.slow


def called(site: Site, workers: int) -> int:
    """Have every worker make calls, and return how many there were."""
    seen: set[str] = set()
    calls = 0
    deadline = time.monotonic() + 30
    with ThreadPoolExecutor(6) as threads:
        while len(seen) < workers or calls < 30:
            assert time.monotonic() < deadline, seen
            seen |= set(threads.map(lambda _: site.get("/call"), range(6)))
            calls += 6
    return calls


def rows(ledger: str) -> int:
    """Return how many attempts are in a ledger, 0 before its tables are made."""
    try:
        return len(stored(ledger))
    except OperationalError:
        return 0


def check(scrape: Scrape, ledger: str, gateway: Gateway, calls: int) -> None:
    """Compare what is shown with the ledger and the bill, which have all of these calls."""
    attempts = stored(ledger).values()
    finished = [row for row in attempts if row.outcome != "interrupted"]
    assert calls == len(finished) == scrape.total("pixelmeter_requests_total")
    assert calls == scrape.total("pixelmeter_requests_total", gateway="aigateway", outcome="success")
    assert 2 * calls == scrape.total("pixelmeter_images_total")
    assert calls == scrape.total("pixelmeter_request_duration_seconds_count")
    known = sum(row.cost or 0 for row in finished)
    assert known / 1e9 == pytest.approx(scrape.total("pixelmeter_cost_usd_total"), rel=1e-9, abs=0)
    cut_off = sum(row.at_risk or 0 for row in attempts if row.outcome == "interrupted")
    assert gateway.billed_nano() == known + cut_off


@pytest.mark.parametrize("preloaded", [False, True], ids=["each loads", "preloaded"])
def test_workers_show_what_the_ledger_and_the_bill_say(
    gateway: Gateway, tmp_path: Path, preloaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    values = tmp_path / "values"
    values.mkdir()
    (tmp_path / "gunicorn.conf.py").write_text(program("gunicorn.conf.py"))
    calling = tmp_path / "calling"
    environment = {
        "PIXELMETER_DATABASE_URL": ledger,
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
        "PROMETHEUS_MULTIPROC_DIR": str(values),
        "GATEWAY_URL": gateway.url,
        "CALLING": str(calling),
    }
    port = free_port()
    arguments = ["--workers", "3", "--threads", "4", "--bind", f"127.0.0.1:{port}", "--config", "gunicorn.conf.py"]
    arguments += ["--preload"] if preloaded else []
    with running("gunicorn", [*arguments, "tests.sinks.web.workers:app"], port, tmp_path, environment) as site:
        calls = called(site, workers=3)
        until(lambda: calls == rows(ledger))
        # The writer of each worker tells of its rows once they are committed.
        until(lambda: calls == site.scrape().total("pixelmeter_ledger_rows_total"))
        scrape = site.scrape()
        check(scrape, ledger, gateway, calls)
        assert 1 == scrape.total("pixelmeter_build_info")
        assert 0 == scrape.total("pixelmeter_requests_in_flight")
        assert set() == scrape.values("pid")
        assert len(list(values.glob("counter_*.db"))) >= 3

        gateway.tell(hold="before_headers", times=1)
        with ThreadPoolExecutor(1) as threads:
            cut_off = threads.submit(site.get, "/call")
            gateway.wait_held(1)
            assert 1 == site.scrape().total("pixelmeter_requests_in_flight", gateway="aigateway")
            os.kill(int(calling.read_text()), signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                cut_off.result()
        gateway.release()
        until(lambda: site.scrape().total("pixelmeter_requests_in_flight") == 0)
        assert calls == site.scrape().total("pixelmeter_requests_total")

        calls += called(site, workers=3)
        until(lambda: calls <= rows(ledger))
        last = site.scrape()
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", ledger)
    adopt(ledger, from_environment())
    check(last, ledger, gateway, calls)
    [interrupted] = [row for row in stored(ledger).values() if row.outcome == "interrupted"]
    assert (None, "unknown") == (interrupted.cost, interrupted.billing)
    assert interrupted.at_risk
