"""Hazards of a process: how it begins, forks and ends. Each program is a user's, in a Python of its own."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.hazards.process import environment, run_python

pytestmark = pytest.mark.slow

LIBRARIES = ["httpx", "httpx2"]
EACH_LIBRARY = pytest.mark.parametrize("library", ["httpx2", pytest.param("httpx", marks=pytest.mark.slow)])
"""How a process begins and ends is hardly the library's business."""

PRELUDE = """
import os, sys
import {library} as library
import pixelmeter
meter = pixelmeter.Meter("sqlite:///{folder}/ledger.db", gateways={{"127.0.0.1:*": "aigateway"}})
client = pixelmeter.instrument(library.Client(verify=False), meter)
def call(client=client):
    body = {{"model": "black-forest-labs/flux-2-klein-9b", "prompt": "p"}}
    answer = client.post("{url}/images/generations", json=body)
    assert answer.status_code == 200
"""


def program(body: str, *, library: str, folder: Path, gateway: Gateway) -> str:
    return PRELUDE.format(library=library, folder=folder, url=gateway.url) + body


def ledger(folder: Path) -> Counter[str]:
    """Return how many attempts of each outcome the ledger holds, once what dead processes left has been adopted."""
    adopt(f"sqlite:///{folder}/ledger.db")
    connection = sqlite3.connect(folder / "ledger.db")
    try:
        rows = connection.execute("select outcome from pixelmeter_attempts").fetchall()
    finally:
        connection.close()
    return Counter(outcome for (outcome,) in rows)


ENDS: dict[str, tuple[str, int]] = {
    "the end of the program": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise SystemError('mine')", 1),
    "os._exit": ("os._exit(4)", 4),
    "SIGTERM": ("import signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGKILL": ("import signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "abort": ("os.abort()", -signal.SIGABRT),
}


@pytest.mark.parametrize("end", ENDS)
def test_hazard_40_a_program_that_closes_nothing_loses_nothing_and_says_nothing(
    gateway: Gateway, tmp_path: Path, end: str
) -> None:
    line, code = ENDS[end]
    library = LIBRARIES[len(end) % 2]
    ended = run_python(program(f"call()\ncall()\n{line}", library=library, folder=tmp_path, gateway=gateway))
    assert code == ended.returncode
    assert ("mine" if "mine" in line else "") in ended.stderr
    assert ended.stderr.count("Error:") == line.count("mine")
    assert "pixelmeter" not in ended.stderr
    assert {"success": 2} == ledger(tmp_path)
    assert 80_000_000 == gateway.billed_nano()


def test_hazard_40_a_call_in_flight_when_the_process_is_killed_is_interrupted(gateway: Gateway, tmp_path: Path) -> None:
    gateway.tell(hold="before_headers")
    code = program("call()", library="httpx2", folder=tmp_path, gateway=gateway)
    with subprocess.Popen([sys.executable, "-c", code], env=environment()) as process:
        gateway.wait_held(1)
        process.kill()
    assert {"interrupted": 1} == ledger(tmp_path)


def test_hazard_40_at_exit_a_ledger_that_does_not_answer_delays_no_more_than_seconds(
    gateway: Gateway, tmp_path: Path
) -> None:
    body = f"""
import pixelmeter.ledger.sqlite, sqlite3
pixelmeter.ledger.sqlite.SqliteWriter.__init__.__defaults__ = (3600.0,)    # of itself it would wait for an hour
call()
meter.close(60)
lock = sqlite3.connect("{tmp_path}/ledger.db", isolation_level=None)
lock.execute("begin exclusive")
call()
"""
    ended = run_python(program(body, library="httpx2", folder=tmp_path, gateway=gateway))
    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"success": 2} == ledger(tmp_path)


@pytest.mark.parametrize("keeper", ["__main__", "builtins"])
def test_hazard_15_and_40_a_response_that_is_open_at_exit_does_not_hold_the_process(
    gateway: Gateway, tmp_path: Path, keeper: str
) -> None:
    """Python collects it when it takes the modules apart, and then no new thread gets to run any more."""
    body = f"""
call()
request = client.build_request("POST", "{gateway.url}/images/generations", json={{"model": "m", "prompt": "p"}})
sys.modules[{keeper!r}].kept = client.send(request, stream=True)
"""
    ended = run_python(program(body, library="httpx2", folder=tmp_path, gateway=gateway))
    assert (0, "") == (ended.returncode, ended.stderr)
    assert 2 == ledger(tmp_path).total()


@EACH_LIBRARY
@pytest.mark.parametrize("when", ["before the first call", "after a call"])
def test_hazard_38_and_41_a_forked_child_begins_anew_and_warnings_stay_silent(
    gateway: Gateway, tmp_path: Path, library: str, when: str
) -> None:
    body = """
import threading
assert threading.active_count() == 1
{first}
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        client.close()
        with library.Client(verify=False) as own:
            call(pixelmeter.instrument(own, meter))
            call(own)
        assert meter.flush(60) and meter.status()["drain"]["committed"] == 2
        sys.exit(0)
    children.append(child)
call()
for child in children:
    assert os.waitpid(child, 0)[1] == 0
client.close()
""".format(first="call()" if when == "after a call" else "")
    text = program(body, library=library, folder=tmp_path, gateway=gateway)
    ended = run_python(text, "-W", "error")
    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"success": 5 + (when == "after a call")} == ledger(tmp_path)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_hazard_38_workers_of_multiprocessing_keep_their_calls(gateway: Gateway, tmp_path: Path, method: str) -> None:
    text = program(
        f"""
def work(number):
    with library.Client(verify=False) as own:
        call(pixelmeter.instrument(own, meter))
    return number

if __name__ == "__main__":
    import multiprocessing
    call()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert [0, 1, 2, 3] == pool.map(work, range(4), chunksize=1)
    client.close()
""",
        library="httpx",
        folder=tmp_path,
        gateway=gateway,
    )
    script = tmp_path / "script.py"
    script.write_text(text)
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100, check=False)
    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"success": 5} == ledger(tmp_path)


