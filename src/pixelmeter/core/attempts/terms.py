"""What is known of an attempt before it leaves, and what is seen of its response apart from the meaning."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from pixelmeter.core.apis.openai_images import ImageRequest
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, Attempt, Operation
from pixelmeter.core.gateways.profile import Profile, Profiles, Region, is_in_force
from pixelmeter.core.pricing.book import Consumption, Quote
from pixelmeter.core.wire.headers import Headers

__all__ = ["Ending", "Named", "Pricing", "Terms", "Wire", "named_by", "terms_of"]


Ending = tuple[Hashable, ...]
"""All of a response that decides what it cost and what it is called, hashable."""


class Pricing(Protocol):
    """The price book, as far as records need it."""

    def quote(
        self,
        consumption: Consumption,
        *,
        gateway: str,
        model: str,
        at: int,
        vendors: Sequence[str] = (),
        region: Region | None = None,
    ) -> Quote: ...

    def estimate(
        self,
        consumption: Consumption,
        *,
        gateway: str,
        model: str,
        at: int,
        vendors: Sequence[str] = (),
        region: Region | None = None,
    ) -> int | None: ...


class Named(msgspec.Struct, frozen=True, gc=False):
    """The model that will run, as far as the request and the profile say."""

    models: tuple[str, ...] = ()
    """Names of it, the most certain first."""
    is_default: bool = False
    """Whether it is only what the gateway takes where a request names none."""
    reason: Literal["no_model", "routed_model_hidden"] = "no_model"
    """Why it is unknown, where there is no name."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of an attempt before it leaves."""

    request: ImageRequest
    named: Named
    region: Region | None
    """That of the host; None where the plain price holds."""
    profile: Profile
    profiles: Profiles
    book: Pricing
    fee_rate: int | None = None
    """Parts per million; None leaves it to the profile."""
    endings: dict[Ending, Attempt] = {}
    """What attempts have in common that were asked like this and ended alike: most programs see few endings."""


def terms_of(
    request: ImageRequest,
    profile: Profile,
    profiles: Profiles,
    book: Pricing,
    fee_rate: int | None = None,
    *,
    host: str,
    operation: Operation,
    at: int,
) -> Terms:
    """Return the terms of a request to the gateway of a profile at this Unix time in microseconds."""
    return Terms(
        request=request,
        named=named_by(request, profile, operation, at),
        region=profile.region_of(host),
        profile=profile,
        profiles=profiles,
        book=book,
        fee_rate=fee_rate,
    )


def named_by(request: ImageRequest, profile: Profile, operation: Operation, at: int) -> Named:
    """Return the model that a request names to the gateway of a profile at this Unix time in microseconds."""
    models = tuple(dict.fromkeys(_models(request, profile)))
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


class Wire(msgspec.Struct, gc=False):
    """What was seen of a response, apart from its meaning."""

    status: int | None = None
    headers: Headers = {}
    response_bytes: int = 0
    first_byte: int | None = None
    first_image: int | None = None
    duration: int = 0
    cached: bool = False
    """A cache of the caller gave the response: its headers and amounts are those of an earlier attempt."""
