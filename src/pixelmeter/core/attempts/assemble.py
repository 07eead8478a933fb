"""An attempt on its way, whose end becomes its record: the one place that fills an `Attempt`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse, facts_of
from pixelmeter.core.attempts.billing import (
    Priced,
    Reported,
    Tiers,
    fee_of,
    price_of,
    reported_by,
    settle,
    units_told,
)
from pixelmeter.core.attempts.intent import Ending, Prepared
from pixelmeter.core.attempts.record import Attempt, Outcome
from pixelmeter.core.attempts.routing import Routed, routed_by
from pixelmeter.core.attempts.terms import Named, Terms, fee_rate_of, named_by, unless_auto
from pixelmeter.core.gateways.amounts import words_at
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.routes import Route
from pixelmeter.core.text import bounded
from pixelmeter.core.wire.headers import Headers, first

__all__ = ["Metered", "Wire", "assemble"]

_LONGEST = 200


class Wire(msgspec.Struct, gc=False):
    """The transport facts of a response: status, headers, sizes and times."""

    status: int | None = None
    headers: Headers = {}
    response_bytes: int = 0
    first_byte: int | None = None
    first_image: int | None = None
    duration: int = 0
    cached: bool = False
    """A cache of the caller gave the response: its headers and amounts are those of an earlier attempt."""
    left: str | None = None
    """Why its caller was not there any more when it ended; None for one that was."""


class Metered:
    """An attempt that an exchange watches."""

    __slots__ = ("_emit", "_intent", "_note", "_prepared", "request", "route")

    def __init__(
        self,
        intent: Attempt,
        prepared: Prepared,
        emit: Callable[[Attempt], None],
        note: Callable[[str, Exception], None] = lambda place, error: None,
    ) -> None:
        """Begin with the intent, and what it was made of.

        `emit` takes the record, `note` a failure of ours and where it was.
        """
        self._intent = intent
        self._prepared = prepared
        self._emit = emit
        self._note = note
        self.route: Route = prepared.terms.route
        """The route that its request has taken."""
        self.request: ImageRequest = prepared.terms.request
        """What it asks for."""

    @property
    def is_traced(self) -> bool:
        """Whether the trace of its request is known."""
        return self._intent.trace_id is not None

    def trace(self, trace_id: str) -> None:
        """Take the trace of its request."""
        self._intent = msgspec.structs.replace(self._intent, trace_id=trace_id)

    def end(self, wire: Wire, response: ImageResponse, outcome: Outcome, error_type: str | None, *, sent: bool) -> None:
        """Emit its record."""
        try:
            attempt = assemble(self._intent, self._prepared, wire, response, outcome, error_type, sent=sent)
        except Exception as error:
            self._note("record", error)
            # The intent says "interrupted, cost unknown"; what is certain is put right.
            attempt = msgspec.structs.replace(
                self._intent, outcome="error", error_type=type(error).__name__, duration=wire.duration
            )
        self._emit(attempt)


def assemble(
    intent: Attempt,
    prepared: Prepared,
    wire: Wire,
    response: ImageResponse,
    outcome: Outcome,
    error_type: str | None,
    *,
    sent: bool,
) -> Attempt:
    """Return the record of an attempt that has ended."""
    terms = prepared.terms
    headers = wire.headers
    route = terms.route
    profile, deciding = route.profile, route.deciding
    if profile.generic:
        profile = terms.profiles.of_response(profile, headers)
        deciding = terms.deciding(profile)
    told: tuple[bytes | tuple[str, ...] | None, ...] = tuple(map(headers.get, deciding.headers))
    if deciding.paths:
        told = (*told, *[words_at(response.body, path) for path in deciding.paths])
    ending: Ending = (profile.id, outcome, error_type, sent, wire.status, wire.cached, facts_of(response), told)
    alike = prepared.endings.get(ending)
    if alike is None:
        alike = _ended(intent, terms, profile, wire, response, outcome, error_type, sent=sent)
        # Each job has an id of its own, so that no other attempt ends like it.
        if response.job_id is None and all(map(_is_short, told)):
            prepared.endings.keep(ending, alike)
    if wire.left is not None and outcome == "success":
        # It is billed like any other; only nobody has got it.
        alike = msgspec.structs.replace(alike, outcome="cancelled", error_type=wire.left)
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
        job_id=None if wire.cached else response.job_id,
    )


def _is_short(told: bytes | tuple[str, ...] | None) -> bool:
    return told is None or (sum(map(len, told)) if isinstance(told, tuple) else len(told)) <= _LONGEST


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
    """Return the part of a record that is equal for all attempts with the same request and the same end."""
    request = terms.request
    gateway = intent.gateway if profile is terms.profile else profile.id
    named = terms.named
    if profile is not terms.profile:
        named = named_by(request, profile, intent.operation, intent.started_at)
    routed = first(wire.headers, profile.identity.model)
    said = None if response.model is None or profile.hides(response.model) else response.model
    priced = Priced(Tiers(reason="unread_request" if request.unread else named.reason), named.latest)
    if outcome == "success" or not response.usage.is_empty:
        priced = price_of(
            request,
            response,
            named,
            _models(named, routed, said),
            units_told(terms.cost_readers(profile), wire.headers, response.body),
            book=terms.book,
            gateway=gateway,
            at=intent.started_at,
            vendors=terms.vendors_behind(profile),
            region=terms.region,
        )
    if request.unread and response.service_tier is None and terms.route.request.service_tier:
        # It may have asked for another tier than that of the plain price.
        priced = Priced(Tiers(reason="unread_request"), priced.model)
    tiers = priced.tiers
    cached = wire.cached or (profile.cached is not None and profile.cached.holds(wire.headers))
    reported = (
        Reported() if cached else reported_by(terms.cost_readers(profile), wire.headers, response.body, response.images)
    )
    routing = Routed() if cached else routed_by(profile, wire.headers, response.body)
    settlement = settle(
        outcome,
        sent=sent,
        cached=cached,
        status=wire.status,
        profile=profile,
        reported=reported,
        tiers=tiers,
        byok=intent.byok,
        error_type=error_type,
    )
    fee_rate = fee_rate_of(terms, profile)
    return msgspec.structs.replace(
        intent,
        gateway=gateway,
        model=routed or said or priced.model or request.model or "",
        provider=first(wire.headers, profile.identity.provider),
        images=response.images,
        size=response.size or unless_auto(request.size),
        quality=unless_auto(response.quality) or unless_auto(request.quality),
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
        priced_parts=tiers.parts,
        baseline_model=routing.baseline_model,
        baseline_cost=routing.baseline_cost,
        route_fee=routing.route_fee,
        savings=routing.savings,
        service_tier=unless_auto(response.service_tier) or unless_auto(request.service_tier),
    )


def _models(named: Named, routed: str | None, said: str | None) -> Sequence[str]:
    """Return the names under which a price is looked up.

    That is the model that the gateway says it chose, else that of the response, else the requested one.
    """
    if routed is not None:
        return (routed,)
    if said is None:
        return named.models
    # What ran where no model was named is what the response says, and nothing else.
    return (said,) if named.is_default else (said, *named.models)


def _at_risk(intent: Attempt, tiers: Tiers, outcome: Outcome, *, billing: str) -> int | None:
    if billing not in ("unknown", "pending"):
        return None
    known = tiers.token_cost if tiers.token_cost is not None else tiers.image_cost
    if known is None:
        return intent.at_risk
    # What came of a response that broke off may be less than what was made.
    return known if outcome == "success" else max(known, intent.at_risk or 0)


def _number(headers: Headers, names: Sequence[bytes]) -> int | None:
    text = first(headers, names)
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else None
