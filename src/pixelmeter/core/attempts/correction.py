"""An attempt whose cost somebody knows better than the ledger."""

from __future__ import annotations

import msgspec

from pixelmeter.core.attempts.billing import fee_of
from pixelmeter.core.attempts.record import Attempt

__all__ = ["corrected_to"]


def corrected_to(attempt: Attempt, cost: int) -> Attempt:
    """Return an attempt that is billed for so many nano-dollars, with the gateway's fee on them.

    With the caller's own key the fee is an amount of its own, which stays.
    """
    return msgspec.structs.replace(
        attempt,
        billing="billed",
        cost=cost,
        cost_source="reconciled",
        cost_reason=None,
        at_risk=None,
        fee=attempt.fee if attempt.byok else fee_of(cost, attempt.fee_rate),
    )
