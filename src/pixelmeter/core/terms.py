"""What is known of an attempt before it leaves, and what is seen of its answer apart from the meaning."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec

from pixelmeter.core.gateways import Profile, Profiles
from pixelmeter.core.headers import Headers
from pixelmeter.core.prices import Consumption, Quote
from pixelmeter.core.record import Attempt
from pixelmeter.core.request import Ask

__all__ = ["Ending", "Pricing", "Terms", "Wire", "terms_of"]


Ending = tuple[Hashable, ...]
"""All of an answer that decides what it cost and what it is called, hashable."""


class Pricing(Protocol):
    """The price book, as far as records need it."""

    def quote(
        self, consumption: Consumption, *, gateway: str, model: str, at: int, vendors: Sequence[str] = ()
    ) -> Quote: ...

    def estimate(
        self, consumption: Consumption, *, gateway: str, model: str, at: int, vendors: Sequence[str] = ()
    ) -> int | None: ...


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of an attempt before it leaves."""

    ask: Ask
    model: str | None
    """The model that the request names; None when it names none, or only a way to choose one."""
    profile: Profile
    profiles: Profiles
    book: Pricing
    fee_rate: int | None = None
    """Parts per million; None leaves it to the profile."""
    endings: dict[Ending, Attempt] = {}
    """What attempts have in common that were asked like this and ended alike: most programs see few endings."""


def terms_of(ask: Ask, profile: Profile, profiles: Profiles, book: Pricing, fee_rate: int | None = None) -> Terms:
    """Return the terms of a request to the gateway of a profile."""
    model = ask.model
    if model is not None and ("," in model or any(fnmatchcase(model, p) for p in profile.identity.hidden_models)):
        model = None
    if model is not None and profile.deployments:
        model = profile.deployments.get(model, model)
    return Terms(ask=ask, model=model, profile=profile, profiles=profiles, book=book, fee_rate=fee_rate)


class Wire(msgspec.Struct, gc=False):
    """What was seen of an answer, apart from its meaning."""

    status: int | None = None
    headers: Headers = {}
    response_bytes: int = 0
    first_byte: int | None = None
    first_image: int | None = None
    duration: int = 0
    cached: bool = False
    """A cache of the caller gave the answer: its headers and amounts are those of an earlier attempt."""
