"""What an attempt costs and whether it is billed: the gateway's amount, else the price book, else unknown and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.attempts.record import Billing, CostSource, Outcome
from pixelmeter.core.attempts.terms import Named, consumption_of
from pixelmeter.core.gateways.amounts import CostReader
from pixelmeter.core.gateways.profile import Profile, Region
from pixelmeter.core.pricing.book import REASONS, PriceBook
from pixelmeter.core.pricing.book import Reason as PriceReason
from pixelmeter.core.pricing.parts import priced_parts
from pixelmeter.core.text import half_even
from pixelmeter.core.wire.headers import Headers

__all__ = [
    "UNKNOWN",
    "CostReason",
    "Priced",
    "Reported",
    "Settlement",
    "Tiers",
    "fee_of",
    "price_of",
    "reported_by",
    "settle",
    "units_told",
]

CostReason = Literal[
    "blocked",
    "cached",
    "job_not_charged",
    "no_model",
    "not_decoded",
    "not_on_statement",
    "not_sent",
    "outcome_unknown",
    "pending_job",
    "reconciled_zero",
    "redirected",
    "rejected",
    "reported_zero",
    "reported_zero_unverified",
    "routed_model_hidden",
    "same_job",
    "unparsed",
]
"""Why a cost is unknown or zero, beside the price book's own reasons."""
UNKNOWN: tuple[CostReason | PriceReason, ...] = (
    *REASONS,
    "no_model",
    "not_decoded",
    "outcome_unknown",
    "pending_job",
    "reported_zero_unverified",
    "routed_model_hidden",
    "unparsed",
)
"""Every reason for a cost that is unknown."""

_PARTS = 1_000_000


class Reported(msgspec.Struct, frozen=True, gc=False):
    """What the gateway said the attempt costs."""

    nano: int | None = None
    text: str | None = None
    """The text of an amount that cannot be believed as it stands."""
    doubtful_zero: bool = False


class Tiers(msgspec.Struct, frozen=True, gc=False):
    """The cost by the price book, in nano-dollars, or the reason why it has none."""

    token_cost: int | None = None
    image_cost: int | None = None
    price_id: str | None = None
    parts: str | None = None
    """What both are made of, as `pixelmeter.core.pricing.parts.priced_parts` has it."""
    reason: CostReason | PriceReason = "no_price"


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """Who pays, and the cost with its source and reason."""

    billing: Billing
    cost: int | None = None
    cost_source: CostSource = "none"
    cost_reason: CostReason | PriceReason | None = None


class Priced(NamedTuple):
    """What the price book says of a response."""

    tiers: Tiers
    model: str | None = None
    """The model, as far as the request and the book say."""


_NOTHING = Reported()


def reported_by(
    readers: Sequence[CostReader], headers: Headers, body: Mapping[str, Any], images: int | None
) -> Reported:
    """Return the first amount that the readers find in a response with so many images, None if nobody counted them."""
    text: str | None = None
    for reader in readers:
        if reader.unit.of_usd is None:
            continue
        found = () if reader.plus or not reader.holds(body) else reader.texts_of(images, headers, body)
        if not found:
            continue
        nano = reader.nano(found)
        if nano is None:
            text = text or _shown(found)
        elif nano == 0 and not reader.zero_is_real:
            return Reported(text=_shown(found), doubtful_zero=True)
        else:
            return _with_more(nano, _shown(found), readers, headers, body)
    return _NOTHING if text is None else Reported(text=text)


def _with_more(
    nano: int, text: str, readers: Sequence[CostReader], headers: Headers, body: Mapping[str, Any]
) -> Reported:
    """Return an amount with all that is added to it; unknown where the answer says that there is more, and not what."""
    for reader in readers:
        if not (reader.plus and reader.holds(body)):
            continue
        found = reader.texts(headers, body)
        if not found and reader.when:
            return Reported(text=text)
        more = reader.nano(found) if found else 0
        if more is None:
            return Reported(text=_shown(found))
        nano += more
    return Reported(nano=nano)


