"""The pytest plugin in real runs of pytest, against the stand-in gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import pixelmeter.drivers.httpx
import pixelmeter.testing.replays
from pixelmeter.capturing import CAPTURES
from pixelmeter.testing import Gateway

pytest_plugins = ["pytester"]

# After a run in this process, pytester forgets what was imported in it: these are not to be loaded twice.
KEPT = [openai, pixelmeter.drivers.httpx, pixelmeter.testing.replays, pixelmeter.Budget, pixelmeter.instrument]

CONFTEST = """
import os

import httpx
import pixelmeter
import pytest

METER = pixelmeter.Meter()


@pytest.fixture
def client():
    with httpx.Client(base_url=os.environ["GATEWAY_URL"], timeout=60) as client:
        yield pixelmeter.instrument(client, METER)


@pytest.fixture
def make(client):
    def make(**asked):
        asked = {"model": "meta/sam-3-1-image", "prompt": "a fox"} | asked
        return client.post("/images/generations", json=asked)
    return make
"""
"""One image of this model costs one cent."""


@pytest.fixture
def project(pytester: pytest.Pytester, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose tests can make images."""
    monkeypatch.setenv("GATEWAY_URL", gateway.url)
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    """Run pytest on a file of tests in this process, with the plugins that it finds."""
    project.makepyfile(test)
    return project.runpytest_inprocess("-p", "no:cacheprovider", *options)


