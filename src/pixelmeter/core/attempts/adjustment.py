"""A later fact about an attempt: the end of its job, an amount of the invoice, a price found later, a correction.

An attempt is never changed. What holds of it now is the attempt with the latest of its adjustments laid over it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import msgspec

from pixelmeter.core.attempts.record import Attempt, Billing, CostSource, Identity, Integer, Outcome

__all__ = ["ADJUSTABLE", "ADJUSTMENT_KINDS", "FIELDS", "Adjustment", "AdjustmentKind", "Change", "change_of", "row"]

AdjustmentKind = Literal["job", "reconciled", "repriced", "manual"]
ADJUSTMENT_KINDS: tuple[AdjustmentKind, ...] = get_args(AdjustmentKind)


class Adjustment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A later fact about an attempt: who says it and why, and how each field that can change is from now on.

    Fields that an `Attempt` has too mean the same, in the same units. The columns of the ledger have the same names.
    """

    # The columns are in this order too.

    attempt_id: Identity
    """The attempt that it is about."""
    number: Integer
    """1 for the first adjustment of its attempt, then 2, 3 …: the latest one holds."""
    kind: AdjustmentKind
    """Why it was made: `job` (the end of a job), `reconciled` (with a statement), `repriced` (a price was found later)
    or `manual` (a correction by hand)."""
    made_at: Integer
    """Unix time in microseconds, UTC."""
    source: str
    """Where it comes from: how the end of a job was heard of, a price, a statement, the command line."""
    made_by: str | None
    """Who made it, where a person did."""
    why: str | None
    """What that person said of it."""
    job_duration: Integer | None
    """Microseconds from the start of the attempt to the end of its job, where this is one.

    None of other attempts that were answered with the same job.
    """
    version: str
    """The pixelmeter version that made it."""
    model: str
    provider: str | None
    images: Integer | None
    size: str | None
    quality: str | None
    input_text_tokens: Integer | None
    input_image_tokens: Integer | None
    cached_input_tokens: Integer | None
    output_text_tokens: Integer | None
    output_image_tokens: Integer | None
    outcome: Outcome
    error_type: str | None
    error_code: str | None
    billing: Billing
    cost: Integer | None
    cost_source: CostSource
    cost_reason: str | None
    reported_cost: Integer | None
    token_cost: Integer | None
    image_cost: Integer | None
    reported_text: str | None
    price_id: str | None
    at_risk: Integer | None
    fee: Integer | None
    priced_parts: str | None

    def laid_over(self, attempt: Attempt) -> Attempt:
        """Return an attempt as it is by this adjustment."""
        return msgspec.structs.replace(attempt, **{name: getattr(self, name) for name in ADJUSTABLE})


FIELDS: tuple[str, ...] = Adjustment.__struct_fields__
ADJUSTABLE: tuple[str, ...] = tuple(name for name in FIELDS if name in Attempt.__struct_fields__ and name != "version")
"""What an adjustment may change of an attempt; the rest is as it was."""


class Change(NamedTuple):
    """What an adjustment has changed, for `AdjustmentSink.adjust`."""

    adjustment: Adjustment
    """The adjustment itself."""
    before: Attempt
    """The attempt as it was before."""
    after: Attempt
    """The attempt as it is now."""


def change_of(
    before: Attempt,
    after: Attempt,
    *,
    number: int,
    kind: AdjustmentKind,
    made_at: int,
    source: str,
    version: str,
    made_by: str | None = None,
    why: str | None = None,
    job_duration: int | None = None,
) -> Change:
    """Return the change that leads from one state of an attempt to another."""
    values: dict[str, Any] = {name: getattr(after, name) for name in ADJUSTABLE}
    adjustment = Adjustment(
        attempt_id=before.id,
        number=number,
        kind=kind,
        made_at=made_at,
        source=source,
        made_by=made_by,
        why=why,
        job_duration=job_duration,
        version=version,
        **values,
    )
    return Change(adjustment, before, adjustment.laid_over(before))


def row(adjustment: Adjustment) -> tuple[Any, ...]:
    """Return the values of an adjustment in the order of FIELDS."""
    return msgspec.structs.astuple(adjustment)
