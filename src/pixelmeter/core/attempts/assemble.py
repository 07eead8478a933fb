"""From what was seen to the record: the one place that fills an `Attempt`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pixelmeter.core.apis.openai_images import ImageRequest, ImageResponse, facts_of
from pixelmeter.core.apis.usage import Block
from pixelmeter.core.attempts.billing import Reported, Tiers, fee_of, reported_by, settle, text_at
from pixelmeter.core.attempts.record import Attempt, Operation, Outcome
from pixelmeter.core.attempts.terms import Ending, Named, Terms, Wire, named_by
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.pricing.book import Consumption
from pixelmeter.core.text import bounded
from pixelmeter.core.wire.headers import Headers, first

__all__ = ["assemble", "intend"]

_REMEMBERED = 32
_LONGEST = 200


def intend(terms: Terms, *, host: str, operation: Operation, at: int, version: str) -> Attempt:
    """Return the record of an attempt as it stands if the process dies now: interrupted, its cost at risk.

    Without what is its own: ids, number, time, length, tags and trace. `at` is the Unix time in microseconds by which
    it is priced.
    """
    request, profile = terms.request, terms.profile
    gateway = host if profile.generic else profile.id
    asked = _consumption(request, ImageResponse(), images=request.images)
    estimates = (
        terms.book.estimate(
            asked, gateway=gateway, model=model, at=at, vendors=profile.pass_through, region=terms.region
        )
        for model in terms.named.models
    )
    return Attempt(
        id="",
        call_id="",
        attempt=0,
        started_at=0,
        gateway=gateway,
        operation=operation,
        requested_model=request.model,
        model=_latest(terms.named) or request.model or "",
        provider=None,
        requested_images=request.images,
        images=None,
        input_images=request.input_images,
        requested_size=request.size,
        size=_known(request.size),
        requested_quality=request.quality,
        quality=_known(request.quality),
        output_format=request.output_format,
        input_text_tokens=None,
        input_image_tokens=None,
        cached_input_tokens=None,
        output_text_tokens=None,
        output_image_tokens=None,
        request_bytes=None,
        response_bytes=0,
        status=None,
        outcome="interrupted",
        error_type=None,
        error_code=None,
        request_id=None,
        first_byte=None,
        duration=0,
        billing="unknown",
        cost=None,
        cost_source="none",
        cost_reason="outcome_unknown",
        reported_cost=None,
        token_cost=None,
        image_cost=None,
        reported_text=None,
        price_id=None,
        at_risk=next((estimate for estimate in estimates if estimate is not None), None),
        byok=request.byok,
        fee_rate=_fee_rate(terms, profile),
        fee=None,
        tags="{}",
        trace_id=None,
        version=version,
    )


def assemble(
    intent: Attempt,
    terms: Terms,
    wire: Wire,
    response: ImageResponse,
    outcome: Outcome,
    error_type: str | None,
    *,
    sent: bool,
) -> Attempt:
    """Return the record of an attempt that has ended."""
    headers = wire.headers
    profile = terms.profiles.of_response(terms.profile, headers)
    deciding = terms.profiles.deciding[profile.id]
    told = (*map(headers.get, deciding.headers), *[text_at(response.body, path) for path in deciding.paths])
    ending: Ending = (profile.id, outcome, error_type, sent, wire.status, wire.cached, facts_of(response), told)
    alike = terms.endings.get(ending)
    if alike is None:
        alike = _ended(intent, terms, profile, wire, response, outcome, error_type, sent=sent)
        if all(text is None or len(text) <= _LONGEST for text in told):
            if len(terms.endings) >= _REMEMBERED:
                terms.endings.clear()
            terms.endings[ending] = alike
    return msgspec.structs.replace(
        alike,
        id=intent.id,
        call_id=intent.call_id,
        attempt=intent.attempt,
        started_at=intent.started_at,
        request_bytes=intent.request_bytes,
        tags=intent.tags,
        trace_id=intent.trace_id,
        response_bytes=wire.response_bytes,
        request_id=None if wire.cached else first(headers, profile.identity.request_id),
        first_byte=wire.first_byte,
        duration=wire.duration,
        first_image=wire.first_image,
        remaining_requests=None if wire.cached else _number(headers, profile.limits.remaining_requests),
    )


def _ended(
    intent: Attempt,
    terms: Terms,
    profile: Profile,
    wire: Wire,
    response: ImageResponse,
    outcome: Outcome,
    error_type: str | None,
    *,
    sent: bool,
) -> Attempt:
    """Return what all attempts have in common that were asked and ended like this one."""
    request = terms.request
    gateway = intent.gateway if profile is terms.profile else profile.id
    named = terms.named
    if profile is not terms.profile:
        named = named_by(request, profile, intent.operation, intent.started_at)
    routed = first(wire.headers, profile.identity.model)
    said = None if response.model is None or profile.hides(response.model) else response.model
    priced = _Priced(Tiers(reason=named.reason), _latest(named))
    if outcome == "success" or not response.usage.is_empty:
        models = _models(named, routed, said)
        priced = _priced(terms, profile, response, named, models, gateway=gateway, at=intent.started_at)
    tiers = priced.tiers
    reported = Reported() if wire.cached else reported_by(profile, wire.headers, response.body)
    settlement = settle(
        outcome,
        sent=sent,
        cached=wire.cached,
        status=wire.status,
        profile=profile,
        reported=reported,
        tiers=tiers,
        byok=intent.byok,
    )
    fee_rate = _fee_rate(terms, profile)
    return msgspec.structs.replace(
        intent,
        gateway=gateway,
        model=routed or said or priced.model or request.model or "",
        provider=first(wire.headers, profile.identity.provider),
        images=response.images,
        size=response.size or _known(request.size),
        quality=_known(response.quality) or _known(request.quality),
        output_format=response.output_format or request.output_format,
        input_text_tokens=response.usage.input_text,
        input_image_tokens=response.usage.input_image,
        cached_input_tokens=response.usage.cached,
        output_text_tokens=response.usage.output_text,
        output_image_tokens=response.usage.output_image,
        status=wire.status,
        outcome=outcome,
        error_type=error_type,
        error_code=response.error_code,
        billing=settlement.billing,
        cost=settlement.cost,
        cost_source=settlement.cost_source,
        cost_reason=settlement.cost_reason,
        reported_cost=reported.nano,
        token_cost=tiers.token_cost,
        image_cost=tiers.image_cost,
        reported_text=bounded(reported.text),
        price_id=tiers.price_id,
        at_risk=_at_risk(intent, tiers, outcome, billing=settlement.billing),
        fee_rate=fee_rate,
        fee=reported.nano if intent.byok else fee_of(settlement.cost, fee_rate),
    )


class _Priced(NamedTuple):
    tiers: Tiers
    model: str | None = None
    """The model, as far as the request and the book say."""


def _models(named: Named, routed: str | None, said: str | None) -> Sequence[str]:
    """Return what may be priced: the model that the gateway says it chose, else that of the response, else the
    requested one."""
    if routed is not None:
        return (routed,)
    if said is None:
        return named.models
    # What ran where no model was named is what the response says, and nothing else.
    return (said,) if named.is_default else (said, *named.models)


def _priced(
    terms: Terms,
    profile: Profile,
    response: ImageResponse,
    named: Named,
    models: Sequence[str],
    *,
    gateway: str,
    at: int,
) -> _Priced:
    """Price a response as the first of the models that the book has."""
    if not models:
        return _Priced(Tiers(reason=named.reason))
    if not response.decoded:
        return _Priced(Tiers(reason="not_decoded"), _latest(named))
    doubt = response.usage.doubt
    if doubt == "unparsed" or doubt == "unpriced_usage":
        return _Priced(Tiers(reason=doubt), _latest(named))
    consumption = _consumption(terms.request, response, images=response.images)
    for model in models:
        quote = terms.book.quote(
            consumption, gateway=gateway, model=model, at=at, vendors=profile.pass_through, region=terms.region
        )
        if quote.reason != "no_price":
            break
    else:
        return _Priced(Tiers(), _latest(named))
    if models is named.models and named.is_default and quote.token_cost is None and not response.usage.is_empty:
        # A model that is billed by images does not count tokens: another one ran.
        return _Priced(Tiers(reason="no_model"))
    return _Priced(
        Tiers(
            token_cost=quote.token_cost,
            image_cost=quote.image_cost,
            price_id=quote.price_id,
            reason=quote.reason or "no_price",
        ),
        model,
    )


def _latest(named: Named) -> str | None:
    return named.models[-1] if named.models else None


def _consumption(request: ImageRequest, response: ImageResponse, *, images: int | None) -> Consumption:
    usage = response.usage
    return Consumption(
        images=images,
        size=response.size or request.size,
        quality=_known(response.quality) or request.quality,
        input_images=request.input_images,
        steps=request.steps,
        input_text_tokens=usage.input_text,
        input_image_tokens=usage.input_image,
        cached_text_tokens=usage.cached_text,
        cached_image_tokens=usage.cached_image,
        output_text_tokens=usage.output_text,
        output_image_tokens=usage.output_image,
        partial_images=request.partial_images,
        doubt="unpriced_tokens" if usage.doubt == "unpriced_tokens" else None,
        others=tuple(map(_used, response.blocks)),
    )


def _used(block: Block) -> tuple[str, Consumption]:
    usage = block.usage
    return block.model or "", Consumption(
        images=0,
        input_text_tokens=usage.input_text,
        input_image_tokens=usage.input_image,
        cached_text_tokens=usage.cached_text,
        cached_image_tokens=usage.cached_image,
        output_text_tokens=usage.output_text,
        output_image_tokens=usage.output_image,
        doubt="unpriced_usage" if usage.doubt is not None else None,
    )


def _at_risk(intent: Attempt, tiers: Tiers, outcome: Outcome, *, billing: str) -> int | None:
    if billing not in ("unknown", "pending"):
        return None
    known = tiers.token_cost if tiers.token_cost is not None else tiers.image_cost
    if known is None:
        return intent.at_risk
    # What came of a response that broke off may be less than what was made.
    return known if outcome == "success" else max(known, intent.at_risk or 0)


def _fee_rate(terms: Terms, profile: Profile) -> int:
    if terms.request.byok:
        return 0
    return profile.fee.parts_per_million if terms.fee_rate is None else terms.fee_rate


def _number(headers: Headers, names: Sequence[bytes]) -> int | None:
    text = first(headers, names)
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _known(value: str | None) -> str | None:
    return None if value == "auto" else value
