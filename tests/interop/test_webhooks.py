"""A gateway posts the end of a job, and the ledger has what its bill has."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from pixelmeter.testing import Gateway

_SECRET = "whsec of a test"


@contextmanager
def _served(meter: pixelmeter.Meter) -> Iterator[str]:
    """Serve a handler as plain as can be; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            try:
                meter.webhook(self.headers, body)  # type: ignore[arg-type]
            except pixelmeter.WebhookError:
                self.send_response(400)
            else:
                self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/webhook"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("signature", ["aig", "gateway"])
def test_the_ledger_has_what_a_webhook_said_of_a_job(tmp_path: Path, signature: Any) -> None:
    meter = pixelmeter.Meter(
        f"sqlite:///{tmp_path}/a.db", gateways={"127.0.0.1:*": "aigateway"}, webhook_secrets={"aigateway": _SECRET}
    )
    ask = {"model": "black-forest-labs/flux-2-flex", "prompt": "a fox"}
    with Gateway() as gateway, meter, _served(meter) as url:
        with pixelmeter.instrument(httpx.Client(), meter) as client:
            job = client.post(f"{gateway.url}/images/generations", json=ask).json()["id"]
        assert 400 == gateway.post_webhook(url, job, secret="another", signature=signature)
        assert [204, 204] == [gateway.post_webhook(url, job, secret=_SECRET, signature=signature) for _ in range(2)]
        assert meter.flush()
        billed = 60_000_000
        with closing(sqlite3.connect(tmp_path / "a.db")) as ledger:
            [attempt] = ledger.execute("SELECT outcome, cost, job_id FROM pixelmeter_attempts")
            [spend] = ledger.execute("SELECT outcome, cost, cost_source, adjustments FROM pixelmeter_spend")
    assert ("pending", None, job) == attempt
    assert ("success", billed, "reported", 1) == spend
