"""What mocks and cassettes answer is no paid call, and what they let pass is one."""

from __future__ import annotations

import httpx
import pytest
import respx
import vcr

import pixelmeter.drivers.httpx
import pixelmeter.drivers.httpx2
import pixelmeter.drivers.urllib3
import pixelmeter.testing.replays
from pixelmeter.testing import Gateway
from pixelmeter.testing.replays import is_this_machine

pytest_plugins = ["pytester"]

# After a run in this process, pytester forgets what was imported in it: these are not to be loaded twice.
KEPT = [
    httpx,
    respx,
    vcr,
    pixelmeter.drivers.httpx,
    pixelmeter.drivers.httpx2,
    pixelmeter.Budget,
    pixelmeter.instrument,
]

HEAD = """
import asyncio
import os

import httpx
import httpx2
import pixelmeter
import pytest
import requests
import respx
import vcr

METER = pixelmeter.Meter(gateways={"127.0.0.1:*": "aigateway"})
FAR = "https://api.aigateway.sh/v1/images/generations"
NEAR = os.environ["GATEWAY_URL"] + "/images/generations"
ASKED = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
ANSWER = {"created": 1, "data": [{"url": "https://images.example/1.png"}]}


def post(url, client=None, library=httpx):
    with client or library.Client(timeout=60) as client:
        return pixelmeter.instrument(client, METER).post(url, json=ASKED)


def seen(calls):
    return [calls.images, calls.replayed, str(calls.cost.normalize()), len(calls.paid)]
"""
"""A price is known for this model at the gateway of that host."""