def units_told(readers: Sequence[CostReader], headers: Headers, body: Mapping[str, Any]) -> str | None:
    """Return how many units of its price the gateway says it billed, as text; None where it says nothing of it."""
    for reader in readers:
        if reader.unit.of_usd is None and reader.holds(body):
            found = reader.texts(headers, body)
            if len(found) == 1:
                return found[0]
    return None


def _shown(texts: Sequence[str]) -> str:
    return " + ".join(texts)[:200]


def price_of(
    request: ImageRequest,
    response: ImageResponse,
    named: Named,
    models: Sequence[str],
    units: str | None,
    *,
    book: PriceBook,
    gateway: str,
    at: int,
    vendors: Sequence[str],
    region: Region | None,
) -> Priced:
    """Price a response as the first of the models that the book has, by the units that the gateway says it billed."""
    if not models:
        return Priced(Tiers(reason=named.reason))
    if not response.decoded:
        return Priced(Tiers(reason="not_decoded"), named.latest)
    doubt = response.usage.doubt
    if doubt == "unparsed" or doubt == "unpriced_usage":
        return Priced(Tiers(reason=doubt), named.latest)
    consumption = consumption_of(request, response, images=response.images)
    for model in models:
        quote = book.quote(consumption, gateway=gateway, model=model, at=at, vendors=vendors, region=region)
        if quote.reason != "no_price":
            break
    else:
        return Priced(Tiers(reason="unread_request" if request.unread else "no_price"), named.latest)
    if models is named.models and named.is_default and quote.token_cost is None and not response.usage.is_empty:
        # A model that is billed by images does not count tokens: another one ran.
        return Priced(Tiers(reason="no_model"))
    if units is not None:
        by_units = book.cost_of_units(
            units,
            gateway=gateway,
            model=model,
            at=at,
            vendors=vendors,
            region=region,
            service_tier=consumption.service_tier,
        )
        if by_units is not None:
            return Priced(Tiers(image_cost=by_units.image_cost, price_id=by_units.price_id), model)
    return Priced(
        Tiers(
            token_cost=quote.token_cost,
            image_cost=quote.image_cost,
            price_id=quote.price_id,
            parts=priced_parts(quote),
            # What a better book would find is no default of the request's, either.
            reason="unread_request" if request.unread else quote.reason or "no_price",
        ),
        model,
    )


def settle(outcome: Outcome, *, sent: bool, status: int | None, profile: Profile, reported: Reported, tiers: Tiers,
           byok: bool, cached: bool = False, error_type: str | None = None) -> Settlement:  # fmt: skip
    """Decide billing and cost: what the gateway reports, else tokens, else images by the book, else unknown and why."""
    if not sent:
        return Settlement("not_billed", 0, "none", "not_sent")
    if cached:
        return Settlement("not_billed", 0, "none", "cached")
    if outcome == "pending" and not (reported.nano and not byok):
        # Whoever prices it at its end must know that no default holds, and sees this record of the request.
        is_unread = tiers.reason == "unread_request"
        return Settlement("pending", None, "none", "unread_request" if is_unread else "pending_job")
    # With the caller's own key the gateway's amount is its fee; the provider bills the images elsewhere.
    if reported.nano and not byok:
        return Settlement("billed", reported.nano, "reported")
    if outcome == "success":
        if reported.nano == 0 and not byok:
            return Settlement("billed", 0, "reported", "reported_zero")
        if reported.doubtful_zero and not byok:
            return Settlement("unknown", None, "none", "reported_zero_unverified")
        cost = tiers.token_cost if tiers.token_cost is not None else tiers.image_cost
        if cost is None:
            # Of a response that nobody looked at it is not even known whether it has an image.
            return Settlement("unknown" if tiers.reason == "not_decoded" else "billed", None, "none", tiers.reason)
        return Settlement("billed", cost, "priced")
    if status is not None and 300 <= status < 400:
        return Settlement("not_billed", 0, "none", "redirected")
    if profile.errors.has(status, error_type):
        return Settlement("not_billed", 0, "none", "rejected")
    return Settlement("unknown", None, "none", "outcome_unknown")


def fee_of(cost: int | None, parts_per_million: int) -> int | None:
    """Return the nano-dollars of the gateway's fee on a cost, half-even; None where the cost is unknown."""
    if cost is None:
        return None
    return half_even(cost * parts_per_million, _PARTS)
