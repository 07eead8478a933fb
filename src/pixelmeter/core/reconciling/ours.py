"""What the ledger says of an attempt, as far as a gateway's statement can say it too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from pixelmeter.core.attempts.record import Billing, Outcome

__all__ = ["COLUMNS", "MISSING", "Missing", "Ours", "model_key"]

Missing = Literal["pending", "at_risk", "refused", "unknown_cost", "lost"]
"""Why an attempt may be on no statement: its job has not ended, nobody knows whether it was billed, the gateway refused
it, nobody knows what it cost; or it should be there."""
MISSING: Mapping[Missing, str] = {
    "pending": "its job has not ended",
    "at_risk": "nobody knows whether it was billed",
    "refused": "the gateway refused it",
    "unknown_cost": "nobody knows what it cost",
    "lost": "it was billed, as far as we know",
}

_DATE = re.compile(r"[-@]?20[0-9]{2}-?[0-9]{2}-?[0-9]{2}$")
_FAILED: tuple[Outcome, ...] = ("rejected", "throttled", "blocked")


class Ours(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attempt as it is now, adjustments included. Units are those of `Attempt`."""

    id: str
    started_at: int
    request_id: str | None
    job_id: str | None
    model: str
    requested_model: str | None
    outcome: Outcome
    status: int | None
    billing: Billing
    cost: int | None
    cost_reason: str | None
    at_risk: int | None
    byok: bool
    images: int | None = None

    @property
    def is_named(self) -> bool:
        """Whether the gateway gave it a name."""
        return self.request_id is not None or self.job_id is not None

    @property
    def is_expected(self) -> bool:
        """Whether a complete statement should have it: what cost nothing may be missing."""
        return self.cost != 0 and not self.byok

    @property
    def may_be_stated(self) -> bool:
        """Whether it reached the gateway at all, and was paid for there if anywhere."""
        return not self.byok and self.outcome != "blocked" and self.cost_reason != "not_sent"

    @property
    def may_have_images(self) -> bool:
        """Whether the gateway may have made images for it."""
        return self.outcome not in _FAILED and self.cost_reason != "not_sent"

    @property
    def is_open(self) -> bool:
        """Whether its cost is for a statement to settle."""
        return self.cost is None or self.billing in ("unknown", "pending")

    @property
    def ended(self) -> Literal["succeeded", "failed"] | None:
        """How it ended on the gateway's side; None where that is not known here."""
        if self.outcome == "success":
            return "succeeded"
        if self.outcome in _FAILED or (self.status is not None and self.status >= 400):
            return "failed"
        return None

    @property
    def missing(self) -> Missing:
        """Why it may be on no statement."""
        if self.billing == "pending":
            return "pending"
        if self.billing == "unknown":
            return "at_risk"
        if self.outcome in _FAILED:
            return "refused"
        return "unknown_cost" if self.cost is None else "lost"

    @property
    def models(self) -> tuple[str, ...]:
        """The names under which a statement may have its model, as `model_key` makes them."""
        names = (self.model, self.requested_model)
        return tuple(dict.fromkeys(model_key(name) for name in names if name))


COLUMNS: tuple[str, ...] = Ours.__struct_fields__


def model_key(name: str) -> str:
    """Return a name that two spellings of a model have in common.

    Case, the vendor before the first slash and a date at the end do not tell models apart: "OpenAI/gpt-image-2" and
    "gpt-image-2-2026-04-21" are one.
    """
    key = name.casefold()
    before, _, after = key.partition("/")
    return _DATE.sub("", after or before) or key
