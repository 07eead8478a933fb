"""The record of an attempt before it leaves: worked out once a day for all requests that ask for the same."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, Attempt
from pixelmeter.core.attempts.terms import Terms, consumption_of, fee_rate_of, terms_of, unless_auto
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.routes import Route
from pixelmeter.core.memo import Memo
from pixelmeter.core.pricing.book import PriceBook
from pixelmeter.core.text import ERROR_LIMIT, bounded
from pixelmeter.core.wire.headers import without_root

__all__ = ["Ending", "Intents", "Prepared", "blocked"]

_REMEMBERED = 256
_REMEMBERED_ENDINGS = 32

Ending = tuple[Hashable, ...]
"""All of a response that decides what it cost and what it is called."""


class Prepared(NamedTuple):
    """What equal requests of one day have in common."""

    terms: Terms
    intent: Attempt
    """Without what is its own: ids, number, time, length, tags and trace."""
    endings: Memo[Ending, Attempt]
    """The records of those that ended alike, without what is their own."""


class Intents:
    """Works out what requests have in common before they leave, and remembers the latest."""

    def __init__(self, profiles: Profiles, book: PriceBook, *, fee_rate: int | None, version: str) -> None:
        self._profiles = profiles
        self._book = book
        self._fee_rate = fee_rate
        self._version = version
        self._known: Memo[tuple[str, Route, ImageRequest, int], Prepared] = Memo(_REMEMBERED)

    def of(self, host: str, route: Route, request: ImageRequest, at: int) -> Prepared:
        """Return what this request to a host has in common with equal ones; `at` is Unix time in microseconds."""
        key = (host, route, request, at // MICROSECONDS_PER_DAY)
        prepared = self._known.get(key)
        if prepared is None:
            named = without_root(host)
            terms = terms_of(
                request,
                route,
                self._profiles,
                self._book,
                self._fee_rate,
                host=named,
                at=at,
            )
            intent = _intend(terms, host=named, at=at, version=self._version)
            prepared = self._known.keep(key, Prepared(terms, intent, Memo(_REMEMBERED_ENDINGS)))
        return prepared


def blocked(intent: Attempt, budget: str) -> Attempt:
    """Return the record of an attempt that a budget does not let go: nothing was sent, and nothing is billed."""
    return msgspec.structs.replace(
        intent,
        outcome="blocked",
        error_type="budget_exceeded",
        error_code=bounded(budget, ERROR_LIMIT),
        billing="not_billed",
        cost=0,
        cost_reason="blocked",
        at_risk=None,
        fee=0,
    )


def _intend(terms: Terms, *, host: str, at: int, version: str) -> Attempt:
    """Return the record of an attempt as it stands if the process dies now: interrupted, its cost at risk.

    Without what is its own: ids, number, time, length, tags and trace. `at` is the Unix time in microseconds by which
    it is priced.
    """
    request, profile = terms.request, terms.profile
    gateway = host if profile.generic else profile.id
    asked = consumption_of(request, ImageResponse(), images=None if request.unread else request.images)
    estimates = (
        terms.book.estimate(
            asked, gateway=gateway, model=model, at=at, vendors=terms.route.vendors, region=terms.region
        )
        for model in terms.named.models
    )
    return Attempt(
        id="",
        call_id="",
        attempt=0,
        started_at=0,
        gateway=gateway,
        operation=terms.route.operation,
        requested_model=request.model,
        model=terms.named.latest or request.model or "",
        provider=None,
        requested_images=request.images,
        images=None,
        input_images=request.input_images,
        requested_size=request.size,
        size=unless_auto(request.size),
        requested_quality=request.quality,
        quality=unless_auto(request.quality),
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
        fee_rate=fee_rate_of(terms, profile),
        fee=None,
        tags="{}",
        trace_id=None,
        version=version,
        service_tier=unless_auto(request.service_tier),
    )
