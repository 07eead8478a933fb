"""What a client was made with stays as it was when it is instrumented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import httpx2
import pytest

import pixelmeter
from pixelmeter.testing import Gateway
from tests.interop.conftest import Metered

IMAGE = {"model": "meta/sam-3-1-image", "prompt": "a fox"}


class _Proxy(BaseHTTPRequestHandler):
    """A proxy that answers by itself, so that nothing leaves."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"data": [{"url": f"http://proxied/{self.path}"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-cost-cents", "3")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    """The URL of a proxy."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    """Each library."""
    return request.param


def test_a_proxy_is_still_used_and_what_goes_through_it_is_metered(library: Any, proxy: str, metered: Metered) -> None:
    with library.Client(proxy=proxy, verify=False) as client:
        pixelmeter.instrument(client, metered.meter)
        answer = client.post("http://api.aigateway.sh/v1/images/generations", json=IMAGE)
    assert "http://proxied/http://api.aigateway.sh/v1/images/generations" == answer.json()["data"][0]["url"]
    assert ("aigateway", 30_000_000) == (metered.attempt().gateway, metered.attempt().cost)


def test_proxies_of_the_environment_and_their_exceptions_stay(
    library: Any, proxy: str, gateway: Gateway, metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with library.Client(verify=False) as client:
        pixelmeter.instrument(client, metered.meter)
        client.post("http://api.aigateway.sh/v1/images/generations", json=IMAGE)
        client.post(f"{gateway.url}/images/generations", json=IMAGE)
    assert [30_000_000, 10_000_000] == [attempt.cost for attempt in metered.attempts()]
    assert 1 == len(gateway.billing())


def test_limits_time_outs_and_the_pool_stay(library: Any, gateway: Gateway, metered: Metered) -> None:
    limits = library.Limits(max_connections=3, max_keepalive_connections=2)
    with library.Client(limits=limits, timeout=7, verify=False) as client:
        pool = client._transport._pool
        pixelmeter.instrument(client, metered.meter)
        client.post(f"{gateway.url}/images/generations", json=IMAGE)
        assert pool is client._transport._pool
        assert (3, 2, library.Timeout(7)) == (pool._max_connections, pool._max_keepalive_connections, client.timeout)
        assert 1 == len(pool.connections)
    assert [] == pool.connections


def test_hooks_and_auth_run_as_before(library: Any, gateway: Gateway, metered: Metered) -> None:
    seen: list[str] = []
    hooks = {
        "request": [lambda request: seen.append(request.headers["authorization"])],
        "response": [lambda response: seen.append(response.read().decode())],
    }
    with library.Client(event_hooks=hooks, auth=("user", "secret"), verify=False) as client:
        pixelmeter.instrument(client, metered.meter)
        answer = client.post(f"{gateway.url}/images/generations", json=IMAGE)
    assert ["Basic dXNlcjpzZWNyZXQ=", answer.text] == seen
    assert 10_000_000 == metered.attempt().cost


def test_a_mount_is_metered_and_a_mount_of_nothing_stays(library: Any, gateway: Gateway, metered: Metered) -> None:
    mounted = library.HTTPTransport()
    with library.Client(mounts={"http://127.0.0.1": mounted, "http://nowhere": None}, verify=False) as client:
        pixelmeter.instrument(client, metered.meter)
        client.post(f"{gateway.url}/images/generations", json=IMAGE)
        assert {"http://127.0.0.1": True, "http://nowhere": False} == {
            pattern.pattern: mount is mounted for pattern, mount in client._mounts.items()
        }
    assert 10_000_000 == metered.attempt().cost


def test_an_upload_that_is_a_stream_is_sent_unread(library: Any, gateway: Gateway, metered: Metered) -> None:
    url, headers = f"{gateway.url}/images/generations", {"content-type": "application/json"}
    with library.Client(verify=False) as client:
        pixelmeter.instrument(client, metered.meter)
        client.post(url, content=iter([json.dumps(IMAGE).encode()]), headers=headers)
        gateway.tell(cost_header=False)
        client.post(url, content=iter([json.dumps(IMAGE).encode()]), headers=headers)
    assert ["meta/sam-3-1-image"] * 2 == [line["model"] for line in gateway.billing()]
    assert [(None, 10_000_000, None), (None, None, "unread_request")] == [
        (attempt.requested_model, attempt.cost, attempt.cost_reason) for attempt in metered.attempts()
    ]
