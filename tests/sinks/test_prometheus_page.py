"""The programs of docs/prometheus.md run as they stand behind real servers, and its table is the catalogue.

`python -m tests.sinks.test_prometheus_page` brings the table up to date.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from pixelmeter.core.metrics import METRICS
from pixelmeter.meter import intake_of
from pixelmeter.testing import Gateway
from tests.sinks.pages import PAGE, program
from tests.sinks.web.running import free_port, running, until

TABLE = re.compile(r"(?<=\| from \|\n\|---\|---\|---\|---\|---\|\n)(\|.*\n)+")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "server", "app"),
    [
        ("fastapi_site.py", "uvicorn", "fastapi_site:app"),
        ("starlette_site.py", "uvicorn", "starlette_site:app"),
        ("flask_site.py", "gunicorn", "flask_site:app"),
        ("views.py", "gunicorn", "tests.sinks.web.django_site:app"),
    ],
)
def test_a_site_of_the_page_shows_the_calls_that_it_makes(
    file: str, server: str, app: str, gateway: Gateway, tmp_path: Path
) -> None:
    text = program(file)
    assert "https://api.aigateway.sh" in text
    (tmp_path / file).write_text(text.replace("https://api.aigateway.sh", gateway.root))
    environment = {
        "OPENAI_API_KEY": "sk-test",
        "PIXELMETER_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
    }
    port = free_port()
    where = ["--port", str(port)] if server == "uvicorn" else ["--bind", f"127.0.0.1:{port}"]
    with running(server, [*where, app], port, tmp_path, environment) as site:
        assert gateway.root in site.get("/fox")
        scrape = site.scrape()
    assert 1 == scrape.total("pixelmeter_requests_total", gateway="aigateway", model="meta/sam-3-1-image")
    assert gateway.billed_nano() / 1e9 == pytest.approx(scrape.total("pixelmeter_cost_usd_total"), rel=1e-9)
    assert scrape.has("python_info")


@pytest.mark.slow
def test_workers_of_uvicorn_show_the_calls_of_all_of_them(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "fastapi_site.py").write_text(
        program("fastapi_site.py").replace("https://api.aigateway.sh", gateway.root)
    )
    values = tmp_path / "values"
    values.mkdir()
    environment = {
        "OPENAI_API_KEY": "sk-test",
        "PIXELMETER_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
        "PROMETHEUS_MULTIPROC_DIR": str(values),
    }
    port, calls = free_port(), 12
    with running(
        "uvicorn", ["--workers", "2", "--port", str(port), "fastapi_site:app"], port, tmp_path, environment
    ) as site:
        # Each worker makes files of its own when it is ready.
        until(lambda: len(list(values.glob("counter_*.db"))) == 2, seconds=60)
        for _ in range(calls):
            site.get("/fox")
        shown = {site.scrape().total("pixelmeter_requests_total") for _ in range(calls)}
    assert {calls} == shown


def test_the_short_programs_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"(?<!-->\n\n)```python\n(.*?)```", PAGE, re.DOTALL)
    assert 2 == len(blocks)
    for block in blocks:
        monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
        names: dict[str, Any] = {}
        exec(block, names)
        [sink] = intake_of(names["meter"]).recorder.sinks
        assert "PrometheusSink" == type(sink).__name__
        names["meter"].close()


def test_the_table_of_the_page_is_the_catalogue() -> None:
    found = TABLE.search(PAGE)
    assert found is not None
    assert table() == found[0], "run `python -m tests.sinks.test_prometheus_page`"


def table() -> str:
    """Return a line for each metric."""
    return "".join(
        f"| `{one.name}` | {one.kind} | {', '.join(one.labels) or 'none'} | {one.help} | {', '.join(one.origins)} |\n"
        for one in METRICS
    )


def update() -> None:
    """Write the table into the page."""
    path = Path(__file__).parents[2] / "docs" / "prometheus.md"
    path.write_text(TABLE.sub(lambda _: table(), path.read_text()))


if __name__ == "__main__":
    update()
