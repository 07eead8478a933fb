"""The ledger and the gateway's billing log side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.reader import reading_ledger


@dataclass
class Books:
    """Rows and billing entries that share their tags."""

    rows: Sequence[Attempt]
    billing: Sequence[dict[str, Any]]
    by_tag: dict[str, Attempt] = field(init=False)

    def __post_init__(self) -> None:
        self.by_tag = {msgspec.json.decode(row.tags)["aig_tag"]: row for row in self.rows}

    @classmethod
    def read(cls, ledger: str, billing: Sequence[dict[str, Any]]) -> Books:
        """Read the ledger; `billing` must have been read before, as calls may still be on their way."""
        with reading_ledger(ledger) as reader:
            return cls(attempts(reader, limit=1_000_000), billing)

    def check(self) -> None:
        """Every tag is in the ledger once, everything billed has a row, and the sums agree to the nano-dollar."""
        assert len(self.rows) == len(self.by_tag)
        billed = {str(entry["tag"]): entry for entry in self.billing}
        assert len(self.billing) == len(billed)
        assert set() == billed.keys() - self.by_tag.keys()
        for tag, row in self.by_tag.items():
            entry = billed.get(tag)
            if row.cost is not None:
                assert (row.cost, row.at_risk) == (entry["charged_nano"] if entry else 0, None)
            else:
                assert row.billing == "unknown"
                assert row.at_risk
            if row.request_id is not None:
                assert entry is not None
                assert entry["request_id"] == row.request_id
        known = sum(row.cost or 0 for row in self.rows)
        truth = sum(
            billed[tag]["charged_nano"] for tag, row in self.by_tag.items() if row.cost is None and tag in billed
        )
        assert sum(entry["charged_nano"] for entry in self.billing) == known + truth

    def outcomes(self) -> Counter[str]:
        return Counter(row.outcome for row in self.rows)
