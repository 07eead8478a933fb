"""A program that closes whatever is open, as a daemon does, has files of its own then, and nobody else in them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.hazards.process import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
import ctypes, os, socket, sys, threading
import httpx
import pixelmeter
meter = pixelmeter.Meter({url!r}, gateways={{"127.0.0.1:*": "aigateway"}})
client = pixelmeter.instrument(httpx.Client(), meter)
body = {{"model": "black-forest-labs/flux-2-klein-9b", "prompt": "p"}}
def call(tag, client=client):
    with pixelmeter.tags(aig_tag=tag):
        answer = client.post("{gateway}/images/generations", json=body)
    assert answer.status_code == 200
call("before")
assert meter.flush(60)
def is_at_rest(thread):
    return sys._current_frames()[thread.ident].f_code.co_name in ("_sleep", "_doze")
# No fork without hooks survives a thread that waits to run Python.
while not all(is_at_rest(each) for each in threading.enumerate() if each.name == "pixelmeter-writer"):
    threading.Event().wait(0.01)
process = {fork}
if process:
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    call("parent")
    assert meter.flush(60)
    sys.exit()
os.closerange(3, 256)
def opened(number):
    return os.open(f"{folder}/{{number}}", os.O_RDWR | os.O_CREAT) if number % 2 else socket.socket().detach()
{mine}
before = [os.fstat(each) for each in mine]
with httpx.Client() as own:
    call("after", pixelmeter.instrument(own, meter))
print(meter.flush(1))
after = [os.fstat(each) for each in mine]
assert [(each.st_ino, each.st_size) for each in before] == [(each.st_ino, each.st_size) for each in after]
meter.close(1)
"""
FILES = """
mine = [opened(number) for number in range(40)]
for number in range(1, 40, 2):
    os.write(mine[number], b"mine" * 250_000)
"""
# Whoever has the other ends reads what comes until this program has ended. They have high numbers: ours were low.
CONNECTIONS = """
import fcntl, subprocess
def connected():
    end, other = socket.socketpair()
    with other:
        return end.detach(), fcntl.fcntl(other, fcntl.F_DUPFD, 300)
mine, others = zip(*[connected() for _ in range(20)])
READER = "import socket, sys\\nfor each in sys.argv[1:]: print(socket.socket(fileno=int(each)).recv(99), flush=True)"
reader = subprocess.Popen([sys.executable, "-c", READER, *map(str, others)], pass_fds=others)
"""
FORKS = {"no fork": "0", "with hooks": "os.fork()", "without hooks": "ctypes.PyDLL(None).fork()"}


@pytest.fixture(autouse=True)
def spool_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program, and whoever takes over what it leaves, have the spool in the folder of the test."""
    monkeypatch.setenv("PIXELMETER_SPOOL_DIR", str(tmp_path / "spool"))


@pytest.mark.slow
@pytest.mark.parametrize("fork", FORKS)
def test_files_that_are_opened_in_the_place_of_ours_are_left_alone(
    fork: str, new_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    """SQLite cannot write any more then, and the next process does that; a new connection to PostgreSQL can."""
    folder = tmp_path / "files"
    folder.mkdir()
    done = run_python(PROGRAM.format(url=new_url, gateway=gateway.url, folder=folder, fork=FORKS[fork], mine=FILES))

    is_sqlite = new_url.startswith("sqlite")
    assert (0, str(not is_sqlite)) == (done.returncode, done.stdout.strip()), done.stderr
    assert is_sqlite is ("has closed files that SQLite had open" in done.stderr)
    assert is_sqlite or not done.stderr
    assert {b"mine" * 250_000} == {path.read_bytes() for path in folder.iterdir()}
    adopt(new_url)
    with reading_ledger(new_url) as ledger:
        rows = ledger.rows("SELECT tags, outcome FROM pixelmeter_attempts")
    tags = [json.loads(tags) if isinstance(tags, str) else tags for tags, outcome in rows if outcome == "success"]
    expected = Counter({"before": 1, "after": 1} | ({} if fork == "no fork" else {"parent": 1}))
    assert expected == Counter(tag["aig_tag"] for tag in tags)
    assert expected.total() == len(gateway.billing())


@pytest.mark.slow
@pytest.mark.parametrize("fork", FORKS)
def test_nothing_is_sent_by_a_connection_that_has_the_number_of_the_one_to_the_database(
    fork: str, postgres_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    program = PROGRAM.format(url=postgres_url, gateway=gateway.url, folder=tmp_path, fork=FORKS[fork], mine=CONNECTIONS)
    done = run_python(program)
    assert (0, ["True"] + ["b''"] * 20) == (done.returncode, done.stdout.splitlines()), done.stderr
