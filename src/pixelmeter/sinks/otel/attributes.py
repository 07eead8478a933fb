"""What a span says of an attempt. A value that is not known is left out; nothing is 0 because it is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt, CostSource, Outcome
from pixelmeter.core.labels import error_type
from pixelmeter.settings import CostAttributes
from pixelmeter.sinks.otel import semconv

__all__ = ["ANSWERED", "Value", "ended", "raised", "started"]

Value = str | int | float

ANSWERED: frozenset[Outcome] = frozenset({"success", "pending"})
"""Outcomes of an answer that says which model ran."""

_SOURCES: Mapping[CostSource, str] = {"reported": "provider", "priced": "local"}


def started(intent: Attempt) -> dict[str, Value]:
    """Return what is known when the attempt leaves, so that a sampler can look at it."""
    return dict(_known(_started(intent)))


def ended(attempt: Attempt, cost_attributes: CostAttributes | None) -> dict[str, Value]:
    """Return what is known once the attempt has ended, beside what was known before."""
    return dict(_known((*_answer(attempt), *_tokens(attempt), *_cost(attempt, cost_attributes))))


def raised(attempt: Attempt) -> str | None:
    """Return the class name of the exception that ended the attempt; None if an answer did."""
    kind = attempt.error_type or ""
    # From status 300 on the type is what the gateway says. Below it may be that too, but gateways write theirs small,
    # and the class of an exception begins with a capital.
    is_class = kind.isidentifier() and kind[:1].isupper()
    return kind if is_class and (attempt.status is None or attempt.status < 300) else None


_Pairs = Iterator[tuple[str, Value | None]]


def _known(pairs: _Pairs | tuple[tuple[str, Value | None], ...]) -> Iterator[tuple[str, Value]]:
    return ((name, value) for name, value in pairs if value is not None)


def _started(intent: Attempt) -> _Pairs:
    yield semconv.OPERATION_NAME, semconv.GENERATE_CONTENT
    yield semconv.PROVIDER_NAME, semconv.provider_of(intent.gateway)
    yield semconv.OUTPUT_TYPE, "image"
    yield semconv.REQUEST_MODEL, intent.requested_model or intent.model or None
    yield semconv.CHOICE_COUNT, intent.requested_images if intent.requested_images != 1 else None
    yield semconv.RESEND_COUNT, intent.attempt or None
    # A host has a dot or a port; what has neither is the id of a profile.
    if "." in intent.gateway or ":" in intent.gateway:
        # An IPv6 address has colons of its own, within brackets.
        address, _, port = intent.gateway.rpartition(":")
        named = address != "" and port.isdigit() and len(port) <= 5
        yield semconv.SERVER_ADDRESS, address if named else intent.gateway
        yield semconv.SERVER_PORT, int(port) if named else None
    yield "pixelmeter.operation", intent.operation
    yield "pixelmeter.gateway", intent.gateway
    yield "pixelmeter.call_id", intent.call_id
    yield "pixelmeter.attempt_id", intent.id
    yield "pixelmeter.attempt", intent.attempt
    yield "pixelmeter.images.requested", intent.requested_images
    yield "pixelmeter.images.input", intent.input_images or None


def _answer(attempt: Attempt) -> _Pairs:
    # Repeated here, because the answer may tell which gateway is behind a host that no profile names.
    yield "pixelmeter.gateway", attempt.gateway
    yield semconv.PROVIDER_NAME, semconv.provider_of(attempt.gateway)
    yield semconv.RESPONSE_MODEL, (attempt.model or None) if attempt.outcome in ANSWERED else None
    yield semconv.STATUS_CODE, attempt.status
    yield semconv.ERROR_TYPE, error_type(attempt) or None
    yield "pixelmeter.outcome", attempt.outcome
    yield "pixelmeter.provider", attempt.provider
    yield "pixelmeter.request_id", attempt.request_id
    yield "pixelmeter.images.returned", attempt.images
    yield "pixelmeter.image.size", attempt.size
    yield "pixelmeter.image.quality", attempt.quality
    yield "pixelmeter.first_byte.seconds", None if attempt.first_byte is None else attempt.first_byte / 1e6
    yield "pixelmeter.first_image.seconds", None if attempt.first_image is None else attempt.first_image / 1e6


def _tokens(attempt: Attempt) -> _Pairs:
    yield semconv.INPUT_TOKENS, _sum(attempt.input_text_tokens, attempt.input_image_tokens)
    yield semconv.OUTPUT_TOKENS, _sum(attempt.output_text_tokens, attempt.output_image_tokens)
    yield semconv.TEXT_INPUT_TOKENS, attempt.input_text_tokens
    yield semconv.IMAGE_INPUT_TOKENS, attempt.input_image_tokens
    yield semconv.CACHED_TOKENS, attempt.cached_input_tokens
    yield semconv.TEXT_OUTPUT_TOKENS, attempt.output_text_tokens
    yield semconv.IMAGE_OUTPUT_TOKENS, attempt.output_image_tokens


def _cost(attempt: Attempt, names: CostAttributes | None) -> _Pairs:
    yield "pixelmeter.billing", attempt.billing
    yield "pixelmeter.cost.source", attempt.cost_source
    yield "pixelmeter.cost.reason", attempt.cost_reason
    yield "pixelmeter.at_risk.usd", None if attempt.at_risk is None else attempt.at_risk / NANO_PER_USD
    if attempt.cost is None:
        return
    dollars = attempt.cost / NANO_PER_USD
    yield "pixelmeter.cost.usd", dollars
    yield "pixelmeter.cost.nano_usd", attempt.cost
    if names == "semconv":
        yield semconv.COST_AMOUNT, dollars
        yield semconv.COST_CURRENCY, "USD"
        yield semconv.COST_SOURCE, _SOURCES.get(attempt.cost_source)
    elif names == "openlit":
        yield semconv.COST_OPENLIT, dollars


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
