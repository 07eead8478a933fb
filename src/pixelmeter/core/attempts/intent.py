"""What all requests of one kind have in common, worked out once a day: most programs ask for few kinds."""

from __future__ import annotations

from typing import NamedTuple

from pixelmeter.core.apis.openai_images import ImageRequest
from pixelmeter.core.attempts.assemble import intend
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, Attempt, Operation
from pixelmeter.core.attempts.terms import Pricing, Terms, terms_of
from pixelmeter.core.gateways.profile import Profiles
from pixelmeter.core.wire.headers import without_root

__all__ = ["Intents", "Prepared"]

_REMEMBERED = 256


class Prepared(NamedTuple):
    """The terms of a request, and its intent but for what is its own (`pixelmeter.core.attempts.assemble.intend`)."""

    terms: Terms
    intent: Attempt


class Intents:
    """Remembers the latest kinds."""

    def __init__(self, profiles: Profiles, book: Pricing, *, fee_rate: int | None, version: str) -> None:
        self._profiles = profiles
        self._book = book
        self._fee_rate = fee_rate
        self._version = version
        self._known: dict[tuple[str, Operation, ImageRequest, int], Prepared] = {}

    def of(self, host: str, operation: Operation, request: ImageRequest, at: int) -> Prepared:
        """Return the kind of a request made at this Unix time in microseconds."""
        key = (host, operation, request, at // MICROSECONDS_PER_DAY)
        kind = self._known.get(key)
        if kind is None:
            named = without_root(host)
            terms = terms_of(
                request,
                self._profiles.of_host(host),
                self._profiles,
                self._book,
                self._fee_rate,
                host=named,
                operation=operation,
                at=at,
            )
            kind = Prepared(terms, intend(terms, host=named, operation=operation, at=at, version=self._version))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = kind
        return kind