def test_hazard_41_importing_and_instrumenting_start_no_thread_and_no_file(gateway: Gateway, tmp_path: Path) -> None:
    body = f"""
import threading
client.get("{gateway.url}/models")
print(threading.active_count(), os.listdir("{tmp_path}"))
"""
    ended = run_python(program(body, library="httpx2", folder=tmp_path, gateway=gateway))
    assert ("1 []\n", "") == (ended.stdout, ended.stderr)


@EACH_LIBRARY
def test_hazard_42_development_mode_finds_no_resource_that_was_left_open(
    gateway: Gateway, tmp_path: Path, library: str
) -> None:
    body = f"""
import asyncio, gc
call()
client.close()
async def main():
    asyncio.get_running_loop().slow_callback_duration = 3600
    async with pixelmeter.instrument(library.AsyncClient(verify=False), meter) as other:
        for _ in range(3):
            body = {{"model": "m", "prompt": "p"}}
            async with other.stream("POST", "{gateway.url}/images/generations", json=body) as answer:
                async for _ in answer.aiter_raw():
                    pass
asyncio.run(main())
meter.close(60)
gc.collect()
"""
    text = program(body, library=library, folder=tmp_path, gateway=gateway)
    ended = run_python(text, "-X", "dev", "-W", "error")
    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"success": 4} == ledger(tmp_path)


def test_hazard_44_a_stop_and_a_restart_of_the_meter_lose_nothing(gateway: Gateway, tmp_path: Path) -> None:
    body = """
for _ in range(3):
    call()
    assert meter.close(60)
call()
"""
    ended: Any = run_python(program(body, library="httpx", folder=tmp_path, gateway=gateway))
    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"success": 4} == ledger(tmp_path)


@EACH_LIBRARY
def test_what_neither_disk_nor_ledger_took_is_told_when_the_program_ends(
    library: str, tmp_path: Path, gateway: Gateway
) -> None:
    no_folder = tmp_path / "a file"
    no_folder.write_text("")
    done = run_python(program("call(); call()", library=library, folder=no_folder, gateway=gateway))
    assert 0 == done.returncode
    assert "pixelmeter failed in spool: NotADirectoryError (1 so far" in done.stderr
    assert "pixelmeter lost 2 attempts that neither ledger nor spool took" in done.stderr


WATCH_TYPES = """
import threading
found = []
def watch(frame, event, argument):
    # msgspec looks at the annotations of a type when it first uses it; while a module is imported no other thread can.
    if event == "call" and frame.f_code.co_name == "get_class_annotations":
        outer = frame
        while outer is not None and outer.f_code.co_name != "_load_unlocked":
            outer = outer.f_back
        # A thread that makes a type has made it ready before another one gets it.
        if outer is None and frame.f_locals["obj"].__name__ != "_Asked":
            found.append(frame.f_locals["obj"].__name__)
threading.setprofile(watch)
sys.setprofile(watch)
"""


@EACH_LIBRARY
def test_two_first_calls_at_once_do_not_end_the_process(library: str, tmp_path: Path, gateway: Gateway) -> None:
    """msgspec crashes when two threads use a type for the first time: none is left for then."""
    user = program(
        """
threads = [threading.Thread(target=call) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert meter.flush(20)
pixelmeter.Meter(price_book=sys.argv[1], gateways={"a.example": "openai"})
sys.setprofile(None)
print(found)
""",
        library=library,
        folder=tmp_path,
        gateway=gateway,
    )
    before, after = user.split("import pixelmeter\n", 1)
    book = tmp_path / "book.toml"
    book.write_text('gateway = "mine"\n[[price]]\nmodel = "m"\nusd_per_image = "0.01"\n')
    code = f"{before}import pixelmeter\n{WATCH_TYPES}{after}".replace("sys.argv[1]", repr(str(book)))
    done = run_python(code)
    assert done.stdout.strip() == "[]", done.stderr
