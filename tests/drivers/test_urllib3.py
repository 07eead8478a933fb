"""Each request that a pool of urllib3 sends is an attempt; those of one `urlopen` are one call."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from urllib3.exceptions import EmptyPoolError, HTTPError, MaxRetryError
from urllib3.util import parse_url

import pixelmeter
from pixelmeter import BudgetExceeded, Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.urllib3 import is_client, meter_client, patch, refuse_another
from pixelmeter.errors import ConfigError
from pixelmeter.testing import Gateway
from tests.drivers.limits import MakeLimited
from tests.drivers.wires import numbers

BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
PRICE = 10_000_000
RETRY = urllib3.Retry(5, allowed_methods=None, status_forcelist=[503], backoff_factor=0)
THREE = [(0, "error"), (1, "error"), (2, "success")]


@contextmanager
def patched(meter: Meter) -> Generator[None]:
    undo = patch(lambda: meter)
    try:
        yield
    finally:
        undo()


@pytest.fixture(params=["in place", "patched", "both"])
def manager(request: pytest.FixtureRequest, meter: Meter) -> Iterator[urllib3.PoolManager]:
    """A manager that is metered: by itself, with its class, or both."""
    manager = urllib3.PoolManager()
    if request.param != "patched":
        meter_client(manager, meter, provisional=False)
    if request.param == "in place":
        yield manager
    else:
        with patched(meter):
            yield manager
    manager.clear()


def path_of(gateway: Gateway) -> str:
    return f"{gateway.url}/images/generations"


def pool_of(gateway: Gateway, **options: Any) -> urllib3.HTTPConnectionPool:
    return urllib3.connection_from_url(gateway.url, **options)


def outcomes(attempts: list[Attempt]) -> list[tuple[str, str | None]]:
    return [(attempt.outcome, attempt.error_type) for attempt in attempts]


def test_each_retry_after_a_status_is_an_attempt_of_the_same_call(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(status=503, times=2)
    assert 200 == manager.request("POST", path_of(gateway), json=BODY, retries=RETRY).status
    assert THREE == numbers(attempts)
    assert [None, None, PRICE] == [attempt.cost for attempt in attempts]


def test_each_retry_after_a_broken_connection_is_an_attempt_of_the_same_call(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(cut="before_headers", times=2)
    assert 200 == manager.request("POST", path_of(gateway), json=BODY, retries=RETRY).status
    assert THREE == numbers(attempts)
    assert ["unknown", "unknown", "billed"] == [attempt.billing for attempt in attempts]


def test_retries_that_give_up_leave_their_attempts(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(status=503, times=2)
    with pytest.raises(MaxRetryError):
        manager.request("POST", path_of(gateway), json=BODY, retries=RETRY.new(total=1))
    assert [(0, "error"), (1, "error")] == numbers(attempts)


def test_arguments_may_be_given_by_their_places(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(status=503, times=1)
    pool = manager.connection_from_url(gateway.url)
    body = b'{"model":"meta/sam-3-1-image","prompt":"a fox"}'
    headers = {"content-type": "application/json"}
    pool.urlopen("POST", "/v1/images/generations", body, headers, RETRY, preload_content=True)
    assert ["meta/sam-3-1-image"] * 2 == [attempt.model for attempt in attempts]


@pytest.mark.parametrize("status", [307, 308])
def test_what_is_sent_to_where_a_redirect_leads_is_an_attempt_of_the_same_call(
    status: int, manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(redirect=status, times=1)
    assert 200 == manager.request("POST", path_of(gateway), json=BODY).status
    gateway.tell(redirect=status, times=1)
    pool = manager.connection_from_url(gateway.url)
    assert 200 == pool.request("POST", "/v1/images/generations", json=BODY).status
    for two in (attempts[:2], attempts[2:]):
        assert [(0, "rejected"), (1, "success")] == numbers(two)


@pytest.mark.parametrize("retries", [False, RETRY], ids=["answered at once", "sent again"])
def test_a_call_that_has_ended_leaves_nothing_to_the_collector_of_garbage(
    manager: urllib3.PoolManager, gateway: Gateway, retries: Any
) -> None:
    if retries:
        gateway.tell(status=503, times=1)
    manager.request("POST", path_of(gateway), json=BODY).json()
    gc.collect()
    gc.disable()
    try:
        if retries:
            gateway.tell(status=503, times=1)
        manager.request("POST", path_of(gateway), json=BODY, retries=retries).json()
        left = [type(each).__name__ for each in gc.get_objects(0) if type(each).__module__.startswith("pixelmeter")]
    finally:
        gc.enable()
    assert not {"_Call", "_Layer", "Outgoing", "Passage", "Exchange"} & set(left)


def test_calls_that_follow_each_other_are_two(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    for _ in range(2):
        manager.request("POST", path_of(gateway), json=BODY)
    assert 2 == len({attempt.call_id for attempt in attempts})


def test_a_call_that_a_body_makes_on_its_way_is_an_attempt_of_its_own(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"model": "meta/sam-3-1-image", '
        assert 200 == manager.request("POST", path_of(gateway), json=BODY).status
        yield b'"prompt": "a fox"}'

    manager.request("POST", path_of(gateway), body=body(), headers={"content-type": "application/json"})

    assert 2 == len(gateway.billing())
    assert [PRICE, PRICE] == [attempt.cost for attempt in attempts]


def test_a_call_that_a_hook_of_requests_makes_is_a_call_of_its_own(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    with requests.Session() as session:
        meter_client(session, meter, provisional=False)

        def again(*_: Any, **__: Any) -> None:
            session.post(path_of(gateway), json=BODY)

        session.post(path_of(gateway), json=BODY, hooks={"response": again})

    assert 2 == len(attempts) == len({attempt.call_id for attempt in attempts})


def test_other_requests_are_no_attempts(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    assert 200 == manager.request("GET", f"{gateway.url}/models").status
    assert manager.request("POST", f"{gateway.url}/images/generations/ä b?c#d", json=BODY).status >= 400
    assert [] == attempts


def refused_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
    return port


def test_a_connection_that_is_refused_was_never_sent(manager: urllib3.PoolManager, attempts: list[Attempt]) -> None:
    with pytest.raises(HTTPError):
        manager.request("POST", f"http://127.0.0.1:{refused_port()}/v1/images/generations", json=BODY, retries=1)
    assert [(0, "error"), (1, "error")] == numbers(attempts)
    assert {("NewConnectionError", "not_billed", 0)} == {
        (attempt.error_type, attempt.billing, attempt.cost) for attempt in attempts
    }


def test_a_handshake_that_fails_was_never_sent(manager: urllib3.PoolManager, attempts: list[Attempt]) -> None:
    def answer_in_plain_text() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_in_plain_text)
        thread.start()
        with pytest.raises(HTTPError):
            url = f"https://127.0.0.1:{server.getsockname()[1]}/v1/images/generations"
            manager.request("POST", url, json=BODY, retries=False)
        thread.join(60)
    assert [("SSLError", "not_billed")] == [(attempt.error_type, attempt.billing) for attempt in attempts]


def test_a_proxy_that_is_not_there_means_that_nothing_was_sent(meter: Meter, attempts: list[Attempt]) -> None:
    manager = urllib3.ProxyManager(f"http://127.0.0.1:{refused_port()}")
    meter_client(manager, meter, provisional=False)
    for scheme in ("http", "https"):
        with pytest.raises(HTTPError):
            manager.request("POST", f"{scheme}://api.aigateway.sh/v1/images/generations", json=BODY, retries=False)
    assert [("aigateway", "not_billed")] * 2 == [(attempt.gateway, attempt.billing) for attempt in attempts]


def test_a_request_that_gets_no_connection_of_the_pool_was_never_sent(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    with pool_of(gateway, maxsize=1, block=True) as pool:
        meter_client(pool, meter, provisional=False)
        held = pool.request("POST", "/v1/images/generations", json=BODY, preload_content=False)
        soon: Any = 0.01
        with pytest.raises(EmptyPoolError):
            pool.urlopen("POST", "/v1/images/generations", b"{}", pool_timeout=soon)
        held.read()
    assert [("timeout", "EmptyPoolError"), ("success", None)] == outcomes(attempts)


def test_an_answer_that_does_not_come_in_time_times_out(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(hold="before_headers")
    with pytest.raises(HTTPError):
        manager.request("POST", path_of(gateway), json=BODY, timeout=0.3, retries=False)
    assert [("timeout", "ReadTimeoutError")] == outcomes(attempts)
    assert ["unknown"] == [attempt.billing for attempt in attempts]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_the_program_amid_a_request_goes_through_and_cancels_it(
    stop: type[BaseException], manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    interrupt = stop()

    def body() -> Iterator[bytes]:
        yield b"{"
        raise interrupt

    with pytest.raises(stop) as caught:
        manager.request("POST", path_of(gateway), body=body())
    assert caught.value is interrupt
    assert [("cancelled", stop.__name__)] == outcomes(attempts)


def test_a_body_that_is_no_text_stays_unread_and_is_sent_as_it_is(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway, tmp_path: Path
) -> None:
    text = b'{"model":"meta/sam-3-1-image","prompt":"a fox"}'
    file = tmp_path / "body.json"
    file.write_bytes(text)
    headers = {"content-type": "application/json"}
    with file.open("rb") as opened:
        for body in (iter([text]), opened, [text[:9], text[9:]]):
            assert 200 == manager.request("POST", path_of(gateway), body=body, headers=headers).status
    assert [("success", PRICE)] * 3 == [(attempt.outcome, attempt.cost) for attempt in attempts]


def test_files_of_a_form_are_counted(manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway) -> None:
    fields: Any = {"model": "meta/sam-3-1-image", "prompt": "a fox", "image": ("a.png", b"\x89PNG", "image/png")}
    manager.request("POST", f"{gateway.url}/images/edits", fields=fields)
    [attempt] = attempts
    assert ("edit", "meta/sam-3-1-image", 1) == (attempt.operation, attempt.model, attempt.input_images)


def test_through_a_plain_proxy_the_host_is_that_of_the_target(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    manager = urllib3.ProxyManager(gateway.url.removesuffix("/v1"))
    meter_client(manager, meter, provisional=False)
    manager.request("POST", "http://api.aigateway.sh/v1/images/generations", json=BODY)
    assert ["aigateway"] == [attempt.gateway for attempt in attempts]


def test_threads_that_share_a_manager_leave_one_attempt_a_call(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    def post(_: int) -> int:
        return manager.request("POST", path_of(gateway), json=BODY).status

    with ThreadPoolExecutor(8) as threads:
        assert {200} == set(threads.map(post, range(64)))
    assert 64 == len(gateway.billing()) == len(attempts) == len({attempt.call_id for attempt in attempts})


def test_the_gateways_tag_is_sent_and_what_the_caller_gave_stays_as_it_was(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    headers = {"content-type": "application/json", "host": "mock.test"}
    given = dict(headers)
    with pixelmeter.tags(aig_tag="growth"):
        manager.request("POST", path_of(gateway), body=b'{"model":"meta/sam-3-1-image"}', headers=headers)
    assert given == headers
    assert ["success"] == [attempt.outcome for attempt in attempts]


def test_a_redirect_to_another_host_is_an_attempt_of_the_same_call(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    elsewhere = path_of(gateway).replace("127.0.0.1", "localhost")
    gateway.tell(status=307, headers={"location": elsewhere}, times=1)
    assert 200 == manager.request("POST", path_of(gateway), json=BODY).status
    assert [0, 1] == [attempt.attempt for attempt in attempts]
    assert 1 == len({attempt.call_id for attempt in attempts})


@pytest.mark.parametrize("way", ["in place", "patched"])
def test_a_budget_refuses_by_an_exception_that_nobody_tries_again(
    way: str, limited: MakeLimited, gateway: Gateway
) -> None:
    spent = limited(1)
    manager = urllib3.PoolManager()
    if way == "in place":
        meter_client(manager, spent.meter, provisional=False)
    undo = patch(lambda: spent.meter) if way == "patched" else lambda: None
    assert 200 == manager.request("POST", path_of(gateway), json=BODY).status
    with pytest.raises(BudgetExceeded):
        manager.request("POST", path_of(gateway), json=BODY, retries=RETRY)
    undo()
    assert ["success", "blocked"] == spent.outcomes()
    assert 1 == len(gateway.billing())


@pytest.mark.parametrize("preload", [True, False])
def test_a_budget_refuses_by_a_response_where_it_says_so(preload: bool, limited: MakeLimited, gateway: Gateway) -> None:
    spent = limited(1, refuse="respond")
    manager = urllib3.PoolManager()
    meter_client(manager, spent.meter, provisional=False)
    manager.request("POST", path_of(gateway), json=BODY)
    response = manager.request("POST", path_of(gateway), json=BODY, preload_content=preload)
    assert 402 == response.status
    assert "budget_exceeded" == response.json()["error"]["type"]
    assert ["success", "blocked"] == spent.outcomes()


@pytest.mark.parametrize("refuse", ["raise", "respond"])
def test_a_budget_refuses_a_retry_of_urllib3_as_well(refuse: str, limited: MakeLimited, gateway: Gateway) -> None:
    spent = limited(1, refuse=refuse)
    manager = urllib3.PoolManager()
    meter_client(manager, spent.meter, provisional=False)
    # What this one costs nobody knows, so it keeps what was reserved for it.
    gateway.tell(cut="before_headers", times=1)
    if refuse == "raise":
        with pytest.raises(BudgetExceeded):
            manager.request("POST", path_of(gateway), json=BODY, retries=RETRY)
    else:
        assert 402 == manager.request("POST", path_of(gateway), json=BODY, retries=RETRY).status
    assert ["error", "blocked"] == spent.outcomes()
    assert 1 == len(gateway.billing())


def test_a_pool_is_metered_in_place_alone(meter: Meter, attempts: list[Attempt], gateway: Gateway) -> None:
    with pool_of(gateway) as pool, pool_of(gateway) as other:
        meter_client(pool, meter, provisional=False)
        for each in (pool, other):
            each.request("POST", "/v1/images/generations", json=BODY)
    assert 1 == len(attempts)


def test_pools_that_a_manager_had_before_are_metered(meter: Meter, attempts: list[Attempt], gateway: Gateway) -> None:
    manager = urllib3.PoolManager()
    manager.request("POST", path_of(gateway), json=BODY)
    meter_client(manager, meter, provisional=False)
    manager.request("POST", path_of(gateway), json=BODY)
    assert 1 == len(attempts)


def test_a_client_keeps_the_meter_that_somebody_named(
    meter: Meter, attempts: list[Attempt], gateway: Gateway, tmp_path: Path
) -> None:
    manager = urllib3.PoolManager()
    with Meter(f"sqlite:///{tmp_path}/other.db", tags={"whose": "other"}) as other:
        meter_client(manager, other, provisional=True)
        manager.request("POST", path_of(gateway), json=BODY)
        refuse_another(manager, meter)
        meter_client(manager, meter, provisional=False)
        meter_client(manager, other, provisional=True)
        with patched(other):
            manager.request("POST", path_of(gateway), json=BODY)
        with pytest.raises(ConfigError, match="another meter"):
            refuse_another(manager, other)
        with pytest.raises(ConfigError, match="another meter"):
            refuse_another(manager.connection_from_url(gateway.url), other)
    assert ['{"whose": "other"}', "{}"] == [attempt.tags.replace('":"', '": "') for attempt in attempts]


def test_what_is_no_client_is_told() -> None:
    assert not is_client(urllib3)
    assert not is_client(object())
    assert is_client(urllib3.ProxyManager("http://127.0.0.1"))


def test_undone_nothing_is_metered_and_the_classes_are_as_before(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    before = vars(urllib3.HTTPConnectionPool)["urlopen"], vars(urllib3.PoolManager)["urlopen"]
    manager = urllib3.PoolManager()
    with patched(meter), patched(meter):
        manager.request("POST", path_of(gateway), json=BODY)
    assert before == (vars(urllib3.HTTPConnectionPool)["urlopen"], vars(urllib3.PoolManager)["urlopen"])
    manager.request("POST", path_of(gateway), json=BODY)
    assert 1 == len(attempts)


def test_where_somebody_has_put_something_over_ours_it_stays(
    meter: Meter, attempts: list[Attempt], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = urllib3.PoolManager()
    # What it was before comes back with the end of the test.
    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", urllib3.HTTPConnectionPool.urlopen)
    undo = patch(lambda: meter)
    ours = urllib3.HTTPConnectionPool.urlopen

    def over(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", over)
    manager.request("POST", path_of(gateway), json=BODY)
    undo()
    manager.request("POST", path_of(gateway), json=BODY)
    assert 1 == len(attempts)


def test_a_meter_that_is_switched_off_lets_calls_pass(meter: Meter, attempts: list[Attempt], gateway: Gateway) -> None:
    meters: list[Meter | None] = [None]
    undo = patch(lambda: meters[0])
    manager = urllib3.PoolManager()
    manager.request("POST", path_of(gateway), json=BODY)
    meters[0] = meter
    manager.request("POST", path_of(gateway), json=BODY)
    undo()
    assert 1 == len(attempts)


def test_a_pool_that_somebody_has_written_and_sends_again_by_itself_leaves_each_attempt(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    class Stubborn(urllib3.HTTPConnectionPool):
        def urlopen(self, *args: Any, **kwargs: Any) -> Any:
            response: Any = super().urlopen(*args, **kwargs)
            while response.status == 503:
                response = super().urlopen(*args, **kwargs)
            return response

    gateway.tell(status=503, times=2)
    url = parse_url(gateway.url)
    with Stubborn(str(url.host), url.port) as pool:
        meter_client(pool, meter, provisional=False)
        pool.request("POST", "/v1/images/generations", json=BODY)
    assert THREE == numbers(attempts)


def test_a_pool_that_answers_by_itself_is_read(meter: Meter, attempts: list[Attempt]) -> None:
    class Canned(urllib3.HTTPConnectionPool):
        def urlopen(self, *args: Any, **kwargs: Any) -> Any:
            return urllib3.HTTPResponse(b'{"data":[{"url":"https://media.test/1.png"}]}', status=200)

    with Canned("mock.test") as pool:
        meter_client(pool, meter, provisional=False)
        pool.request("POST", "/v1/images/generations", json=BODY)
    assert [("success", 1)] == [(attempt.outcome, attempt.images) for attempt in attempts]


GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, sys, urllib3
from pixelmeter import Meter
from pixelmeter.drivers.urllib3 import patch
from pixelmeter.testing import capture_calls
url, meter = sys.argv[1], Meter(sys.argv[2])
patch(lambda: meter)
manager = urllib3.PoolManager(maxsize=9)
def post(behaviour):
    body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
    return manager.request("POST", url, json=body, headers={"x-test-behaviour": behaviour})
with capture_calls() as attempts:
    left = gevent.spawn(post, '{"hold": "before_headers"}')
    gevent.joinall([gevent.spawn(post, "{}") for _ in range(8)], raise_error=True)
    left.kill()
print(sorted(attempt.outcome for attempt in attempts), len({attempt.call_id for attempt in attempts}))
print(meter.status()["failures"], meter.close())
"""


