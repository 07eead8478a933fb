"""Programs that make calls and end, each in its own way: `python -m tests.faults.endings NAME GATEWAY LEDGER SPOOL`.

A program whose last line of standard output is a JSON document says with it what it saw.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import httpx

import pixelmeter
from pixelmeter.meter import intake_of
from tests.factories import make_attempt
from tests.faults.support import Place, call


def exits(place: Place) -> None:
    _calls_twice(place)
    sys.exit(3)


def raises(place: Place) -> None:
    _calls_twice(place)
    raise ZeroDivisionError


def leaves_at_once(place: Place) -> None:
    call(place, place.meter(), "a")
    os._exit(0)


def aborts(place: Place) -> None:
    call(place, place.meter(), "a")
    os.abort()


def is_terminated(place: Place) -> None:
    call(place, place.meter(), "a")
    signal.raise_signal(signal.SIGTERM)


def is_interrupted(place: Place) -> None:
    _calls_twice(place)
    signal.raise_signal(signal.SIGINT)


def _calls_twice(place: Place) -> pixelmeter.Meter:
    """Call, and call once more when the ledger is open: the end of a program waits for two seconds only."""
    meter = place.meter()
    call(place, meter, "a")
    assert meter.flush(60)
    call(place, meter, "b")
    return meter


def is_terminated_in_asyncio(place: Place) -> None:
    async def main() -> None:
        await asyncio.to_thread(call, place, place.meter(), "a")
        signal.raise_signal(signal.SIGTERM)

    asyncio.run(main())


def calls_at_exit(place: Place) -> None:
    """End while four daemon threads go on calling."""
    meter = place.meter()
    calling = [threading.Event() for _ in range(4)]

    def calls(number: int) -> None:
        for count in range(1_000_000):
            call(place, meter, f"{number}-{count}")
            calling[number].set()

    for number in range(4):
        threading.Thread(target=calls, args=(number,), daemon=True).start()
    for event in calling:
        event.wait()


def has_two_meters(place: Place) -> None:
    """End with two meters, each on a ledger of its own."""
    other = Place(place.gateway, f"{place.ledger}.other", f"{place.spool}.other")
    _calls_twice(place)
    _calls_twice(other)


def has_ledgers_that_hang(place: Place) -> None:
    """End with two meters that have called, and whose ledgers never answer."""
    other = Place(place.gateway, f"{place.ledger}&application_name=other", f"{place.spool}.other")
    _meters.extend([place.meter(), other.meter()])
    call(place, _meters[0], "a")
    call(other, _meters[1], "b")


def starts_nothing(place: Place) -> None:
    """Say what is on disk and which threads run: before the first image call, and after it."""
    meter = place.meter()

    def seen() -> list[object]:
        folder = os.path.dirname(place.spool)
        return [sorted(os.listdir(folder)), [thread.name for thread in threading.enumerate()]]

    with pixelmeter.instrument(httpx.Client(), meter) as client:
        client.get(f"{place.gateway}/models")
        meter.flush(60)
        meter.status()
        before = seen()
    call(place, meter, "a")
    _say([before, seen()])


def forks(place: Place) -> None:
    """Call before and after a fork, on both sides; the child leaves at once."""
    meter = place.meter()
    call(place, meter, "before")
    # The moment at which a fork is most dangerous: the writer thread imports the database libraries.
    while "sqlalchemy" not in sys.modules:
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        call(place, meter, "child-1")
        call(place, meter, "child-2")
        os._exit(0 if meter.flush(20) else 1)
    call(place, meter, "parent")
    _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def forks_while_its_writer_is_busy(place: Place) -> None:
    """Fork thirty children in the middle of writes; each records one attempt."""
    meter = place.meter()
    intake_of(meter).recorder.begin(make_attempt())
    meter.flush(20)
    done = threading.Event()

    def records() -> None:
        while not done.wait(0.001):
            for _ in range(20):
                intake_of(meter).recorder.end(make_attempt(tags='{"aig_tag":"parent"}'))

    def flushes() -> None:
        while not done.is_set():
            meter.flush(20)

    threads = [threading.Thread(target=target) for target in (records, records, flushes)]
    for thread in threads:
        thread.start()
    children: list[int] = []
    for _ in range(30):
        # Let the writer get into its work again.
        done.wait(0.03)
        child = os.fork()
        if child == 0:
            intake_of(meter).recorder.end(make_attempt(tags='{"aig_tag":"child"}'))
            os._exit(0 if meter.flush(10) else 1)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    done.set()
    for thread in threads:
        thread.join()
    _say(codes)


def serves_with_forked_workers(place: Place) -> None:
    """Do as a pre-forking server does: a call before the forks, three workers that call, one of them killed."""
    meter = place.meter()
    call(place, meter, "master")
    workers: list[int] = []
    for number in range(3):
        reading, writing = os.pipe()
        worker = os.fork()
        if worker == 0:
            for count in range(5):
                call(place, meter, f"worker-{number}-{count}")
            if number == 1:
                os.write(writing, b"x")
                while True:
                    call(place, meter, f"worker-1-{time.monotonic_ns()}")
            sys.exit(0 if meter.flush(20) else 1)
        workers.append(worker)
        os.close(writing)
        if number == 1:
            os.read(reading, 1)
            os.kill(worker, signal.SIGKILL)
        os.close(reading)
    call(place, meter, "master-again")
    _say([os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers])


def uses_multiprocessing(place: Place) -> None:
    """Call in children of each start method, and before and after them."""
    _meters.append(place.meter())
    call(place, _meters[0], "before")
    codes: list[int | None] = []
    for method in ("fork", "spawn", "forkserver"):
        multiprocessing.set_start_method(method, force=True)
        child = multiprocessing.Process(target=calls_twice, args=(place, method))
        child.start()
        child.join()
        codes.append(child.exitcode)
    call(place, _meters[0], "after")
    _say(codes)


_meters: list[pixelmeter.Meter] = []


def calls_twice(place: Place, name: str) -> None:
    """Call with the parent's meter where there is one."""
    meter = _meters[0] if _meters else place.meter()
    call(place, meter, f"{name}-1")
    call(place, meter, f"{name}-2")


def _say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    program: Callable[[Place], None] = globals()[sys.argv[1]]
    program(Place(*sys.argv[2:]))
