"""Processes end in every way there is, fork, and use meters before, after and twice; the ledger tells all calls."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.testing.handle import Gateway
from tests.faults.books import Books
from tests.faults.support import Place, call, recover

pytestmark = pytest.mark.slow


def run(program: str, place: Place) -> subprocess.CompletedProcess[str]:
    """Run a program of `tests.faults.endings` as a strict host would: every warning is an error."""
    command = [sys.executable, "-W", "error", "-m", "tests.faults.endings"]
    arguments = [program, place.gateway, place.ledger, place.spool]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=100)


def tags_of(place: Place, gateway: Gateway) -> set[str]:
    """Compare the ledger with the bill and return the tags in it."""
    books = Books.read(place.ledger, gateway.billing())
    books.check()
    return set(books.by_tag)


@pytest.mark.parametrize(
    ("program", "code", "said", "tags"),
    [
        ("exits", 3, None, {"a", "b"}),
        ("raises", 1, "ZeroDivisionError", {"a", "b"}),
        ("is_interrupted", -signal.SIGINT, "KeyboardInterrupt", {"a", "b"}),
    ],
)
def test_an_interpreter_that_ends_by_itself_has_everything_in_the_ledger(
    place: Place, gateway: Gateway, program: str, code: int, said: str | None, tags: set[str]
) -> None:
    ended = run(program, place)

    assert code == ended.returncode
    assert tags == tags_of(place, gateway)
    assert [] == list(Path(place.spool).rglob("*.spool"))
    if said is None:
        assert "" == ended.stderr
    else:
        assert 1 == ended.stderr.count("Traceback")
        assert ended.stderr.splitlines()[-1].startswith(said)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("leaves_at_once", 0),
        ("aborts", -signal.SIGABRT),
        ("is_terminated", -signal.SIGTERM),
        ("is_terminated_in_asyncio", -signal.SIGTERM),
    ],
)
def test_a_process_that_is_ended_leaves_its_calls_to_whoever_recovers(
    place: Place, gateway: Gateway, program: str, code: int
) -> None:
    ended = run(program, place)
    recover(place)

    assert (code, "") == (ended.returncode, ended.stderr)
    assert {"a"} == tags_of(place, gateway)
    assert [] == list(Path(place.spool).rglob("*.spool"))


def test_daemon_threads_that_call_during_the_exit_lose_nothing_and_nothing_is_printed(
    place: Place, gateway: Gateway
) -> None:
    ended = run("calls_at_exit", place)
    recover(place)

    assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert {"0-0", "1-0", "2-0", "3-0"} <= tags_of(place, gateway)


def test_nothing_is_on_disk_and_no_thread_runs_before_the_first_image_call(place: Place) -> None:
    ended = run("starts_nothing", place)

    before, after = json.loads(ended.stdout)
    assert [[], ["MainThread"]] == before
    assert "spool" in after[0]
    assert ["MainThread", "pixelmeter-writer"] == after[1]
    assert "" == ended.stderr


def test_a_forked_child_and_its_parent_both_go_on_metering(place: Place, gateway: Gateway) -> None:
    ended = run("forks", place)
    recover(place)

    assert ("", 0) == (ended.stderr, json.loads(ended.stdout))
    assert {"before", "child-1", "child-2", "parent"} == tags_of(place, gateway)


def test_a_fork_in_the_middle_of_a_write_leaves_the_child_a_writer_that_works(place: Place) -> None:
    ended = run("forks_while_its_writer_is_busy", place)

    assert ("", [0] * 30) == (ended.stderr, json.loads(ended.stdout))
    with reading_ledger(place.ledger) as reader:
        rows = attempts(reader, limit=1_000_000)
    assert 30 == sum("child" in row.tags for row in rows)


def test_a_pre_forking_server_loses_no_call_of_its_workers_also_of_the_killed_one(
    place: Place, gateway: Gateway
) -> None:
    ended = run("serves_with_forked_workers", place)
    recover(place)

    assert ("", [0, -signal.SIGKILL, 0]) == (ended.stderr, json.loads(ended.stdout))
    expected = {f"worker-{worker}-{count}" for worker in range(3) for count in range(5)}
    assert {"master", "master-again", *expected} <= tags_of(place, gateway)


def test_children_of_every_start_method_of_multiprocessing_are_metered(place: Place, gateway: Gateway) -> None:
    ended = run("uses_multiprocessing", place)
    recover(place)

    assert ("", [0, 0, 0]) == (ended.stderr, json.loads(ended.stdout))
    children = {f"{method}-{count}" for method in ("fork", "spawn", "forkserver") for count in (1, 2)}
    assert {"before", "after", *children} == tags_of(place, gateway)


def test_two_meters_of_one_process_keep_apart(place: Place) -> None:
    ended = run("has_two_meters", place)

    assert (0, "") == (ended.returncode, ended.stderr)
    for ledger in (place.ledger, f"{place.ledger}.other"):
        assert {"a", "b"} == set(Books.read(ledger, []).by_tag)


def test_ledgers_that_hang_do_not_hold_up_the_exit(place: Place) -> None:
    """Of themselves they would be given up after an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ledger = f"postgresql://user:secret@127.0.0.1:{silent.getsockname()[1]}/database?connect_timeout=3600"
        ended = run("has_ledgers_that_hang", Place(place.gateway, ledger, place.spool))

    assert (0, "") == (ended.returncode, ended.stderr)


def test_calls_after_close_are_metered_and_closing_twice_is_harmless(place: Place, gateway: Gateway) -> None:
    earlier = writers()
    meter = place.meter()
    call(place, meter, "a")
    assert [True, True] == [meter.close(60), meter.close(60)]
    call(place, meter, "b")
    assert meter.close(60)

    assert {"a", "b"} == tags_of(place, gateway)
    assert [] == list(Path(place.spool).rglob("*.spool"))
    assert set() == writers() - earlier


def test_a_with_block_leaves_everything_in_the_ledger(place: Place, gateway: Gateway) -> None:
    async def main() -> None:
        async with place.meter() as meter:
            await asyncio.to_thread(call, place, meter, "async")

    earlier = writers()
    with place.meter() as meter:
        call(place, meter, "sync")
    asyncio.run(main())

    assert {"sync", "async"} == tags_of(place, gateway)
    assert set() == writers() - earlier


@pytest.mark.parametrize("number", [30, pytest.param(80, marks=pytest.mark.slow)])
def test_many_threads_share_a_meter_that_others_close_meanwhile(place: Place, gateway: Gateway, number: int) -> None:
    meter = place.meter()
    done = threading.Event()

    def closes() -> None:
        while not done.is_set():
            meter.close(60)

    closing = threading.Thread(target=closes)
    closing.start()
    with ThreadPoolExecutor(8) as threads:
        assert {200} == set(threads.map(lambda tag: call(place, meter, f"{tag}"), range(number)))
    done.set()
    closing.join()
    assert meter.close(60)

    assert {str(tag) for tag in range(number)} == tags_of(place, gateway)
    assert [] == list(Path(place.spool).rglob("*.spool"))


def writers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "pixelmeter-writer"}
