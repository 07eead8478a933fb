"""Who may see the page, by which name, and what every answer says to the browser."""

from __future__ import annotations

import asyncio
import base64

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from pixelmeter.serve.access import Access
from pixelmeter.serve.guard import Guard
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.serve.page.browsing import browsing, fill

PATHS = ["/", "/calls", "/budgets", "/reconciliation", "/health", "/runbooks/", "/static/page.css", "/nowhere"]


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.mark.parametrize("path", [*PATHS, "/metrics"])
def test_nobody_sees_anything_without_the_token(sqlite_url: str, clock: FakeClock, path: str) -> None:
    fill(sqlite_url, [make_attempt(model="secret-model")])
    given = [
        "",
        "Bearer open-sesam",
        "Basic open-sesame",
        basic("open-sesame:"),
        basic("me:wrong"),
        basic("open-sesame"),
    ]
    with browsing(sqlite_url, clock, Guard("bearer", "open-sesame"), host="images.example.com") as browser:
        answers = [browser.get(path, authorization=value) for value in given]

    assert {401} == {answer.status for answer in answers}
    assert {"unauthorized\n"} == {answer.text for answer in answers}
    challenge = 'Bearer realm="pixelmeter"'
    if path != "/metrics":
        challenge = f'Basic realm="pixelmeter", {challenge}'
    assert {challenge} == {answer.headers["www-authenticate"] for answer in answers}


def test_a_browser_sends_the_token_as_the_password_of_any_user(sqlite_url: str, clock: FakeClock) -> None:
    fill(sqlite_url, [make_attempt()])
    with browsing(sqlite_url, clock, Guard("bearer", "open:sesame"), host="images.example.com") as browser:
        shown = [
            browser.get("/", authorization=value)
            for value in ("Bearer open:sesame", basic("me:open:sesame"), basic(":open:sesame"))
        ]
    with browsing(sqlite_url, clock, Guard("basic", "me:open-sesame")) as browser:
        by_password = [
            browser.get("/", authorization=basic(pair)).status for pair in ("me:open-sesame", "you:open-sesame")
        ]

    assert [200] * 3 == [answer.status for answer in shown]
    assert [200, 401] == by_password


def test_health_of_the_server_is_for_everybody(sqlite_url: str, clock: FakeClock) -> None:
    with browsing(sqlite_url, clock, Guard("bearer", "open-sesame"), host="images.example.com") as browser:
        answer = browser.client.get("/-/healthy")

    assert (200, "healthy\n") == (answer.status_code, answer.text)


@pytest.mark.parametrize(
    "host", ["evil.example.com", "127.0.0.1.evil.example.com", "10.0.0.1", "", "[::1", "localhost."]
)
def test_without_a_guard_another_name_than_this_machines_is_refused(
    sqlite_url: str, clock: FakeClock, host: str
) -> None:
    fill(sqlite_url, [make_attempt()])
    with browsing(sqlite_url, clock) as browser:
        refused = [browser.get(path, host=host) for path in PATHS]
        metrics = browser.get("/metrics", host=host)

    assert {421} == {answer.status for answer in refused}
    assert all("--token-file" in answer.text for answer in refused)
    assert 200 == metrics.status


@pytest.mark.parametrize("host", ["localhost:9469", "127.0.0.1:9469", "[::1]:9469", "LOCALHOST"])
def test_this_machine_by_its_own_names_is_let_in(sqlite_url: str, clock: FakeClock, host: str) -> None:
    fill(sqlite_url, [make_attempt()])
    with browsing(sqlite_url, clock) as browser:
        assert 200 == browser.get("/calls", host=host).status


@pytest.mark.parametrize("path", [*PATHS, "/metrics", "/-/healthy"])
def test_every_answer_forbids_what_the_page_does_not_need(sqlite_url: str, clock: FakeClock, path: str) -> None:
    fill(sqlite_url, [make_attempt()])
    with browsing(sqlite_url, clock) as browser:
        headers = browser.get(path).headers

    assert (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ) == headers["content-security-policy"]
    assert ("nosniff", "no-referrer") == (headers["x-content-type-options"], headers["referrer-policy"])
    assert headers["cache-control"] == "no-store" or path.startswith("/static/")


def test_only_reading_is_answered(sqlite_url: str, clock: FakeClock) -> None:
    with browsing(sqlite_url, clock) as browser:
        assert {405} == {browser.client.request(method, "/calls").status_code for method in ("POST", "PUT", "DELETE")}


def test_no_file_outside_the_folder_is_served(sqlite_url: str, clock: FakeClock) -> None:
    with browsing(sqlite_url, clock) as browser:
        for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%2fetc/passwd"):
            assert browser.get(path).status in {404, 400}, path


@pytest.mark.parametrize("is_begun", [False, True])
def test_an_answer_that_the_end_of_the_server_cuts_off_is_no_error(*, is_begun: bool) -> None:
    sent: list[Message] = []

    async def cut_off(_: Scope, __: Receive, send: Send) -> None:
        if is_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise asyncio.CancelledError

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(Access(cut_off, None, has_page=True)(scope, receive, send))

    [start] = [message for message in sent if message["type"] == "http.response.start"]
    assert (200 if is_begun else 503) == start["status"]
    assert "content-security-policy" in Headers(raw=start["headers"])
