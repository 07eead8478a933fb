"""What a program has left of a lease goes back when it closes, also where the ledger says no for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

import pixelmeter
from pixelmeter.budgets import admission
from pixelmeter.core.budgets.lease import LeaseKey
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.budgets import BudgetTransactions
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.settings import Settings
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.budgets.programs import PATIENCE
from tests.faults.support import GATEWAYS, PROCESSES

pytestmark = pytest.mark.usefixtures("patient")

GiveBack = Callable[[BudgetTransactions, str, Mapping[LeaseKey, int]], None]


def metered_call(ledger: str, spool: str, gateway: str) -> pixelmeter.Meter:
    """Make a call under a budget that leaves something of a lease, and return its meter."""
    budget = pixelmeter.Budget(5, per="day", name="images", action="block")
    meter = pixelmeter.Meter(ledger, gateways=GATEWAYS, budgets=[budget], spool_dir=spool)
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        client.post(f"{gateway}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "fog"})
    assert meter.flush(PATIENCE)
    assert leased(ledger) > 0
    return meter


def leased(ledger: str) -> int:
    with reading_ledger(ledger) as reader:
        [(amount,)] = reader.rows("SELECT leased FROM pixelmeter_budget_sums")
    return int(amount)


def refusing(times: int, give_back: GiveBack = BudgetTransactions.give_back) -> GiveBack:
    """Return what gives back once it has refused that so many times."""
    refusals = [LedgerError("the ledger is locked")] * times

    def refuse(writer: BudgetTransactions, process: str, amounts: Mapping[LeaseKey, int]) -> None:
        if refusals:
            raise refusals.pop()
        give_back(writer, process, amounts)

    return refuse


def test_a_ledger_that_says_no_at_first_gets_back_what_is_left_of_a_lease(
    gateway: Gateway, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = metered_call(ledger_url, str(tmp_path / "spool"), gateway.url)
    monkeypatch.setattr(BudgetTransactions, "give_back", refusing(2))
    assert meter.close(PATIENCE)
    assert {"budgets": 2} == meter.status()["failures"]
    assert 0 == leased(ledger_url)


def _end_in_vain(ledger: str, spool: str, gateway: str) -> None:
    setattr(admission, "WAIT_SECONDS", 60)  # noqa: B010
    meter = metered_call(ledger, spool, gateway)
    setattr(BudgetTransactions, "give_back", refusing(1_000_000))  # noqa: B010
    assert not meter.close(0.2)


def test_what_a_program_could_not_give_back_goes_back_after_its_end(
    gateway: Gateway, ledger_url: str, tmp_path: Path
) -> None:
    spool = str(tmp_path / "spool")
    process = PROCESSES.Process(target=_end_in_vain, args=(ledger_url, spool, gateway.url))
    process.start()
    process.join(120)
    assert 0 == process.exitcode
    assert leased(ledger_url) > 0
    adopt(ledger_url, Settings(spool_dir=spool))
    assert 0 == leased(ledger_url)
