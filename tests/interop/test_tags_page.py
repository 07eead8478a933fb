"""The programs of docs/tags.md put their tags on the calls that they make."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "tags.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

OF_A_BROWSER = {"customer": "acme"}
FASTAPI = """
from fastapi.testclient import TestClient
with TestClient(app) as browser:
    assert browser.post("/banner", headers={"x-customer": "acme"}).is_success
"""
STARLETTE = FASTAPI.replace("fastapi", "starlette")
FLASK = """
assert app.test_client().post("/banner", headers={"x-customer": "acme"}).status_code == 200
"""
DJANGO = """
import asyncio
import django.conf
from django.http import HttpResponse
from django.test import RequestFactory
from openai import OpenAI

django.conf.settings.configure()
meter = pixelmeter.Meter()
client = pixelmeter.instrument(OpenAI(base_url="https://api.aigateway.sh/v1"), meter)


def view(request):
    client.images.generate(model="meta/sam-3-1-image", prompt="a fox")
    return HttpResponse()


async def async_view(request):
    return view(request)


request = RequestFactory().post("/banner", headers={"x-customer": "acme"})
tagged(view)(request)
asyncio.run(tagged(async_view)(request))
"""


@pytest.mark.parametrize(
    ("program", "use", "expected"),
    [
        (
            PROGRAMS[0],
            "from types import SimpleNamespace\nbanner(SimpleNamespace(id=7))\n",
            [
                {"env": "prod", "team": "growth", "feature": "hero"},
                {"env": "prod", "customer": "7", "feature": "banner"},
            ],
        ),
        (PROGRAMS[1], FASTAPI, [OF_A_BROWSER]),
        # What FastAPI is made of.
        pytest.param(PROGRAMS[2], STARLETTE, [OF_A_BROWSER], marks=pytest.mark.slow),
        pytest.param(PROGRAMS[3], FLASK, [OF_A_BROWSER], marks=pytest.mark.slow),
        pytest.param(PROGRAMS[4], DJANGO, [OF_A_BROWSER] * 2, marks=pytest.mark.slow),
        (PROGRAMS[5], 'banner.apply(args=["acme"]).get()\n', [{"customer": "acme", "feature": "nightly"}]),
    ],
    ids=["block and decorator", "fastapi", "starlette", "flask", "django", "celery"],
)
def test_a_program_of_the_page_tags_its_calls(
    program: str, use: str, expected: list[dict[str, str]], gateway: Gateway, tmp_path: Path
) -> None:
    text = f"{program}\n{use}\nassert meter.flush(60)\n".replace("https://api.aigateway.sh", gateway.root)
    (tmp_path / "program.py").write_text(text)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIXELMETER_")},
        "OPENAI_API_KEY": "sk-test",
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert 0 == ran.returncode, ran.stderr
    with closing(sqlite3.connect(tmp_path / "pixelmeter.db")) as ledger:
        rows = ledger.execute("SELECT tags FROM pixelmeter_attempts ORDER BY id").fetchall()
    assert expected == [json.loads(tags) for (tags,) in rows]


def test_every_program_of_the_page_is_run() -> None:
    assert 6 == len(PROGRAMS)


def test_a_def_dependency_of_fastapi_loses_the_context_as_the_page_says(gateway: Gateway, tmp_path: Path) -> None:
    plain = PROGRAMS[1].replace("async def tagged", "def tagged")
    test_a_program_of_the_page_tags_its_calls(plain, FASTAPI, [{}], gateway, tmp_path)
