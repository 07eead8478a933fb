"""From the spool to the ledger, every attempt once. The only part that knows both."""

from __future__ import annotations

from pixelmeter.drain.delivery import GROUP
from pixelmeter.drain.drain import Drain, DrainCounts

__all__ = ["GROUP", "Drain", "DrainCounts"]
