"""The record of one attempt: a ledger row, a spool frame, a span and a log line are all views of it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

Operation = Literal["generate", "edit", "variation"]
Outcome = Literal[
    "success", "error", "timeout", "throttled", "rejected", "cancelled", "interrupted", "blocked", "pending"
]
Billing = Literal["billed", "not_billed", "unknown", "pending"]
CostSource = Literal["reported", "priced", "none"]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BILLINGS: tuple[Billing, ...] = get_args(Billing)
COST_SOURCES: tuple[CostSource, ...] = get_args(CostSource)

NANO_PER_USD = 1_000_000_000
MICROSECONDS_PER_DAY = 86_400_000_000


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One HTTP request on the wire, priced; never changed once made.

    Money is in integer nano-dollars (1e-9 USD), time in integer microseconds. None means unknown, never zero.
    Ledger columns have these names in this order; a new field goes to the end, with a default, so that a spool
    written by an older version can be read.
    """

    id: str
    """UUIDv7 of this attempt."""
    call_id: str
    """UUIDv7 shared by all attempts of one call; the id of its first attempt."""
    attempt: int
    """0 for the first attempt of a call, then 1, 2 …: `x-stainless-retry-count` where the SDK sends it."""
    started_at: int
    """Unix time in microseconds, UTC, when the request was handed to the transport."""
    gateway: str
    """Id of the gateway profile, or the host (with a non-default port) where only the generic profile fits."""
    operation: Operation
    requested_model: str | None
    """The model that the request names; None when it names none."""
    model: str
    """The model that ran, as far as the answer says; else the requested one; "" when neither is known."""
    provider: str | None
    """The vendor behind the gateway, where the answer names it."""
    requested_images: int
    """`n` of the request (1 when it is silent)."""
    images: int | None
    """Images delivered (a non-empty b64_json or url); None when the answer could not be read."""
    input_images: int
    """Images sent along with an edit or variation."""
    requested_size: str | None
    size: str | None
    """The size of the answer, else the requested one unless that is "auto"."""
    requested_quality: str | None
    quality: str | None
    output_format: str | None
    input_text_tokens: int | None
    input_image_tokens: int | None
    cached_input_tokens: int | None
    output_text_tokens: int | None
    output_image_tokens: int | None
    request_bytes: int | None
    """Bytes of the request body by its Content-Length; None for a chunked upload."""
    response_bytes: int
    """Bytes of the response body as they came over the wire (still compressed)."""
    status: int | None
    """HTTP status; None when no response arrived."""
    outcome: Outcome
    error_type: str | None
    """The gateway's error type, or the class name of the exception; at most 100 characters, never a message."""
    error_code: str | None
    request_id: str | None
    """The gateway's own id for the request, to quote to its support."""
    first_byte: int | None
    """Microseconds from the start to the response headers."""
    duration: int
    """Microseconds from the start to the end of the body, or to the failure."""
    billing: Billing
    cost: int | None
    """Nano-dollars; None when unknown, and then `cost_reason` says why."""
    cost_source: CostSource
    cost_reason: str | None
    """Why the cost is unknown, or why it is zero."""
    reported_cost: int | None
    """Nano-dollars, what the gateway said."""
    token_cost: int | None
    """Nano-dollars, tokens x price book."""
    image_cost: int | None
    """Nano-dollars, delivered images (or pixels) x price book."""
    reported_text: str | None
    """The gateway's cost text where it could not be used as it stands; at most 200 characters."""
    price_id: str | None
    """The entry of the price book behind token_cost or image_cost."""
    at_risk: int | None
    """Nano-dollars this attempt may have cost, estimated, while its billing is unknown or pending; None when billing
    is settled, and also when no estimate is possible."""
    byok: bool
    """The caller brought the provider's own key, so the provider bills."""
    fee_rate: int
    """The gateway's fee in parts per million of the cost (5 % is 50_000); 0 when it takes none."""
    fee: int | None
    """Nano-dollars of that fee, apart from the cost; None when the cost is unknown."""
    tags: str
    """A JSON object of strings, keys sorted, "{}" when there are none."""
    trace_id: str | None
    """32 hex digits, from the traceparent header or the current OpenTelemetry span."""
    version: str
    """The pixelmeter version that made the record."""


FIELDS: tuple[str, ...] = Attempt.__struct_fields__


def row(attempt: Attempt) -> tuple[Any, ...]:
    """Return the values of an attempt in the order of FIELDS."""
    return msgspec.structs.astuple(attempt)