@pytest.mark.slow
def test_greenlets_have_calls_of_their_own_and_one_that_is_killed_is_cancelled(
    gateway: Gateway, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, path_of(gateway), f"sqlite:///{tmp_path}/ledger.db"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [f"{['cancelled'] + ['success'] * 8} 9", "{} True"] == done.stdout.splitlines()


@pytest.mark.parametrize("outermost", ["pixelmeter", "opentelemetry"])
def test_the_trace_is_that_of_opentelemetrys_instrumentation(
    outermost: str, meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    exporter = InMemorySpanExporter()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = URLLib3Instrumentor()
    if outermost == "pixelmeter":
        instrumentor.instrument(tracer_provider=traces)
    undo = patch(lambda: meter)
    if outermost == "opentelemetry":
        instrumentor.instrument(tracer_provider=traces)
    manager = urllib3.PoolManager()
    manager.request("POST", path_of(gateway), json=BODY)
    if outermost == "opentelemetry":
        instrumentor.uninstrument()
    undo()
    if outermost == "pixelmeter":
        instrumentor.uninstrument()
    [span] = exporter.get_finished_spans()
    assert span.context is not None
    assert [f"{span.context.trace_id:032x}"] == [attempt.trace_id for attempt in attempts]


def test_headers_may_be_bytes_or_numbers(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    headers: Any = {b"content-type": b"application/json", "x-size": 3}
    manager.request("POST", path_of(gateway), body='{"model":"meta/sam-3-1-image"}', headers=headers)
    assert [("success", "meta/sam-3-1-image")] == [(attempt.outcome, attempt.model) for attempt in attempts]
