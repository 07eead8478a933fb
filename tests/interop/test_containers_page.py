"""docs/containers.md and docs/processes.md: their programs run, and no call is missing when the server has stopped.

The ledger is looked at as it is: nobody takes in what is left in the spool.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pixelmeter.testing import Gateway
from tests.interop.container import contained
from tests.ledger.reading import stored
from tests.sinks.web.running import free_port, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = "".join((ROOT / "docs" / name).read_text() for name in ("containers.md", "processes.md"))
PROGRAMS = dict(re.findall(r"<!-- (?:program|file): (\S+) -->\n+```\w+\n(.*?)```", PAGE, re.DOTALL))
PATH = (ROOT / "examples", ROOT / "src", ROOT)
CALLS = 5
SPOOL = "/var/lib/pixelmeter"


@pytest.fixture
def environment(gateway: Gateway, postgres_url: str, tmp_path: Path) -> dict[str, str]:
    """What a service is told; its writer rests so long that only the end of the server makes it write."""
    return {
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": gateway.url,
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
        "PIXELMETER_DATABASE_URL": postgres_url,
        "PIXELMETER_SPOOL_DIR": str(tmp_path / "spool"),
        "PIXELMETER_WRITE_INTERVAL": "3600",
    }


@contextmanager
def serving(
    module: str, *arguments: str, folder: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module` while the block lasts, and end it by SIGTERM, as a container is ended."""
    path = os.pathsep.join(map(str, (folder, *PATH)))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with stopped(process):
        yield process


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Send SIGTERM after the block and wait for the end, however long a busy machine takes."""
    try:
        yield
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def make_calls(port: int) -> None:
    until(lambda: answers(f"http://127.0.0.1:{port}/openapi.json"), seconds=60)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for number in range(CALLS):
            made = client.post("/images", params={"prompt": "a fox"}, headers={"x-customer": f"c{number}"})
            assert 1 == len(made.raise_for_status().json())


def customers(url: str) -> list[str]:
    return sorted(json.loads(attempt.tags)["customer"] for attempt in stored(url).values())


def test_the_program_of_the_page_is_the_example() -> None:
    for name, text in PROGRAMS.items():
        if "/" in name:
            assert text in (ROOT / name).read_text(), name


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_service_that_uvicorn_ends_by_a_signal_has_written_every_call(
    environment: dict[str, str], postgres_url: str, gateway: Gateway, tmp_path: Path, options: list[str]
) -> None:
    port = free_port()
    command = ["uvicorn", "fastapi_app:app", "--port", str(port), *options]
    with serving(*command, folder=tmp_path, environment=environment):
        make_calls(port)
    assert [f"c{number}" for number in range(CALLS)] == customers(postgres_url)
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in stored(postgres_url).values())


SITE = """
import atexit, os, pathlib
atexit.register(lambda: pathlib.Path(f"ended-{os.getpid()}").touch())
from tests.sinks.web.workers import app
"""


def test_the_workers_of_gunicorn_end_normally_so_exit_handlers_run(
    environment: dict[str, str], gateway: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "site_of_workers.py").write_text(SITE)
    environment |= {"GATEWAY_URL": gateway.url, "CALLING": str(tmp_path / "calling")}
    port = free_port()
    command = ["gunicorn", "--workers", "2", "--threads", "2", "--bind", f"127.0.0.1:{port}", "site_of_workers:app"]
    with serving(*command, folder=tmp_path, environment=environment):
        until(lambda: answers(f"http://127.0.0.1:{port}/metrics"), seconds=60)
        httpx.get(f"http://127.0.0.1:{port}/call", timeout=60).raise_for_status()
    assert 2 == len(list(tmp_path.glob("ended-*")))


def test_the_workers_of_celery_have_written_every_call_when_they_end(
    environment: dict[str, str], postgres_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    folders = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    (tmp_path / "broker.py").write_text(
        f"broker_url = 'filesystem://'\nbroker_transport_options = {folders}\nworker_send_task_events = False\n"
    )
    environment |= {"CELERY_CONFIG_MODULE": "broker"}
    command = [
        "celery",
        "--app",
        "celery_tasks",
        "worker",
        "--concurrency",
        "2",
        "--pool",
        "prefork",
        "--loglevel",
        "INFO",
    ]
    with serving(*command, "--without-mingle", "--without-gossip", folder=tmp_path, environment=environment):
        send = f"import celery_tasks\nfor number in range({CALLS}): celery_tasks.make.delay(f'c{{number}}', 'a fox')"
        subprocess.run(
            [sys.executable, "-c", send],
            cwd=tmp_path,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, *PATH)))},
            check=True,
        )
        until(lambda: CALLS == (tmp_path / "server.log").read_text().count(" succeeded in "), seconds=90)
    assert [f"c{number}" for number in range(CALLS)] == customers(postgres_url)
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in stored(postgres_url).values())


def deployment() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PROGRAMS["deployment.yaml"])["spec"]["template"]["spec"]
    return found


def test_the_manifest_gives_the_spool_a_folder_and_the_program_the_signal_and_the_time() -> None:
    pod = deployment()
    [container] = pod["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert SPOOL == told["PIXELMETER_SPOOL_DIR"]
    assert mounted[SPOOL] in {volume["name"] for volume in pod["volumes"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["terminationGracePeriodSeconds"] > 60


def test_the_image_starts_the_program_itself_and_makes_the_folder_of_the_spool_private() -> None:
    lines = PROGRAMS["Dockerfile"].splitlines()
    [start] = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    assert deployment()["containers"][0]["command"] == start
    assert f"ENV PIXELMETER_SPOOL_DIR={SPOOL}" in lines
    assert any(f"--mode 700 {SPOOL}" in line for line in lines)


def test_the_container_of_the_manifest_loses_nothing_though_its_spool_goes_with_it(
    environment: dict[str, str], postgres_url: str, tmp_path: Path
) -> None:
    [container] = deployment()["containers"]
    told = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    port = free_port()
    command = [str(port) if part == "8000" else part for part in container["command"]]
    assert SPOOL == told["PIXELMETER_SPOOL_DIR"]
    process = contained(command, environment | told, tmp_path / "root", tmp_path / "server.log")
    with stopped(process):
        make_calls(port)
    assert [f"c{number}" for number in range(CALLS)] == customers(postgres_url), (tmp_path / "server.log").read_text()
