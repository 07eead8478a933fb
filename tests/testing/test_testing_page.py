"""What docs/testing.md shows runs as it stands, and what it says is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import pixelmeter.drivers.httpx2
import pixelmeter.testing.replays
from pixelmeter.testing import Gateway, ImageCalls
from pixelmeter.testing.image_run import Sums, lines
from pixelmeter.testing.run_budget import RunBudget

pytest_plugins = ["pytester"]

# After a run in this process, pytester forgets what was imported in it: these are not to be loaded twice.
KEPT = [openai, pixelmeter.drivers.httpx2, pixelmeter.testing.replays, pixelmeter.Budget, pixelmeter.instrument]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SETTINGS = re.findall(r"```ini\n# pytest.ini\n\[pytest\]\n(.*?)```", PAGE, re.DOTALL)
OPTIONS = re.findall(r"\$ pytest (.*)", PAGE)

SHOP = """
import os
from openai import OpenAI

client = OpenAI(base_url=os.environ["GATEWAY_URL"], api_key="sk-test")

def make_banner(prompt):
    client.images.generate(model="meta/sam-3-1-image", prompt=prompt)
"""
CLOSING = """
import pytest, shop

@pytest.fixture(scope="session", autouse=True)
def closing():
    yield
    shop.client.close()
"""
METERED = "import pixelmeter, shop\npixelmeter.instrument(shop.client, pixelmeter.Meter())\n"


@pytest.fixture
def project(pytester: pytest.Pytester, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A program whose pictures a stand-in gateway makes."""
    monkeypatch.setenv("GATEWAY_URL", gateway.url)
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    pytester.makepyfile(shop=SHOP)
    return pytester


def test_the_tests_of_the_page_pass_with_the_settings_and_options_of_the_page(project: pytest.Pytester) -> None:
    project.makeconftest(CLOSING)
    (project.path / "test_banner.py").write_text(PROGRAMS[0])
    project.makeini("[pytest]\n" + "".join(SETTINGS))
    result = project.runpytest_inprocess("-p", "no:cacheprovider", *" ".join(OPTIONS).split())
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 call, 1 image, $0.01", "budget $0.50, used up $0.01"])


@pytest.mark.slow
@pytest.mark.parametrize("program", [METERED + PROGRAMS[1], PROGRAMS[2]], ids=["capture_calls", "Gateway"])
def test_a_program_of_the_page_runs(project: pytest.Pytester, program: str) -> None:
    (project.path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], cwd=project.path, capture_output=True, text=True, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)


def test_every_program_setting_and_option_of_the_page_is_run() -> None:
    assert (3, 3, 1) == (len(PROGRAMS), len(SETTINGS), len(OPTIONS))


def test_the_page_names_every_sum_of_image_calls() -> None:
    public = {name for name in vars(ImageCalls) if not name.startswith("_")}
    section = PAGE.partition("## What a test made")[2].partition("\n## ")[0]
    assert public == set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def sums(test: str, attempts: int = 0, images: int = 0, cost: int = 0, replayed: int = 0, **rest: int) -> Sums:
    calls, at_risk, unknown = (rest.get(name, 0) for name in ("calls", "at_risk", "unknown"))
    return Sums(
        test=f"test_banner.py::{test}",
        attempts=attempts,
        calls=calls,
        images=images,
        cost=cost,
        at_risk=at_risk,
        unknown=unknown,
        replayed=replayed,
        refused=0,
    )


def test_the_summary_looks_as_the_page_shows_it(tmp_path: Path) -> None:
    cent = 10_000_000
    tests = [
        sums("test_a_banner_in_four_sizes", attempts=4, calls=3, images=5, cost=4 * cent),
        sums("test_a_broken_connection", attempts=2, calls=2, images=2, cost=2 * cent, at_risk=cent, unknown=1),
        sums("test_a_cassette", replayed=3),
    ]
    file = tmp_path / "budget"
    file.write_text(str(7 * cent))
    shown = re.findall(r"```text\n-+ image calls -+\n(.*?)```", PAGE, re.DOTALL)
    assert shown == ["\n".join(lines(tests, RunBudget(50 * cent, str(file)), 5)) + "\n"]
