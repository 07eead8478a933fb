"""All that one stand-in gateway remembers."""

from __future__ import annotations

from pathlib import Path

from pixelmeter.testing.billing import Billing
from pixelmeter.testing.jobs import Jobs
from pixelmeter.testing.rules import Rules
from pixelmeter.testing.waiting import Waiting

__all__ = ["State"]


class State:
    """The parts of a gateway that requests share."""

    def __init__(self, log: Path, seed: int) -> None:
        self.seed = seed
        self.billing = Billing(log)
        self.jobs = Jobs()
        self.waiting = Waiting()
        self.rules = Rules(seed)
        self._requests = 0

    def new_request_id(self) -> str:
        """Return an id for a request that brought none."""
        self._requests += 1
        return f"req_{self.seed}_{self._requests:08d}"

    def reset(self) -> None:
        """Go back to the start: no rules, no jobs, an empty billing log, nothing held."""
        self.rules = Rules(self.seed)
        self.jobs = Jobs()
        self.billing.clear()
        self.waiting.release()