def run_alone(project: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    """Run pytest on a file of tests in a process of its own, which ends with the run."""
    project.makepyfile(test)
    return project.runpytest_subprocess("-p", "no:cacheprovider", *options)


def test_a_test_asks_its_image_calls_for_their_sums(project: pytest.Pytester, gateway: Gateway) -> None:
    gateway.tell(status=500, times=1, match={"model": "bria/fibo"})
    result = run(
        project,
        """
        from decimal import Decimal

        def test_one(make, image_calls):
            assert (0, Decimal(0), 0) == (len(image_calls), image_calls.cost, image_calls.images)
            make()
            make(n=2)
            assert image_calls.cost == Decimal("0.03")
            assert image_calls.cost <= Decimal("0.03")
            assert image_calls.images == 3
            assert image_calls.calls == 2
            assert image_calls.models == {"meta/sam-3-1-image"}
            assert (image_calls.at_risk, image_calls.unknown, image_calls.replayed) == (0, 0, 0)
            assert [10_000_000, 20_000_000] == [attempt.cost for attempt in image_calls]
            assert image_calls.paid.cost == image_calls.cost

        def test_another(make, image_calls):
            make()
            assert image_calls.images == 1
            assert "1 images, cost $0.01" in repr(image_calls).replace("0.010000000", "0.01")
        """,
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*- image calls -*", "3 calls, 4 images, $0.04"])


def test_what_is_unknown_is_not_zero(project: pytest.Pytester, gateway: Gateway) -> None:
    gateway.tell(status=500)
    result = run(
        project,
        """
        def test_one(make, image_calls):
            make()
            assert image_calls.cost is None
            assert image_calls.unknown == 1
            assert image_calls.at_risk > 0
            assert image_calls.outcomes == ["error"]
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 call, 0 images, unknown + $0.01 at risk, 1 of unknown cost"])


def test_nothing_is_written_to_a_ledger_and_no_budget_of_the_program_is_asked(
    project: pytest.Pytester, gateway: Gateway
) -> None:
    result = run(
        project,
        """
        import pixelmeter

        def test_one(make):
            make()
            import conftest
            assert conftest.METER.flush(60)
            assert conftest.METER.close(60)

        def test_budget(client):
            with pixelmeter.Meter(budgets=[pixelmeter.Budget("0.001", per="day", action="block")]) as meter:
                with type(client)(base_url=client.base_url) as other:
                    pixelmeter.instrument(other, meter)
                    assert other.post("/images/generations", json={"model": "meta/sam-3-1-image"}).is_success
        """,
    )
    result.assert_outcomes(passed=2)
    assert 2 == len(gateway.billing())
    assert [] == [path for path in project.path.rglob("*") if path.suffix == ".db" or "spool" in path.name]
    assert [] == CAPTURES


def test_a_call_that_could_go_over_the_budget_of_the_run_is_not_sent(
    project: pytest.Pytester, gateway: Gateway
) -> None:
    result = run(
        project,
        """
        import pytest

        @pytest.mark.parametrize("number", range(5))
        def test_call(make, number):
            make()

        def test_without_a_call():
            pass
        """,
        "--image-budget=0.035",
    )
    result.assert_outcomes(passed=4, failed=2)
    assert 3 == len(gateway.billing())
    result.stdout.fnmatch_lines(
        [
            "--image-budget: * may cost $0.035, $0.03 are used up, and this one may cost $0.01; an image call to *",
            "3 calls, 3 images, $0.03",
            "budget $0.035, used up $0.03",
            "2 calls of 2 tests not sent",
        ]
    )


def test_a_call_is_not_sent_where_the_budget_cannot_be_asked(project: pytest.Pytester, gateway: Gateway) -> None:
    test = """
    import os

    def test_call(make, request):
        os.remove(request.config.pluginmanager.get_plugin("pixelmeter-totals")._run.budget.path)
        make()
    """
    result = run(project, test, "--image-budget=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*it cannot be told whether an image call to * may leave (FileNotFoundError); *"])
    assert [] == gateway.billing()


def test_what_is_at_risk_uses_up_the_budget_as_well(project: pytest.Pytester, gateway: Gateway) -> None:
    gateway.tell(status=500)
    result = run(project, "def test_call(make):\n    make()\n    make()\n    make()\n", "--image-budget=0.02")
    result.assert_outcomes(failed=1)
    assert 2 == len(gateway.billing())


def test_a_call_without_a_known_price_may_go_while_anything_is_left(project: pytest.Pytester, gateway: Gateway) -> None:
    gateway.tell(cost_header=False)
    run(project, "def test_call(make):\n    make(model='nobody/knows')\n", "--image-budget=0.01").assert_outcomes(
        passed=1
    )
    run(project, "def test_call(make):\n    make(model='nobody/knows')\n", "--image-budget=0").assert_outcomes(failed=1)
    assert 1 == len(gateway.billing())


def test_a_test_that_costs_more_than_it_may_fails(project: pytest.Pytester, gateway: Gateway) -> None:
    project.makeini("[pytest]\npixelmeter_max_cost = 0.015\n")
    result = run(
        project,
        """
        import pytest

        def test_cheap(make):
            make()

        def test_expensive(make):
            make(n=2)

        @pytest.mark.pixelmeter_max_cost(0.02)
        def test_may_cost_more(make):
            make(n=2)

        def test_that_goes_on(make):
            make(n=2)
            make()
        """,
    )
    result.assert_outcomes(passed=2, failed=2)
    # The last call of the last test was not made.
    assert 4 == len(gateway.billing())
    result.stdout.fnmatch_lines(
        [
            "the image calls of this test cost $0.02: pixelmeter_max_cost is $0.015",
            "pixelmeter_max_cost: the image calls of this test may cost $0.015 and have used $0.02; the next one, to *",
        ]
    )


FAR = """
import asyncio

import httpx
import pixelmeter
import pytest
from openai import OpenAI

METER = pixelmeter.Meter()
URL = "http://images.example/v1"
ASKED = {{"model": "gpt-image-1", "prompt": "a fox"}}


@pytest.fixture
def far():
    # Whatever leaves for there comes by this proxy.
    with httpx.Client(proxy="{proxy}", timeout=60) as client:
        yield pixelmeter.instrument(client, METER)
"""


def test_an_image_call_that_would_leave_this_machine_fails_its_test_and_is_not_sent(
    project: pytest.Pytester, gateway: Gateway
) -> None:
    project.makeini("[pytest]\npixelmeter_block_live = true\n")
    test = """
def test_plain(far):
    far.post(URL + "/images/generations", json=ASKED)

def test_noticed_by_nobody(far):
    try:
        far.post(URL + "/images/generations", json=ASKED)
    except BaseException:
        pass

def test_that_fails_by_itself(far):
    try:
        far.post(URL + "/images/generations", json=ASKED)
    except BaseException:
        raise AssertionError("it failed by itself") from None

def test_async():
    async def call():
        async with httpx.AsyncClient(proxy="{proxy}", timeout=60) as client:
            await pixelmeter.instrument(client, METER).post(URL + "/images/generations", json=ASKED)
    asyncio.run(call())

def test_an_sdk_that_tries_again():
    with OpenAI(base_url=URL, api_key="sk-test", max_retries=3) as client:
        pixelmeter.instrument(client, METER).images.generate(**ASKED)

def test_loopback(make):
    assert make().is_success
"""
    result = run(project, (FAR + test).format(proxy=gateway.root))
    result.assert_outcomes(failed=5, passed=1)
    assert ["meta/sam-3-1-image"] == [line["model"] for line in gateway.billing()]
    message = "pixelmeter_block_live: an image call to images.example (gpt-image-1) was about to leave this machine; *"
    result.stdout.fnmatch_lines([message] * 2 + ["*AssertionError: it failed by itself", message] + [message] * 2)
    result.stdout.fnmatch_lines(["5 calls of 5 tests not sent"])


def test_a_marker_lets_a_test_make_live_calls(project: pytest.Pytester, gateway: Gateway) -> None:
    project.makeini("[pytest]\npixelmeter_block_live = true\n")
    test = """
@pytest.mark.pixelmeter_block_live(False)
def test_live(far):
    far.post(URL + "/images/generations", json=ASKED)
"""
    # The proxy is no proxy, but it is reached.
    run(project, (FAR + test).format(proxy=gateway.root)).assert_outcomes(passed=1)
    assert 1 == len(gateway.billing())


UNMETERED = """
import os

import httpx
import pytest

CLIENT = httpx.Client(base_url=os.environ["GATEWAY_URL"])


@pytest.mark.parametrize("number", range(3))
def test_call(number):
    CLIENT.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})


@pytest.fixture(scope="session", autouse=True)
def closed():
    yield
    CLIENT.close()
"""


def test_a_limit_holds_for_clients_that_nobody_instruments(project: pytest.Pytester, gateway: Gateway) -> None:
    unseen = run(project, UNMETERED)
    unseen.assert_outcomes(passed=3)
    unseen.stdout.no_fnmatch_line("*image calls*")

    limited = run(project, UNMETERED, "--image-budget=0.02")
    limited.assert_outcomes(passed=2, failed=1)
    limited.stdout.fnmatch_lines(["2 calls, 2 images, $0.02"])

    marked = run(
        project, UNMETERED.replace("def test_call", '@pytest.mark.pixelmeter_max_cost("0.001")\ndef test_call')
    )
    marked.assert_outcomes(failed=3)
    assert 3 + 2 + 3 == len(gateway.billing())


def test_clients_that_nobody_instruments_are_seen_where_it_is_asked_for_and_not_where_it_is_forbidden(
    project: pytest.Pytester,
) -> None:
    project.makeini("[pytest]\npixelmeter_all_clients = true\n")
    run(project, UNMETERED).stdout.fnmatch_lines(["3 calls, 3 images, $0.03"])

    project.makeini("[pytest]\npixelmeter_all_clients = false\npixelmeter_max_cost = 0.001\n")
    result = run(project, UNMETERED, "--image-budget=0.01")
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*image calls*")


def test_calls_of_fixtures_imports_and_threads_are_counted(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        import os, threading
        import httpx, pytest
        from conftest import METER
        import pixelmeter

        CLIENT = pixelmeter.instrument(httpx.Client(base_url=os.environ["GATEWAY_URL"]), METER)

        def make():
            CLIENT.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})

        # Not CLIENT, which is opened once.
        with pixelmeter.instrument(httpx.Client(base_url=CLIENT.base_url), METER) as first:
            first.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})

        @pytest.fixture(scope="session")
        def made():
            with CLIENT:
                make()
                yield
                make()

        def test_one(made, image_calls):
            thread = threading.Thread(target=make)
            thread.start()
            thread.join()
            assert len(image_calls) == 2
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["4 calls, 4 images, $0.04", "most expensive:", "*$0.03 *::test_one", "*$0.01 *outside of tests"]
    )


@pytest.mark.slow
def test_an_attempt_that_has_not_ended_when_the_run_is_over_is_at_risk(project: pytest.Pytester) -> None:
    result = run_alone(
        project,
        """
        KEPT = []

        def test_one(client):
            answer = client.stream("POST", "/images/generations", json={"model": "meta/sam-3-1-image"})
            answer.__enter__()
            KEPT.append(answer)
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 call, 0 images, unknown + $0.01 at risk, 1 of unknown cost"])


@pytest.mark.parametrize("amount", ["many", "-1", "nan", "0.0000000001"])
def test_an_amount_that_is_none_is_said_to_be_wrong(pytester: pytest.Pytester, amount: str) -> None:
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", f"--image-budget={amount}")
    assert 4 == result.ret
    result.stderr.fnmatch_lines([f"*'{amount}' is no amount of US dollars, such as 0.50*"])

    pytester.makeini(f"[pytest]\npixelmeter_max_cost = {amount}\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert 4 == result.ret
    result.stderr.fnmatch_lines([f"*pixelmeter_max_cost: '{amount}' is no amount of US dollars, such as 0.50*"])


def test_a_marker_that_makes_no_sense_is_an_error_of_its_test(project: pytest.Pytester) -> None:
    markers = {
        'max_cost("much")': "pixelmeter_max_cost: 'much' is no amount of US dollars*",
        "max_cost()": "pixelmeter_max_cost has one argument, usd",
        "max_cost(dollars=1)": "pixelmeter_max_cost has one argument, usd",
        "max_cost(1, 2)": "pixelmeter_max_cost has one argument, usd",
        'block_live("no")': "pixelmeter_block_live: 'no' is neither True nor False",
        "block_live(blok=False)": "pixelmeter_block_live has one argument, block",
    }
    tests = [
        f"@pytest.mark.pixelmeter_{marker}\ndef test_{number}():\n    pass\n" for number, marker in enumerate(markers)
    ]
    result = run(project, "\n".join(["import pytest", *tests]), "--strict-markers")
    result.assert_outcomes(errors=len(markers))
    result.stdout.fnmatch_lines([f"*{told}" for told in markers.values()])


@pytest.mark.slow
def test_without_the_plugin_all_is_as_before(project: pytest.Pytester) -> None:
    result = run_alone(
        project,
        """
        import conftest

        def test_one(make):
            make()
            assert conftest.METER.close(60)
        """,
        "-p",
        "no:pixelmeter",
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*image calls*")
    assert (project.path / "pixelmeter.db").exists()


LOADED = """
import sys

def test_one():
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "pixelmeter")
    print("OURS", *ours)
    print("THEIRS", *{name.partition(".")[0] for name in sys.modules} & set(OTHERS))
"""
LIGHT = ["capturing", "testing", "testing.image_calls", "testing.image_run", "testing.pytest_plugin"]


@pytest.mark.slow
def test_a_project_without_image_calls_sees_and_imports_next_to_nothing(tmp_path: Path) -> None:
    others = [
        "httpx",
        "httpx2",
        "openai",
        "aiohttp",
        "urllib3",
        "sqlalchemy",
        "msgspec",
        "prometheus_client",
        "uuid_utils",
    ]
    (tmp_path / "test_a.py").write_text(LOADED.replace("OTHERS", repr(others)))
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rP",
        "-p",
        "no:cacheprovider",
        "-p",
        "pixelmeter.testing.pytest_plugin",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout + done.stderr
    names = ["pixelmeter", "pixelmeter._version", *(f"pixelmeter.{name}" for name in LIGHT)]
    assert f"OURS {' '.join(names)}\n" in done.stdout
    assert "THEIRS\n" in done.stdout
    assert "image calls" not in done.stdout
    assert ["test_a.py"] == [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"]


def test_nothing_of_pixelmeter_but_its_packages_is_imported_with_the_plugin() -> None:
    show = (
        "import sys, pytest; before = {*sys.modules}; import pixelmeter.testing.pytest_plugin;"
        "print(*sorted(name for name in {*sys.modules} - before if name.startswith('pixelmeter')))"
    )
    done = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True)
    packages = ["pixelmeter", "pixelmeter._version", "pixelmeter.testing"]
    assert [*packages, "pixelmeter.testing.pytest_plugin"] == done.stdout.split()


WORKERS = """
import pytest

@pytest.mark.parametrize("number", range(10))
def test_call(make, number):
    make()
"""


@pytest.mark.slow
def test_workers_of_xdist_have_one_total_and_one_budget(project: pytest.Pytester, gateway: Gateway) -> None:
    result = run(project, WORKERS, "-n", "2")
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["10 calls, 10 images, $0.10"])

    gateway.reset()
    result = run(project, WORKERS, "-n", "2", "--image-budget=0.055")
    result.assert_outcomes(passed=5, failed=5)
    assert 5 == len(gateway.billing())
    result.stdout.fnmatch_lines(["5 calls, 5 images, $0.05", "budget $0.055, used up $0.05"])
