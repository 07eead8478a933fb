"""A meter for the drivers' tests, and the stand-in for what the network answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import capture_calls
from tests.clients import KITS, Kit
from tests.drivers.limits import Limited, MakeLimited


@pytest.fixture(params=KITS, ids=str)
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each library, sync and async."""
    kit: Kit = request.param
    return kit


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    """A meter that takes the mocked host, and the stand-in, for AIgateway; none of its own failures may be left."""
    gateways = {"mock.test": "aigateway", "127.0.0.1:*": "aigateway"}
    with Meter(f"sqlite:///{tmp_path}/ledger.db", gateways=gateways) as meter:
        yield meter
        assert {} == meter.status()["failures"]


@pytest.fixture
def attempts() -> Iterator[list[Attempt]]:
    """The attempts that end in the test."""
    with capture_calls() as attempts:
        yield attempts


@pytest.fixture
def limited(sqlite_url: str, request: pytest.FixtureRequest) -> Iterator[MakeLimited]:
    """Makes a meter with a budget for so many calls; of what was reserved nothing may be left, nor any failure."""
    request.getfixturevalue("patient")
    made: list[Limited] = []

    def make(calls: int, **budget: Any) -> Limited:
        made.append(Limited(sqlite_url, calls, **budget))
        return made[-1]

    yield make
    for each in made:
        assert {} == each.meter.status()["failures"]
        assert 0 == each.sums()[2]
