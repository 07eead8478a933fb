"""The record of one attempt: a ledger row, a spool frame, a span and a log line are all views of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec

Operation = Literal["generate", "edit", "variation", "chat_image", "response_image"]
Outcome = Literal[
    "success", "error", "timeout", "throttled", "rejected", "cancelled", "interrupted", "blocked", "pending"
]
Billing = Literal["billed", "not_billed", "unknown", "pending"]
CostSource = Literal["reported", "priced", "reconciled", "none"]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BILLINGS: tuple[Billing, ...] = get_args(Billing)
COST_SOURCES: tuple[CostSource, ...] = get_args(CostSource)

# What a database column takes; checked when a record is read back, because one that no database takes would hold up
# all those behind it.
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Identity = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

NANO_PER_USD = 1_000_000_000
MICROSECONDS_PER_DAY = 86_400_000_000


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One HTTP request that asks for images, with its outcome and cost; never changed once made.

    Money is in integer nano-dollars (1e-9 USD), time in integer microseconds. None means unknown, never zero. The
    columns of the ledger have the same names and units.
    """

    # The columns are in this order too. A new field goes to the end, with a default, so that a spool written by an
    # older version can be read.

    id: Identity
    """UUIDv7 of this attempt."""
    call_id: Identity
    """UUIDv7 shared by all attempts of one call; the id of its first attempt."""
    attempt: Integer
    """0 for the first attempt of a call, then 1, 2 …: `x-stainless-retry-count` where the SDK sends it."""
    started_at: Integer
    """Unix time in microseconds, UTC, when the request was handed to the transport."""
    gateway: str
    """Id of the gateway profile, or the host (with a non-default port) where only the generic profile fits."""
    operation: Operation
    """What was asked for: `generate`, `edit`, `variation`, `chat_image` (an image in a chat) or `response_image` (the
    image tool of the Responses API)."""
    requested_model: str | None
    """The model that the request names; None when it names none."""
    model: str
    """The model that ran, as far as the response says; else the requested one; "" when neither is known."""
    provider: str | None
    """The vendor behind the gateway, where the response names it."""
    requested_images: Integer
    """`n` of the request (1 when it is silent)."""
    images: Integer | None
    """Images delivered (a non-empty b64_json or url); None when the response could not be read."""
    input_images: Integer
    """Images sent along with an edit or variation."""
    requested_size: str | None
    """The size in the request, such as "1024x1024"; None where it names none."""
    size: str | None
    """The size of the response, "mixed" where its images have several, else the requested one unless "auto"."""
    requested_quality: str | None
    """The quality in the request; None where it names none."""
    quality: str | None
    """The quality of the response, else the requested one unless "auto"."""
    output_format: str | None
    """The format of the images, such as "png"."""
    input_text_tokens: Integer | None
    """Text tokens of the prompt, those from a cache included."""
    input_image_tokens: Integer | None
    """Tokens of the images that were sent along."""
    cached_input_tokens: Integer | None
    """Of the input tokens, those that the provider had in its cache."""
    output_text_tokens: Integer | None
    """Text tokens of the response."""
    output_image_tokens: Integer | None
    """Image tokens of the response."""
    request_bytes: Integer | None
    """Bytes of the request body by its Content-Length; None for a chunked upload."""
    response_bytes: Integer
    """Bytes of the response body as they came over the wire (still compressed)."""
    status: Integer | None
    """HTTP status; None when no response arrived."""
    outcome: Outcome
    """How it ended: `success`, `error`, `timeout`, `throttled`, `rejected`, `cancelled`, `interrupted` (the process
    died), `blocked` (a budget refused it, so it was never sent) or `pending` (a job that goes on)."""
    error_type: str | None
    """The gateway's error type, or the class name of the exception; at most 100 characters, never a message."""
    error_code: str | None
    """The gateway's error code, where it gives one."""
    request_id: str | None
    """The gateway's own id for the request, to quote to its support."""
    first_byte: Integer | None
    """Microseconds from the start to the response headers."""
    duration: Integer
    """Microseconds from the start to the end of the body, or to the failure."""
    billing: Billing
    """Whether the gateway charges for it: `billed`, `not_billed`, `unknown` or `pending` (a job that goes on)."""
    cost: Integer | None
    """Nano-dollars; None when unknown, and then `cost_reason` says why."""
    cost_source: CostSource
    """Where the cost is from: `reported` by the gateway, `priced` by the price book, `reconciled` with a statement, or
    `none`."""
    cost_reason: str | None
    """Why the cost is unknown, or why it is zero."""
    reported_cost: Integer | None
    """Nano-dollars, what the gateway said."""
    token_cost: Integer | None
    """Nano-dollars, tokens x price book."""
    image_cost: Integer | None
    """Nano-dollars, delivered images (or pixels) x price book."""
    reported_text: str | None
    """The gateway's cost text where it could not be used as it stands; at most 200 characters."""
    price_id: str | None
    """The entry of the price book behind token_cost or image_cost."""
    at_risk: Integer | None
    """Nano-dollars this attempt may have cost, estimated, while its billing is unknown or pending; None when billing
    is settled, and also when no estimate is possible."""
    byok: bool
    """The caller brought the provider's own key, so the provider bills."""
    fee_rate: Integer
    """The gateway's fee in parts per million of the cost (5 % is 50_000); 0 when it takes none."""
    fee: Integer | None
    """Nano-dollars of that fee, apart from the cost; None when the cost is unknown."""
    tags: str
    """A JSON object of strings, keys sorted, "{}" when there are none."""
    trace_id: str | None
    """32 hex digits, from the traceparent header or the current OpenTelemetry span."""
    version: str
    """The pixelmeter version that made the record."""
    first_image: Integer | None = None
    """Microseconds from the start to the first image of a stream, a partial one included; None without a stream."""
    remaining_requests: Integer | None = None
    """How many more requests the gateway would have taken in its window, as far as it says."""
    job_id: str | None = None
    """The gateway's id of the job, where the answer has one."""
    priced_parts: str | None = None
    """What `token_cost` and `image_cost` are made of: a JSON array as `pixelmeter.core.pricing.parts` has it; None
    where the price book has neither."""
    baseline_model: str | None = None
    """Of a routed attempt: the model that the gateway compares with the one that it chose."""
    baseline_cost: Integer | None = None
    """Nano-dollars that the baseline model would have cost, as the gateway says."""
    route_fee: Integer | None = None
    """Nano-dollars that the gateway says it takes for choosing. Whether `reported_cost` has them in it is said nowhere,
    so they are never added to it."""
    savings: Integer | None = None
    """Nano-dollars that the gateway says its choice saved; negative where its choice was more expensive."""
    service_tier: str | None = None
    """The tier of the response, else the requested one unless that is "auto"."""


FIELDS: tuple[str, ...] = Attempt.__struct_fields__


def row(attempt: Attempt) -> tuple[Any, ...]:
    """Return the values of an attempt in the order of FIELDS."""
    return msgspec.structs.astuple(attempt)
