"""pixelmeter needs nothing that POSIX alone has: it is tried where that is taken away (tests/windows.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.drain.ledger import outcomes, rolled_up

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}/src{os.pathsep}{ROOT}"}

_CALL = """
import json, os, sys
import tests.windows
url, folder, then, with_locks = json.loads(sys.argv[1])
tests.windows.act(with_locks=with_locks)
import httpx
import pixelmeter
os.chdir(folder)
meter = pixelmeter.Meter(gateways={"127.0.0.1:*": "aigateway"})
with pixelmeter.instrument(httpx.Client(), meter) as client:
    for _ in range(3):
        client.post(f"{url}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "fog"})
        assert then == "die" or meter.flush(20), meter.status()
if then == "die":
    os.kill(os.getpid(), 9)
assert meter.close(20)
status = meter.status()
assert {} == status["failures"], status
print(status["drain"]["committed"], status["drain"]["adopted"], os.listdir("pixelmeter.db.spool"))
"""

_FORBIDDEN = """
import tests.windows
tests.windows.act()
import importlib, pkgutil
import pixelmeter
for found in pkgutil.walk_packages(pixelmeter.__path__, "pixelmeter."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        print(found.name)
"""


def run(gateway: Gateway, folder: Path, then: str = "end", *, with_locks: bool = True) -> str:
    argument = json.dumps([gateway.url, str(folder), then, with_locks])
    ended = subprocess.run([sys.executable, "-c", _CALL, argument], capture_output=True, text=True, env=ENVIRONMENT)
    assert ("", -signal.SIGKILL if then == "die" else 0) == (ended.stderr, ended.returncode)
    return ended.stdout


def test_every_module_can_be_imported() -> None:
    ended = subprocess.run([sys.executable, "-c", _FORBIDDEN], capture_output=True, text=True, env=ENVIRONMENT)

    assert ("", 0) == (ended.stderr, ended.returncode)
    assert len(ended.stdout.splitlines()) > 150


def test_calls_are_in_the_ledger_and_no_file_is_left(gateway: Gateway, tmp_path: Path) -> None:
    assert "3 0 []\n" == run(gateway, tmp_path)

    url = f"sqlite:///{tmp_path}/pixelmeter.db"
    assert (["success"] * 3, 3) == (list(outcomes(url).values()), rolled_up(url))


def test_what_a_killed_process_left_is_taken_in_and_what_a_living_one_has_is_not(
    gateway: Gateway, tmp_path: Path
) -> None:
    run(gateway, tmp_path, "die")
    living = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "pixelmeter.db.spool")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert living.stdin is not None
    assert living.stdout is not None
    name = living.stdout.readline().strip()

    assert f"3 3 ['{name}']\n" == run(gateway, tmp_path)
    living.communicate("\n", timeout=60)
    assert "3 1 []\n" == run(gateway, tmp_path)
    assert 10 == len(outcomes(f"sqlite:///{tmp_path}/pixelmeter.db"))


_HOLD = """
import sys
import tests.windows
tests.windows.act()
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt
spool = Spool(sys.argv[1], SystemFiles(), SystemIds())
spool.outcome(make_attempt())
print(spool.segments()[0].name, flush=True)
sys.stdin.readline()
"""


def test_without_any_locks_calls_are_in_the_ledger_and_nothing_of_others_is_touched(
    gateway: Gateway, tmp_path: Path
) -> None:
    run(gateway, tmp_path, "die")
    left = set(os.listdir(tmp_path / "pixelmeter.db.spool"))

    assert f"3 0 {sorted(left)}\n" == run(gateway, tmp_path, with_locks=False)
    assert "3 3 []\n" == run(gateway, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_core_of_the_suite_passes(tmp_path: Path) -> None:
    core = (
        *("spool", "drain/test_drain.py", "drain/test_refused.py", "drain/test_census.py", "ledger/test_writer.py"),
        *("core/wire/test_exchange.py", "recorder/test_recorder.py", "test_meter.py"),
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.windows", "-p", "no:cacheprovider", "-m", "not slow"]
    paths = [f"tests/{each}" for each in core]
    ended = subprocess.run(
        [*command, "-k", "not postgres and not deleted_under", f"--basetemp={tmp_path}/inner", *paths],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
    )

    assert 0 == ended.returncode, ended.stdout[-5000:]
    assert " passed" in ended.stdout
