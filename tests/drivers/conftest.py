"""A meter for the drivers' tests, and the stand-in for what the network answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import capture_calls
from tests.clients import KITS, Kit


@pytest.fixture(params=KITS, ids=str)
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each library, sync and async."""
    kit: Kit = request.param
    return kit


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    """A meter that takes the mocked host for AIgateway; none of its own failures may be left."""
    with Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"}) as meter:
        yield meter
        assert {} == meter.failures.counts()


@pytest.fixture
def attempts() -> Iterator[list[Attempt]]:
    """The attempts that end in the test."""
    with capture_calls() as attempts:
        yield attempts
