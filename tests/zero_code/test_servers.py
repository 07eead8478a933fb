"""Servers and workers, in which the process that makes the calls is one that another one has made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pixelmeter.testing import Gateway
from tests.sinks.web.running import free_port, until
from tests.zero_code.programs import app, ended, environment, rows, running

pytestmark = pytest.mark.slow

Start = Callable[..., list[str]]

WEB = """
import os
import httpx

client = httpx.Client()
body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}


def fox():
    answer = client.post(os.environ["GATEWAY"] + "/images/generations", json=body)
    return f"{answer.status_code} {os.getpid()}".encode()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [fox()]


async def asgi(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": fox()})
"""
CELERY = """
import os
import httpx
from celery import Celery

celery = Celery("jobs", broker="filesystem://", backend="file://" + os.environ["FOLDER"] + "/results")
folders = {name: os.environ["FOLDER"] + "/queue" for name in ("data_folder_in", "data_folder_out")}
celery.conf.broker_transport_options = {**folders, "control_folder": os.environ["FOLDER"] + "/control"}
celery.conf.worker_hijack_root_logger = False
client = httpx.Client()


@celery.task
def fox():
    body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
    return client.post(os.environ["GATEWAY"] + "/images/generations", json=body).status_code
"""
ASK = """
import sys
from jobs import fox
print([fox.delay().get(timeout=90) for _ in range(4)])
"""


@contextmanager
def served(command: Sequence[str], variables: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block lasts, and ask it to end then."""
    with (folder / "server.log").open("wb") as log:
        # A group of its own: a server that does not end takes its workers with it.
        process = subprocess.Popen(
            command, env=variables, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
        process.terminate()
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


@pytest.fixture(params=["pixelmeter run", "pixelmeter-auto"])
def start(request: pytest.FixtureRequest, with_auto: str) -> Start:
    """Returns the command that runs Python with what it is given, with each way to meter it."""
    return lambda *options: (
        [with_auto, *options] if request.param == "pixelmeter-auto" else running(sys.executable, *options)
    )


SERVERS = {
    "gunicorn": ("gunicorn", "--workers", "1", "web:wsgi", "--bind"),
    "gunicorn, preloaded": ("gunicorn", "--preload", "--workers", "2", "web:wsgi", "--bind"),
    "uvicorn, two workers": ("uvicorn", "--workers", "2", "web:asgi", "--port"),
}


def answers(url: str) -> str | None:
    """Return what a server answers; None while it does not."""
    try:
        return httpx.get(url, timeout=30).raise_for_status().text
    except httpx.TransportError:
        return None


@pytest.mark.parametrize("name", SERVERS)
def test_each_call_of_a_servers_workers_has_its_row(name: str, start: Start, gateway: Gateway, tmp_path: Path) -> None:
    app(tmp_path, WEB, "web.py")
    port = free_port()
    bind = f"127.0.0.1:{port}" if name.startswith("gunicorn") else str(port)
    command = start("-m", *SERVERS[name], bind)
    variables = environment(tmp_path, GATEWAY=gateway.url, PIXELMETER_AUTO="1")
    with served(command, variables, tmp_path):
        until(lambda: answers(f"http://127.0.0.1:{port}") is not None)
        given = [httpx.get(f"http://127.0.0.1:{port}", timeout=30).text for _ in range(8)]
    assert {"200"} == {text.partition(" ")[0] for text in given}
    assert len(gateway.billing()) == len(rows(tmp_path)) >= 9
    assert "pixelmeter" not in (tmp_path / "server.log").read_text()


def test_a_server_that_reloads_its_code_is_metered_afterwards(start: Start, gateway: Gateway, tmp_path: Path) -> None:
    app(tmp_path, WEB, "web.py")
    port = free_port()
    command = start("-m", "uvicorn", "--reload", "web:asgi", "--port", str(port))
    variables = environment(tmp_path, GATEWAY=gateway.url, PIXELMETER_AUTO="1")
    with served(command, variables, tmp_path):
        until(lambda: answers(f"http://127.0.0.1:{port}") is not None)
        first = answers(f"http://127.0.0.1:{port}")
        # Whole seconds of a file's time tell a change from none.
        os.utime(tmp_path / "web.py", times=(time.time() + 5, time.time() + 5))
        until(lambda: answers(f"http://127.0.0.1:{port}") not in (first, None))
    assert len(gateway.billing()) == len(rows(tmp_path)) >= 3


def test_each_task_of_a_celery_worker_has_its_row(start: Start, gateway: Gateway, tmp_path: Path) -> None:
    app(tmp_path, CELERY, "jobs.py")
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    variables = environment(tmp_path, GATEWAY=gateway.url, FOLDER=str(tmp_path), PIXELMETER_AUTO="1")
    command = start("-m", "celery", "--app", "jobs", "worker", "--concurrency", "2", "--pool", "prefork")
    with served(command, variables, tmp_path):
        asked = ended([sys.executable, app(tmp_path, ASK, "ask.py")], variables, tmp_path)
    assert (0, "[200, 200, 200, 200]\n") == (asked.status, asked.output), asked.errors
    assert (4, ["success"] * 4) == (len(gateway.billing()), rows(tmp_path))
