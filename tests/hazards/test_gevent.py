"""A program whose threads are greenlets."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.hazards.process import run_python

pytestmark = pytest.mark.slow

PATCH = "from gevent import monkey; monkey.patch_all()"
PROGRAM = """
import json
import gevent
meter = pixelmeter.Meter("sqlite:///{folder}/ledger.db", gateways={{"127.0.0.1:*": "aigateway"}})
body = {{"model": "meta/sam-3-1-image", "prompt": "p"}}
def calls():
    with pixelmeter.instrument(library.Client(verify=False), meter) as client:
        return [client.post("{url}/images/generations", json=body).status_code for _ in range(5)]
answers = [job.get() for job in [gevent.spawn(calls) for _ in range(8)]]
flushed = meter.flush(10)
print(json.dumps([sum(answers, []), flushed, meter.close(60), meter.status()["failures"]]))
"""


@pytest.mark.parametrize("library", ["httpx2", pytest.param("httpx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("patched", ["before", "after", "never"])
def test_hazard_39_greenlets_lose_no_call_whenever_the_patch_comes(
    gateway: Gateway, tmp_path: Path, library: str, patched: str
) -> None:
    imports = f"import pixelmeter\nimport {library} as library"
    order = {"before": [PATCH, imports], "after": [imports, PATCH], "never": [imports]}[patched]
    ended = run_python("\n".join(order) + PROGRAM.format(folder=tmp_path, url=gateway.url))

    assert "" == ended.stderr
    assert [[200] * 40, True, True, {}] == json.loads(ended.stdout)
    connection = sqlite3.connect(tmp_path / "ledger.db")
    try:
        rows = connection.execute("select count(*), sum(cost) from pixelmeter_attempts").fetchone()
    finally:
        connection.close()
    assert (40, gateway.billed_nano()) == rows
