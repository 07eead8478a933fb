"""Forks of every kind, also those that C makes and that run no hooks of Python's: parent and child keep apart."""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pixelmeter import lifecycle
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.hazards.process import run_python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

KINDS = {"with hooks": "os.fork", "without hooks": "ctypes.PyDLL(None).fork"}
LIBRARIES = ["httpx", "httpx2"]

PRELUDE = """
import ctypes, json, os, sys, threading
import {library} as library
import pixelmeter
fork = {fork}
meter = pixelmeter.Meter("sqlite:///{folder}/ledger.db", gateways={{"127.0.0.1:*": "aigateway"}})
client = pixelmeter.instrument(library.Client(verify=False), meter)
body = {{"model": "black-forest-labs/flux-2-klein-9b", "prompt": "p"}}
def call(tag, client=client):
    with pixelmeter.tags(aig_tag=tag):
        answer = client.post("{url}/images/generations", json=body)
    assert answer.status_code == 200
def call_anew(tag):
    with library.Client(verify=False) as own:
        call(tag, pixelmeter.instrument(own, meter))
def at_rest():
    'Wait for the writer to wait: no fork without hooks survives a thread that waits to run Python.'
    def is_busy(thread):
        frame = sys._current_frames().get(thread.ident)
        return frame is not None and frame.f_code.co_name not in ("_sleep", "_doze")
    while any(is_busy(thread) for thread in threading.enumerate() if thread.name == "pixelmeter-writer"):
        threading.Event().wait(0.01)
def child(work):
    'Return the id of a child that does the work, and leaves without a word.'
    at_rest()
    process = fork()
    if process == 0:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return process
def ended(process):
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """How the fork is made."""
    kind: str = request.param
    return kind


def run(body: str, kind: str, folder: Path, gateway: Gateway, library: str = "httpx") -> str:
    """Run the program and return what it printed; it must end well and silently."""
    prelude = PRELUDE.format(library=library, fork=KINDS[kind], folder=folder, url=gateway.url)
    done = run_python(prelude + body, timeout=100)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def ledger(folder: Path) -> Counter[str]:
    """Return how many attempts of each tag the ledger holds, as it stands."""
    connection = sqlite3.connect(folder / "ledger.db")
    try:
        rows = connection.execute("select tags, outcome from pixelmeter_attempts").fetchall()
    finally:
        connection.close()
    assert {"success"} == {outcome for _, outcome in rows}
    return Counter(json.loads(tags)["aig_tag"] for tags, _ in rows)


MOSTLY_WITHOUT_HOOKS = pytest.mark.parametrize(
    "kind", [pytest.param("with hooks", marks=pytest.mark.slow), "without hooks"]
)
"""The harder way every day: nobody tells the child that it is one."""

FIRST = ["", "call('parent')", "call('parent'); meter.flush(60)", "call('parent'); meter.close(60)"]


# What the parent's writer has done before matters most without hooks, where a child must find out itself.
@pytest.mark.parametrize(
    ("kind", "first"),
    [
        pytest.param(kind, first, marks=[pytest.mark.slow] if kind == "with hooks" and first else [])
        for kind in KINDS
        for first in FIRST
    ],
)
def test_hazard_38_a_child_writes_its_own_attempts_while_its_parent_lives(
    gateway: Gateway, tmp_path: Path, kind: str, first: str
) -> None:
    library = LIBRARIES[len(first) % 2]
    body = f"""
{first}
def work():
    call_anew("child")
    assert meter.flush(60), meter.status()
    assert meter.status()["drain"]["committed"] == 1, meter.status()
    assert meter.status()["failures"] == {{}}
ended(child(work))
call("parent")
assert meter.flush(60)
"""
    run(body, kind, tmp_path, gateway, library)
    assert {"child": 1, "parent": 2 if first else 1} == ledger(tmp_path)


@MOSTLY_WITHOUT_HOOKS
def test_hazard_38_children_of_a_child_and_of_one_parent_have_ids_of_their_own(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    body = """
call("parent")
assert meter.flush(60)
def again():
    call_anew("grandchild")
    assert meter.flush(60), meter.status()
def work():
    ended(child(again))
    call_anew("child")
    assert meter.flush(60), meter.status()
for process in [child(work), child(work)]:
    ended(process)
"""
    run(body, kind, tmp_path, gateway)
    assert {"parent": 1, "child": 2, "grandchild": 2} == ledger(tmp_path)


@MOSTLY_WITHOUT_HOOKS
def test_hazard_38_a_child_keeps_its_rows_when_its_parent_closes_the_ledger(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    """The last one who closes a SQLite file deletes its WAL; with an inherited connection a child does not count."""
    body = """
call("parent")
assert meter.flush(60)
ours, theirs = os.pipe(), os.pipe()
def work():
    call_anew("child")
    assert meter.flush(60)
    os.write(ours[1], b"x")
    os.read(theirs[0], 1)
    call_anew("child again")
    assert meter.flush(60)
