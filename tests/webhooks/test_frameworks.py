"""The handlers of docs/jobs.md, in the web frameworks that they are written for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from wsgiref.util import setup_testing_defaults

import pytest
from fastapi.testclient import TestClient

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.errors import WebhookError
from tests.webhooks.senders import AIG_BODY, AIG_SECRET, EVENTS, Headers, aig, aig_docs, fal

_PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
_PROGRAMS = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8").partition("## Webhooks")[2], re.DOTALL)

Post = Callable[[bytes, Headers], tuple[int, Any]]


def _fastapi(app: Any) -> Post:
    def post(body: bytes, headers: Headers) -> tuple[int, Any]:
        answer = TestClient(app).post("/images/webhook", content=body, headers=headers)
        return answer.status_code, answer.json()

    return post


def _flask(app: Any) -> Post:
    def post(body: bytes, headers: Headers) -> tuple[int, Any]:
        answer = app.test_client().post("/images/webhook", data=body, headers=headers)
        return answer.status_code, answer.json or answer.text

    return post


@pytest.fixture(params=[_fastapi, _flask])
def post(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    """Posts to the handler of the page."""
    monkeypatch.setenv("AIGATEWAY_WEBHOOK_SECRET", AIG_SECRET)
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", f"sqlite:///{tmp_path}/a.db")
    [program] = [each for each in _PROGRAMS if f"from {request.param.__name__[1:]} import" in each]
    names: dict[str, Any] = {"__name__": "app"}
    # Annotations are not text in these programs, and their frameworks look at them.
    exec(compile(program, "app.py", "exec", dont_inherit=True), names)
    return cast("Post", request.param(names["app"]))


@pytest.mark.parametrize("sign", [aig, aig_docs])
def test_an_event_is_taken_by_a_handler(post: Post, heard: list[JobEnd], sign: Callable[[bytes], Headers]) -> None:
    assert (200, {"job": "job_01", "outcome": "success"}) == post(AIG_BODY, sign(AIG_BODY))
    assert [("aigateway", "job_01", 40_000_000)] == [(end.gateway, end.job_id, end.reported_cost) for end in heard]


def test_what_proves_nothing_is_answered_with_an_error(post: Post, heard: list[JobEnd]) -> None:
    for body, headers, said in (
        (AIG_BODY + b" ", aig(AIG_BODY), "wrong signature"),
        (AIG_BODY, {}, "no signature"),
        (AIG_BODY, aig(AIG_BODY, 1), "too old"),
        (AIG_BODY, fal(AIG_BODY), "no secret of fal"),
    ):
        status, answer = post(body, headers)
        assert (400, True) == (status, said in str(answer))
    assert [] == heard


def test_headers_of_plain_wsgi_are_pairs(meter: pixelmeter.Meter) -> None:
    def app(environ: dict[str, Any]) -> str:
        names = (name for name in environ if name.startswith("HTTP_"))
        headers = [(name[5:].replace("_", "-"), cast("str", environ[name])) for name in names]
        return meter.webhook(headers, environ["wsgi.input"]).gateway

    for gateway, body, sign in EVENTS.values():
        environ: dict[str, Any] = {"wsgi.input": body}
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in sign(body).items()}
        setup_testing_defaults(environ)
        assert gateway == app(environ)


def test_an_event_is_taken_on_an_event_loop(meter: pixelmeter.Meter) -> None:
    import asyncio

    async def take() -> str | None:
        with pytest.raises(WebhookError):
            meter.webhook({}, AIG_BODY)
        return meter.webhook(aig(AIG_BODY), AIG_BODY).outcome

    assert "success" == asyncio.run(take())
