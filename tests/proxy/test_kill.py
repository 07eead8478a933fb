"""The proxy is killed in the middle of calls, again and again; the ledger equals what the gateway billed."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pixelmeter.testing import Gateway
from tests.faults.books import Books
from tests.proxy.sidecar import accepts, proxying
from tests.proxy.test_metering import BODY, PATH

CALLERS = 4
_LONGEST_LIFE = 0.5


def call_for_ever(root: str, name: str, answered: list[str], ends: threading.Event) -> None:
    """Make calls, each with a tag of its own, until the proxy is no more."""
    parts = urlsplit(root)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    number = 0
    while not ends.is_set():
        number += 1
        tag = f"{name}-{number}"
        headers = {"content-type": "application/json", "x-pixelmeter-tags": f"aig_tag={tag}"}
        try:
            connection.request("POST", PATH, json.dumps(BODY), headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            if ends.is_set() or not accepts(root):
                return
            continue
        answered.append(tag)
    connection.close()


def kill_round(gateway: Gateway, url: str, name: str, answered: list[str], chance: random.Random) -> None:
    """Run a proxy with callers, kill it at a moment of its own, and wait for the callers."""
    ends = threading.Event()
    workers = chance.choice(["1", "2"]) if chance.random() < 0.3 else "1"
    with proxying(gateway.root, url=url, options=["--workers", workers]) as sidecar:
        callers = [
            threading.Thread(target=call_for_ever, args=(sidecar.root, f"{name}-{number}", answered, ends))
            for number in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        until_one_is_answered = len(answered) + 1
        while len(answered) < until_one_is_answered and sidecar.process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, _LONGEST_LIFE))
        os.kill(sidecar.process.pid, signal.SIGKILL)
        sidecar.process.wait()
        ends.set()
        for caller in callers:
            caller.join()


def check_rounds(tmp_path: Path, url: str, rounds: int) -> dict[str, object]:
    """Run the rounds, and compare ledger, bill and what callers saw; return the counts."""
    seed = time.time_ns() % 1_000_000
    sys.stdout.write(f"seed {seed}\n")
    chance, answered = random.Random(seed), list[str]()
    with Gateway(log=tmp_path / "billing.jsonl", seed=seed) as gateway:
        gateway.tell(status=503, every=23)
        gateway.tell(cut="after_headers", every=31)
        gateway.tell(cut="before_headers", every=37)
        gateway.tell(transfer="chunked", chunk=50, every=2)
        gateway.tell(delay=0.02, every=3)
        for number in range(rounds):
            kill_round(gateway, url, f"{seed}-{number}", answered, chance)
        with proxying(gateway.root, url=url) as last:
            # It takes in what the others have left, and ends in order.
            wait_for_spool(tmp_path)
            last.stop()
        billing = gateway.billing()
    books = Books.read(url, billing)
    books.check()
    assert set() == set(answered) - books.by_tag.keys()
    assert [] == [tag for tag in answered if books.by_tag[tag].outcome == "interrupted"]
    return {"rounds": rounds, "answered": len(answered), "billed": len(billing), "outcomes": dict(books.outcomes())}


def wait_for_spool(folder: Path) -> None:
    """Return when what dead processes left has been taken in; workers of a killed parent end by themselves first."""
    deadline = time.monotonic() + 90
    while len(list(folder.rglob("*.spool"))) > 1:
        assert time.monotonic() < deadline, list(folder.rglob("*"))
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_ledger_after_kills_of_the_proxy_equals_what_the_gateway_billed(tmp_path: Path, sqlite_url: str) -> None:
    counts = check_rounds(tmp_path, sqlite_url, rounds=5)

    sys.stdout.write(json.dumps(counts))
    assert counts["answered"]
