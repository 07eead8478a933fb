"""What is known of an attempt before it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.apis.usage import Block
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, Operation
from pixelmeter.core.gateways.amounts import CostReader
from pixelmeter.core.gateways.profile import Profile, Region, is_in_force
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.routes import Deciding, Route
from pixelmeter.core.pricing.book import Consumption, PriceBook

__all__ = ["Named", "Terms", "consumption_of", "fee_rate_of", "named_by", "terms_of", "unless_auto"]


class Named(msgspec.Struct, frozen=True, gc=False):
    """The model that will run, as far as the request and the profile say."""

    models: tuple[str, ...] = ()
    """Names of it, the most certain first."""
    is_default: bool = False
    """Whether it is only what the gateway takes where a request names none."""
    reason: Literal["no_model", "routed_model_hidden", "unread_request"] = "no_model"
    """Why it is unknown, where there is no name."""

    @property
    def latest(self) -> str | None:
        """The least certain name."""
        return self.models[-1] if self.models else None


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of an attempt before it leaves."""

    request: ImageRequest
    named: Named
    region: Region | None
    """That of the host; None where the plain price holds."""
    route: Route
    profiles: Profiles
    book: PriceBook
    fee_rate: int | None = None
    """Parts per million; None leaves it to the profile."""

    @property
    def profile(self) -> Profile:
        """The gateway, as far as the host tells."""
        return self.route.profile

    def cost_readers(self, profile: Profile) -> tuple[CostReader, ...]:
        """Return where the gateway that has answered reports a cost."""
        return self.route.cost if profile is self.profile else profile.cost

    def deciding(self, profile: Profile) -> Deciding:
        """Return what of an answer of this gateway decides its cost, model and provider."""
        return self.route.deciding if profile is self.profile else self.profiles.deciding(profile)

    def vendors_behind(self, profile: Profile) -> tuple[str, ...]:
        """Return whose prices hold behind the gateway that has answered."""
        return self.route.vendors if profile is self.profile else profile.pass_through


def terms_of(
    request: ImageRequest,
    route: Route,
    profiles: Profiles,
    book: PriceBook,
    fee_rate: int | None = None,
    *,
    host: str,
    at: int,
) -> Terms:
    """Return the terms of a request by one of a gateway's routes at this Unix time in microseconds."""
    return Terms(
        request=request,
        named=named_by(request, route.profile, route.operation, at),
        region=route.profile.region_of(host),
        route=route,
        profiles=profiles,
        book=book,
        fee_rate=fee_rate,
    )


def named_by(request: ImageRequest, profile: Profile, operation: Operation, at: int) -> Named:
    """Return the model that a request names to the gateway of a profile at this Unix time in microseconds."""
    models = tuple(dict.fromkeys(_models(request, profile)))
    if not models and request.unread:
        return Named(reason="unread_request")
    default = None if models else _default(request, profile, operation, at // MICROSECONDS_PER_DAY)
    if default is not None:
        models = (default,)
    if any(profile.hides(model) for model in models):
        return Named(reason="routed_model_hidden")
    return Named(models, is_default=default is not None)


def _models(request: ImageRequest, profile: Profile) -> Iterator[str]:
    # The path decides, whatever model the body names.
    for name in (request.deployment, request.model):
        if name is not None and name in profile.deployments:
            yield profile.deployments[name]
            return
    for name in (request.deployment, request.model):
        if name is not None:
            yield name


def _default(request: ImageRequest, profile: Profile, operation: Operation, day: int) -> str | None:
    for default in profile.default_model:
        if default.operation == operation and is_in_force(day, default.effective_from, default.effective_to):
            return None if any(field in request.named for field in default.unless_fields) else default.model
    return None


def consumption_of(request: ImageRequest, response: ImageResponse, *, images: int | None) -> Consumption:
    """Return what is to be priced, as far as the response says it, else the request."""
    usage = response.usage
    return Consumption(
        images=images,
        size=response.size or request.size,
        quality=unless_auto(response.quality) or request.quality,
        service_tier=unless_auto(response.service_tier) or request.service_tier,
        input_images=request.input_images,
        steps=request.steps,
        input_text_tokens=usage.input_text,
        input_image_tokens=usage.input_image,
        cached_text_tokens=usage.cached_text,
        cached_image_tokens=usage.cached_image,
        output_text_tokens=usage.output_text,
        output_image_tokens=usage.output_image,
        partial_images=request.partial_images,
        has_defaults=not request.unread,
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


def fee_rate_of(terms: Terms, profile: Profile) -> int:
    """Return the fee in parts per million: none with the caller's own key, else the user's word, else the profile's."""
    if terms.request.byok:
        return 0
    return profile.fee.parts_per_million if terms.fee_rate is None else terms.fee_rate


def unless_auto(value: str | None) -> str | None:
    """Return a size or quality; None for "auto", which leaves it to the gateway."""
    return None if value == "auto" else value
