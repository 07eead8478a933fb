"""A program that is killed after it has drawn a lease and before it has kept anything: the lease comes back at once."""

from __future__ import annotations

import os
import signal

import httpx

import pixelmeter
from pixelmeter.budgets import admission
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.settings import Settings
from pixelmeter.spool import Spool
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.faults.support import GATEWAYS, PROCESSES


def _die(ledger: str, spool: str, gateway: str) -> None:
    """Make a call, and be killed when its intent is to be kept."""
    setattr(Spool, "intent", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010
    setattr(admission, "WAIT_SECONDS", 60)  # noqa: B010
    budget = pixelmeter.Budget(1, name="b", action="block", on_unavailable="block", thresholds=())
    meter = pixelmeter.Meter(ledger, gateways=GATEWAYS, spool_dir=spool, budgets=[budget])
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        client.post(f"{gateway}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "fog"})


def _leased(ledger: str) -> int:
    with reading_ledger(ledger) as reader:
        [(leased,)] = reader.rows("SELECT coalesce(sum(leased), 0) FROM pixelmeter_budget_sums")
    return int(leased)


def test_a_lease_that_was_drawn_by_a_program_that_is_killed_at_once_comes_back(
    new_url: str, gateway: Gateway, tmp_path: str
) -> None:
    spool = f"{tmp_path}/spool"
    process = PROCESSES.Process(target=_die, args=(new_url, spool, gateway.url))
    process.start()
    process.join(60)
    assert -signal.SIGKILL == process.exitcode
    assert _leased(new_url) > 0
    adopt(new_url, Settings(spool_dir=spool))
    assert 0 == _leased(new_url)
    assert [] == gateway.billing()