@pytest.fixture
def project(pytester: pytest.Pytester, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("GATEWAY_URL", gateway.url)
    return pytester


def run(project: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    project.makepyfile(HEAD + test)
    return project.runpytest_inprocess("-p", "no:cacheprovider", "-rA", *options)


TRANSPORTS = """
def answering(request):
    return httpx.Response(200, json=ANSWER)


class Retrying(httpx.BaseTransport):
    def __init__(self, inner):
        self.inner = inner

    def handle_request(self, request):
        return self.inner.handle_request(request)


def application(environ, start_response):
    body = b'{"created": 1, "data": [{"url": "https://images.example/1.png"}]}'
    start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    body = b'{"created": 1, "data": [{"url": "https://images.example/1.png"}]}'
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("transport", [
    httpx.MockTransport(answering),
    Retrying(httpx.MockTransport(answering)),
    httpx.WSGITransport(application),
])
def test_in_memory(transport, image_calls):
    post(FAR, httpx.Client(transport=transport))
    assert seen(image_calls) == [1, 1, "0.01", 0]


def test_of_httpx2(image_calls):
    answering = lambda request: httpx2.Response(200, json=ANSWER)
    post(FAR, httpx2.Client(transport=httpx2.MockTransport(answering)))
    assert seen(image_calls) == [1, 1, "0.01", 0]


def test_mounted(image_calls):
    post(FAR, httpx.Client(mounts={"https://api.aigateway.sh": httpx.MockTransport(answering)}))
    assert seen(image_calls) == [1, 1, "0.01", 0]


@pytest.mark.parametrize("transport", [httpx.MockTransport(answering), httpx.ASGITransport(asgi)])
def test_async(transport, image_calls):
    async def call():
        async with httpx.AsyncClient(transport=transport) as client:
            await pixelmeter.instrument(client, METER).post(FAR, json=ASKED)
    asyncio.run(call())
    assert seen(image_calls) == [1, 1, "0.01", 0]


def test_transport_of_ours(image_calls):
    from pixelmeter.httpx import MeterTransport
    with httpx.Client(transport=MeterTransport(METER, httpx.MockTransport(answering))) as client:
        client.post(FAR, json=ASKED)
    assert seen(image_calls) == [1, 1, "0.01", 0]


def test_a_transport_that_hides_what_it_sends_with_is_taken_for_live(image_calls):
    class Hidden(httpx.BaseTransport):
        def handle_request(self, request):
            return answering(request)
    with pytest.raises(pytest.fail.Exception, match="pixelmeter_block_live: an image call to api.aigateway.sh"):
        post(FAR, httpx.Client(transport=Hidden()))
    assert len(image_calls) == 0
"""


def test_transports_in_memory_answer_whatever_the_limits_are(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\npixelmeter_block_live = true\npixelmeter_max_cost = 0.001\n")
    result = run(project, TRANSPORTS, "--image-budget=0.001")
    # The last one is told of the refused call once more, at its end.
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(
        [
            "0 calls, 0 images, $0.00",
            "8 requests answered by mocks or cassettes, not counted",
            "budget $0.001, used up $0.00",
            "1 call of 1 test not sent",
        ]
    )


RESPX = """
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
def test_mocked(using, image_calls):
    with respx.mock(using=using) as router:
        router.post(FAR).respond(200, json=ANSWER)
        post(FAR)
    assert len(image_calls.paid) == 0


def test_no_route(image_calls):
    with respx.mock, pytest.raises(respx.models.AllMockedAssertionError):
        post(FAR)


def test_passed_on(image_calls):
    with respx.mock(assert_all_called=False) as router:
        router.post(NEAR).pass_through()
        router.post(FAR).respond(200, json=ANSWER)
        post(NEAR)
        post(FAR)
    assert seen(image_calls) == [2, 1, "0.02", 1]


def test_passed_on_to_far_away(image_calls):
    with respx.mock as router:
        router.route().pass_through()
        post(FAR)
"""


def test_what_respx_answers_is_not_paid_and_what_it_passes_on_is(project: pytest.Pytester, gateway: Gateway) -> None:
    project.makeini("[pytest]\npixelmeter_block_live = true\n")
    result = run(project, RESPX)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["pixelmeter_block_live: *", "FAILED *::test_passed_on_to_far_away*"])
    assert 1 == len(gateway.billing())


PYTEST_HTTPX = """
@pytest.mark.httpx_mock(should_mock=lambda request: request.url.host != "127.0.0.1")
def test_mocked(httpx_mock, image_calls):
    httpx_mock.add_response(json=ANSWER)
    post(FAR)
    post(NEAR)
    assert seen(image_calls) == [2, 1, "0.02", 1]


def test_async(httpx_mock, image_calls):
    httpx_mock.add_response(json=ANSWER)
    async def call():
        async with httpx.AsyncClient() as client:
            await pixelmeter.instrument(client, METER).post(FAR, json=ASKED)
    asyncio.run(call())
    assert seen(image_calls) == [1, 1, "0.01", 0]


@pytest.mark.httpx_mock(should_mock=lambda request: False)
def test_passed_on_to_far_away(httpx_mock):
    post(FAR)
"""


def test_what_pytest_httpx_answers_is_not_paid_and_what_it_lets_pass_is(
    project: pytest.Pytester, gateway: Gateway
) -> None:
    project.makeini("[pytest]\npixelmeter_block_live = true\n")
    result = run(project, PYTEST_HTTPX)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["pixelmeter_block_live: *", "FAILED *::test_passed_on_to_far_away*"])
    assert 1 == len(gateway.billing())


VCRPY = """
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_cassette(library, image_calls):
    with vcr.use_cassette(f"{library.__name__}.yaml"):
        post(NEAR, library=library)
    assert seen(image_calls) == [1, REPLAYED, "0.01", 1 - REPLAYED]


def test_cassette_requests(image_calls):
    with vcr.use_cassette("requests.yaml"), requests.Session() as session:
        pixelmeter.instrument(session, METER).post(NEAR, json=ASKED, timeout=60)
    assert seen(image_calls) == [1, REPLAYED, "0.01", 1 - REPLAYED]


def test_cassette_async(image_calls):
    async def call():
        async with httpx.AsyncClient(timeout=60) as client:
            await pixelmeter.instrument(client, METER).post(NEAR, json=ASKED)
    with vcr.use_cassette("async.yaml"):
        asyncio.run(call())
    assert seen(image_calls) == [1, REPLAYED, "0.01", 1 - REPLAYED]
"""
ODD = """
def test_what_the_cassette_does_not_have_is_refused_by_it(image_calls):
    with vcr.use_cassette("httpx.yaml"), pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException):
        post(FAR)
    assert (1, 1) == (len(image_calls), image_calls.replayed)


def test_what_the_cassette_does_not_have_is_live_where_it_records(image_calls):
    with vcr.use_cassette("httpx.yaml", record_mode="new_episodes"):
        post(FAR)


def test_a_cassette_that_is_recorded_anew_is_live(image_calls):
    with vcr.use_cassette("httpx.yaml", record_mode="all"):
        post(NEAR)
    assert seen(image_calls) == [1, 0, "0.01", 1]
"""


@pytest.mark.slow
def test_a_cassette_is_paid_when_it_is_recorded_and_not_when_it_is_replayed(
    project: pytest.Pytester, gateway: Gateway
) -> None:
    project.makeini("[pytest]\npixelmeter_block_live = true\n")
    recorded = run(project, VCRPY.replace("REPLAYED", "0"))
    recorded.assert_outcomes(passed=4)
    recorded.stdout.fnmatch_lines(["4 calls, 4 images, $0.04"])
    assert 4 == len(gateway.billing())

    replayed = run(project, VCRPY.replace("REPLAYED", "1"), "--image-budget=0")
    replayed.assert_outcomes(passed=4)
    replayed.stdout.fnmatch_lines(["0 calls, 0 images, $0.00", "4 requests answered by mocks or cassettes, *"])
    assert 4 == len(gateway.billing())

    odd = run(project, ODD)
    odd.assert_outcomes(passed=2, failed=1)
    odd.stdout.fnmatch_lines(
        ["pixelmeter_block_live: *", "FAILED *::test_what_the_cassette_does_not_have_is_live_where_it_records*"]
    )
    assert 5 == len(gateway.billing())


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "a.localhost.", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "0.0.0.0", "[::]"]
)
def test_loopback_is_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    ["localhost.example", "127.0.0.1.example", "10.0.0.1", "192.168.0.1:80", "[fe80::1]", "[::ffff:8.8.8.8]", ""],
)
def test_what_is_not_loopback_is_somewhere_else(host: str) -> None:
    assert not is_this_machine(host)
