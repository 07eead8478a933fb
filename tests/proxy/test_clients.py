"""Programs in other languages, with the proxy as their base URL and nothing else changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.conftest import unavailable
from tests.proxy.conftest import Pair
from tests.proxy.test_metering import BODY, PATH, Calls
from tests.proxy.upstream import GENEROUS

EXAMPLES = Path(__file__).parents[2] / "examples" / "proxy"


def program(name: str, package: str) -> str:
    """Return where a program is; skip the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        unavailable(f"{name} is not installed", f"apt-get install {package}")
    assert found is not None
    return found


def run(*command: str, **environment: str) -> str:
    """Run a program to its end, and return what it printed."""
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=GENEROUS, check=False, env={**os.environ, **environment}
    )
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout


@pytest.fixture
def calls(pair: Pair) -> Calls:
    return Calls(pair)


@pytest.mark.parametrize("options", [[], ["--http1.0"], ["--http2"], ["--compressed"], ["-H", "Expect: 100-continue"]])
def test_curl(pair: Pair, calls: Calls, gateway: Gateway, options: list[str]) -> None:
    headers = [each for name, value in calls.headers.items() for each in ("--header", f"{name}: {value}")]
    command = [program("curl", "curl"), "--silent", "--fail", *options, *headers, "--json", json.dumps(BODY)]
    answer = json.loads(run(*command, f"{pair.root}/gw{PATH}"))

    assert 2 == len(answer["data"])
    assert (gateway.billed_nano(), "success") == (calls.row().cost, calls.row().outcome)


def test_curl_with_an_upload(pair: Pair, calls: Calls, gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"\x89PNG" + b"x" * 2_000_000)
    form = ["--form", f"image=@{tmp_path}/fox.png;type=image/png", "--form", "model=bria/fibo-edit/edit"]
    headers = [each for name, value in calls.headers.items() for each in ("--header", f"{name}: {value}")]
    run(
        program("curl", "curl"), "--silent", "--fail", *headers, *form, "--form", "prompt=a fox",
        f"{pair.root}/gw/v1/images/edits",
    )  # fmt: skip

    assert ("edit", gateway.billed_nano()) == (calls.row().operation, calls.row().cost)


@pytest.mark.slow
def test_fetch_of_node(pair: Pair, calls: Calls, gateway: Gateway) -> None:
    printed = run(
        program("node", "nodejs"),
        str(EXAMPLES / "fetch.mjs"),
        OPENAI_BASE_URL=f"{pair.root}/gw/v1",
        OPENAI_API_KEY="sk-x",
        PIXELMETER_CALL_TAGS=f"test={calls.name}",
    )
    rows = calls.rows(2)

    assert "1 image\n1 image, after 1 earlier event\n" == printed
    assert gateway.billed_nano() == sum(row.cost or 0 for row in rows)
