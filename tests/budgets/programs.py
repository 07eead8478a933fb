"""Processes that have budgets, over one ledger and with a clock that is moved."""

from __future__ import annotations

import threading
from typing import Any

from pixelmeter.budgets.leasing import Leasing
from pixelmeter.budgets.notices import Notices
from pixelmeter.core.budgets.budget import Budget, Notice
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.conftest import FakeClock
from tests.factories import make_attempt

__all__ = ["DAY", "MINUTE", "NANO", "NOON", "PATIENCE", "SECOND", "Program", "budget", "rows", "thresholds"]

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE
NANO = 1_000_000_000
NOON = 1_780_056_000_000_000
"""2026-05-29T12:00Z, in microseconds."""
PATIENCE = 30.0


class Program:
    """A process that has budgets: its writer, and what it tells."""

    def __init__(self, url: str, clock: FakeClock, *budgets: Budget, name: str = "here") -> None:
        self.clock = clock
        self.failures: list[BaseException] = []
        self.urged = threading.Event()
        self.notices = Notices(
            budgets,
            clock=clock,
            process=lambda: name,
            note=lambda place, error: self.failures.append(error),
            pauses=(0, 0, 0),
        )
        self.leasing = Leasing(budgets, clock=clock, process=lambda: name, notices=self.notices)
        self.leasing.urge = self.urged.set
        self.writer = open_writer(url, charges=self.leasing)

    def spend(self, usd: float, **fields: Any) -> None:
        """Have an attempt of such a cost in the ledger, and look what is to be told."""
        attempt = make_attempt(**{"started_at": self.clock.now(), "cost": int(usd * NANO), **fields})
        self.writer.write([attempt], {}, ())
        self.look()

    def look(self) -> float | None:
        """Serve as the writer does, once it is time to look again."""
        self.clock.advance(6 * SECOND)
        return self.leasing.serve(self.writer)

    def settle(self) -> None:
        """Wait until all is told, and have that noted in the ledger."""
        assert self.notices.settle(PATIENCE)
        self.leasing.serve(self.writer)

    def close(self) -> None:
        self.writer.close()


def budget(told: list[Notice] | None = None, usd: float = 10, **options: Any) -> Budget:
    """Return a budget of ten dollars a day that tells a list."""
    notify = None if told is None else told.append
    return Budget(usd, **{"per": "day", "name": "images", "notify": notify, **options})


def thresholds(told: list[Notice]) -> list[str]:
    return [f"{notice.threshold:f}" for notice in told]


def rows(url: str) -> list[tuple[str, int, bool]]:
    """Return the notices of a ledger: value, threshold, whether it was sent."""
    with reading_ledger(url) as reader:
        found = reader.rows(
            "SELECT value, threshold, sent_at IS NOT NULL FROM pixelmeter_budget_notices ORDER BY value, threshold"
        )
    return [(value, threshold, bool(is_sent)) for value, threshold, is_sent in found]