process = child(work)
os.read(ours[0], 1)
assert meter.close(60)
os.write(theirs[1], b"x")
ended(process)
"""
    run(body, kind, tmp_path, gateway)
    assert {"parent": 1, "child": 1, "child again": 1} == ledger(tmp_path)


@MOSTLY_WITHOUT_HOOKS
def test_hazard_38_threads_of_a_child_that_begin_at_once_share_one_spool(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    body = """
call("parent")
assert meter.flush(60)
def work():
    together = threading.Barrier(8)
    def calls(number):
        together.wait()
        call_anew(f"{number}")
    threads = [threading.Thread(target=calls, args=(number,)) for number in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert meter.flush(60)
    assert meter.status()["spool"]["frames"] == 16, meter.status()
    assert meter.status()["drain"]["committed"] == 8, meter.status()
ended(child(work))
"""
    run(body, kind, tmp_path, gateway)
    assert {"parent": 1, **{str(number): 1 for number in range(8)}} == ledger(tmp_path)


@MOSTLY_WITHOUT_HOOKS
def test_hazard_38_an_answer_that_is_open_at_a_fork_is_the_parents(gateway: Gateway, tmp_path: Path, kind: str) -> None:
    body = """
with pixelmeter.tags(aig_tag="parent"):
    request = client.build_request("POST", "%s/images/generations", json=body)
    response = client.send(request, stream=True)
def work():
    global response
    call_anew("child")
    del response                                           # collected here: not for the child to tell
    assert meter.flush(60)
    assert meter.status()["drain"]["committed"] == 1, meter.status()
ended(child(work))
response.read()
assert meter.flush(60)
"""
    run(body % gateway.url, kind, tmp_path, gateway)
    assert {"parent": 1, "child": 1} == ledger(tmp_path)


def test_hazard_38_a_child_of_a_parent_that_is_in_a_transaction_keeps_its_attempts_and_says_why(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    body = """
call("parent")
assert meter.flush(60)
from pixelmeter.ledger import sqlite
from pixelmeter.meter import intake_of
amid, go_on = threading.Event(), threading.Event()
def amid_a_write(*given, delta_of=sqlite.delta_of):
    if os.getpid() == parent:
        amid.set()
        go_on.wait()
    return delta_of(*given)
parent, sqlite.delta_of = os.getpid(), amid_a_write
call("parent")
intake_of(meter).recorder.stop()
amid.wait()
def work():
    call_anew("child")
    while meter.status()["ledger_error"] is None:
        threading.Event().wait(0.01)
    assert not meter.flush(1)
    assert "forked while its parent was writing" in meter.status()["ledger_error"], meter.status()
    assert meter.status()["waiting"] == 1
at_rest = lambda: None
process = child(work)
go_on.set()
ended(process)
call("parent")
assert meter.flush(60)
"""
    prelude = PRELUDE.format(library="httpx", fork=KINDS[kind], folder=tmp_path, url=gateway.url)
    done = run_python(prelude + body, timeout=100)
    assert 0 == done.returncode, done.stderr
    assert "pixelmeter failed in ledger: Torn" in done.stderr
    adopt(f"sqlite:///{tmp_path}/ledger.db")
    assert {"parent": 3, "child": 1} == ledger(tmp_path)


def test_hazard_38_a_child_of_a_parent_that_was_importing_keeps_its_attempts_and_says_why(
    gateway: Gateway, tmp_path: Path
) -> None:
    body = """
from pixelmeter.meter import intake_of
amid, go_on = threading.Event(), threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "sqlalchemy" and os.getpid() == parent:
            amid.set()
            go_on.wait()
parent = os.getpid()
sys.meta_path.insert(0, Slow())
call("parent")
ticket = intake_of(meter).recorder.stop()
amid.wait()
def work():
    call_anew("child")
    while meter.status()["ledger_error"] is None:
        threading.Event().wait(0.01)
    assert not meter.flush(1)
    assert "forked while its parent's writer imported" in meter.status()["ledger_error"], meter.status()
at_rest = lambda: None
process = child(work)
go_on.set()
ended(process)
assert ticket.wait(60)
"""
    prelude = PRELUDE.format(library="httpx", fork=KINDS["without hooks"], folder=tmp_path, url=gateway.url)
    done = run_python(prelude + body, timeout=100)
    assert 0 == done.returncode, done.stderr
    assert "pixelmeter failed in ledger: Torn" in done.stderr
    adopt(f"sqlite:///{tmp_path}/ledger.db")
    assert {"parent": 1, "child": 1} == ledger(tmp_path)


def test_hazard_38_a_child_that_never_calls_ends_at_once_and_writes_nothing(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    body = """
call("parent")
at_rest()
process = fork()
if process == 0:
    del client, call, meter
    sys.exit(0)
ended(process)
call("parent")
assert meter.flush(60)
assert meter.status()["drain"]["committed"] == 2
"""
    run(body, kind, tmp_path, gateway)
    assert {"parent": 2} == ledger(tmp_path)


@pytest.mark.parametrize("threads", [1, 2])
def test_after_forks_a_program_is_warned_as_often_as_before(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_other_threads", lambda: threads)
    of_fork = "This process (pid=7) is multi-threaded, use of fork() may lead to deadlocks in the child."
    known: dict[Any, int] = {}
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            warnings.warn("a warning of the program's", UserWarning, stacklevel=1)
            lifecycle._warn_of_others_only()
            warnings.warn_explicit(of_fork, DeprecationWarning, "program.py", 1, registry=known)
    assert ["a warning of the program's", of_fork][:threads] == [str(each.message) for each in shown]
